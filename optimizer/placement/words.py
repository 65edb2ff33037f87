"""A placement in words: title, what is served, moves, what is missing; shared by terminal and page."""

from collections.abc import Mapping

from vllm_opt.optimizer.placement.answer import (
    FOUND_IN_TIME,
    GpuOfNode,
    Move,
    NodeOfSite,
    PlacedReplica,
    PlacementAnswer,
    ServedService,
    ServerOnGpu,
    ServerPart,
)
from vllm_opt.profiles.reading.quantities import GIB, counted

OBJECTIVE_WORDS = {
    "served": "services served in full", "share": "demand served in part", "headroom": "worst capacity over demand",
    "moves": "servers of today that move", "gpus": "GPUs used", "watts": "rated watts of the GPUs used",
    "blocks": "spare GPUs in large blocks (sum of squares)", "servers": "servers",
}  # fmt: skip
SERVICE_HEADINGS = (
    ("service", "left"), ("priority", "right"), ("replicas", "right"), ("demand", "right"), ("capacity", "right"),
    ("served", "right"), ("without a node", "right"),
)  # fmt: skip
SERVER_HEADINGS = (
    ("server", "left"), ("where", "left"), ("plan", "left"), ("capacity", "right"), ("notes", "left"),
)  # fmt: skip
MOVE_HEADINGS = (("step", "right"), ("do", "left"), ("where", "left"), ("left running", "right"), ("why", "left"))
OBJECTIVE_HEADINGS = (("objective", "left"), ("value", "right"), ("bound", "right"), ("proof", "left"))


def title_of(answer: PlacementAnswer) -> str:
    """The answer in one line."""
    if answer.status == "unknown":
        return "Not decided: the time limit passed before a placement was found"
    missing = len(answer.unplaced)
    proof = "proven best" if answer.status == "optimal" else "not proven to be the best"
    if answer.covers == FOUND_IN_TIME:
        proof += f" of {FOUND_IN_TIME}"
    used = sum(bool(gpu.servers) for node in answer.nodes for gpu in node.gpus)
    whole = sum(len(node.gpus) for node in answer.nodes)
    held = f"{counted(len(answer.servers), 'server')} on {used} of {counted(whole, 'GPU')}"
    if missing:
        left = "cannot be" if answer.missing_is_proven else "not"
        return f"{counted(missing, 'service')} of {len(answer.services)} {left} served in full: {held}, {proof}"
    return f"{counted(len(answer.services), 'service')} served in full: {held}, {proof}"


def amount(value: float, unit: str) -> str:
    """A rate or a number of sequences."""
    return f"{value:.3g} req/s" if unit == "requests/s" else f"{value:.0f} seq"


def service_rows(answer: PlacementAnswer) -> list[tuple[str, ...]]:
    """One row per service."""
    return [_service_row(service) for service in answer.services]


def _service_row(s: ServedService) -> tuple[str, ...]:
    left = "" if s.capacity_without_a_node is None else amount(s.capacity_without_a_node, s.unit)
    served = "in full" if s.in_full else f"{100 * s.served:.0f} %"
    return (
        s.service,
        str(s.priority),
        str(s.replicas),
        amount(s.demand, s.unit),
        amount(s.capacity, s.unit),
        served,
        left,
    )


def instances(answer: PlacementAnswer) -> dict[tuple[str, int], str]:
    """(node, index) -> what is shown of a MIG instance: its GPU and its place there."""
    return {(node.name, gpu.index): gpu.shown for node in answer.nodes for gpu in node.gpus if gpu.shown}


def where(parts: tuple[ServerPart, ...], shown: Mapping[tuple[str, int], str] | None = None) -> str:
    """GPUs by node, runs of numbers shortened."""
    shown = shown or {}
    said = []
    for part in parts:
        cut = [shown[part.node, gpu] for gpu in part.gpus if (part.node, gpu) in shown]
        said.append(f"{part.node} {'MIG' if cut else 'GPU'} {', '.join(cut) if cut else _runs(part.gpus)}")
    return "; ".join(said)


def held_on(node: NodeOfSite) -> str:
    """Which servers stand on which GPUs of a node; its other GPUs are free."""
    by_servers: dict[str, list[GpuOfNode]] = {}
    for gpu in node.gpus:
        names = ", ".join(f"{s.service}/{s.replica}{' asleep' if s.sleeps else ''}" for s in gpu.servers)
        if names:
            by_servers.setdefault(names, []).append(gpu)
    said = []
    for names, gpus in by_servers.items():
        cut = ", ".join(gpu.shown for gpu in gpus if gpu.shown)
        said.append(f"{f'MIG {cut}' if cut else f'GPU {_runs(tuple(gpu.index for gpu in gpus))}'}: {names}")
    return "; ".join(said)


def _runs(numbers: tuple[int, ...]) -> str:
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def plan_words(server: PlacedReplica) -> str:
    """Shape and formats of a server."""
    plan = server.plan
    sizes = (("TP", plan.tensor_parallel_size), ("PP", plan.pipeline_parallel_size), ("DP", plan.data_parallel_size))
    shape = " ".join(f"{name}{size}" for name, size in sizes if size > 1)
    used = plan.flags.get("gpu-memory-utilization")
    return " ".join(
        part for part in (shape, plan.quantization, f"KV {plan.kv_cache_dtype}", f"util {used}" if used else "") if part
    )


def server_rows(answer: PlacementAnswer) -> list[tuple[str, ...]]:
    """One row per server."""
    rows: list[tuple[str, ...]] = []
    shown = instances(answer)
    sleepers = {f"{server.service}/{server.replica}" for server in answer.servers if server.sleeps}
    for server in answer.servers:
        others = [name for name in server.shares_with if name in sleepers]
        alone = f", never awake beside {', '.join(others)}" if others else ""
        notes = [
            *(["stays"] if server.kept else []),
            *([f"sleeps until asked{alone}"] if server.sleeps else []),
            *([f"shares with {', '.join(server.shares_with)}; 1 to {server.slowdown[1]:g} times its step time"]
              if server.shares_with else []),
        ]  # fmt: skip
        name = f"{server.service}/{server.replica}"
        rows.append(
            (
                name,
                where(server.parts, shown),
                plan_words(server),
                amount(server.capacity, server.unit),
                "; ".join(notes),
            )
        )
    return rows


def move_rows(answer: PlacementAnswer) -> list[tuple[str, ...]]:
    """One row per move."""
    shown = instances(answer)
    return [_move_row(move, shown) for move in answer.moves]


def _move_row(move: Move, shown: Mapping[tuple[str, int], str]) -> tuple[str, ...]:
    name = move.service if move.replica is None else f"{move.service}/{move.replica}"
    seconds = f" (about {move.restart_s:.0f} s)" if move.restart_s is not None else ""
    return (
        str(move.step),
        f"{move.action} {name}{seconds}",
        where(move.parts, shown),
        str(move.replicas_left),
        move.why,
    )


def moves_summary(answer: PlacementAnswer) -> str:
    """How much changes, in one sentence."""
    kept = sum(server.kept for server in answer.servers)
    if not answer.moves:
        return f"nothing moves: {counted(kept, 'server')} stay as they are" if kept else ""
    stops = sum(move.action == "stop" for move in answer.moves)
    return (
        f"{counted(kept, 'server')} stay, {stops} stop, {len(answer.moves) - stops} start; in this order no GPU ever "
        "holds more than it has"
    )


def missing_sentences(answer: PlacementAnswer) -> list[str]:
    """Why each missing service is missing, and what would help."""
    said = []
    for each in answer.unplaced:
        said += [f"{conflict.message}" for conflict in each.explanation.conflict]
        changes = [relaxation.message for relaxation in each.explanation.relaxations]
        if changes:
            said.append(f"what would help {each.service}: " + "; or ".join(changes))
    return said


def objective_rows(answer: PlacementAnswer) -> list[tuple[str, ...]]:
    """One row per objective, first the one decided first."""
    rows: list[tuple[str, ...]] = []
    for objective in answer.objectives:
        name, _, of = objective.name.partition(":")
        words = OBJECTIVE_WORDS[name] + (f", priority {of}" if of else "")
        proof = "proven" if objective.gap == 0 else f"within {100 * objective.gap:.2g} %"
        proof = "not known" if objective.gap >= 1 else proof
        rows.append((words, f"{objective.value:g}", f"{objective.bound:g}", proof))
    return rows


def held_bytes(server: ServerOnGpu) -> int:
    """What a server holds on its GPU, asleep where it sleeps."""
    return (server.asleep_bytes or 0) if server.sleeps else server.bytes


def waking_bytes(gpu: GpuOfNode) -> int:
    """What is kept free for whichever of the sleepers is awake."""
    return gpu.memory_bytes - gpu.free_bytes - sum(held_bytes(server) for server in gpu.servers)


def taking_turns(answer: PlacementAnswer) -> list[str]:
    """Which services that sleep stand on one GPU, so that only one of them is served at a time."""
    groups: dict[tuple[str, ...], None] = {}
    for gpu in (gpu for node in answer.nodes for gpu in node.gpus):
        mine = tuple(sorted({server.service for server in gpu.servers if server.sleeps}))
        if len(mine) > 1:
            groups[mine] = None
    joined: list[set[str]] = []
    for mine in groups:
        near = [each for each in joined if each & set(mine)]
        joined = [each for each in joined if each not in near] + [set(mine).union(*near)]
    return [
        f"{', '.join(sorted(names))} sleep on the same GPUs (cold): on each GPU one of them is awake at a time, so "
        "they are served in full one after another, not at once"
        for names in joined
    ]


def failing_together(answer: PlacementAnswer) -> list[str]:
    """Replicas of one service that stand on one GPU: as many as were asked for, and gone with it."""
    found = []
    for service in dict.fromkeys(server.service for server in answer.servers):
        on_gpus = [
            [server.replica for server in gpu.servers if server.service == service]
            for node in answer.nodes for gpu in node.gpus
        ]  # fmt: skip
        together = [f"{service}/{replica}" for mine in on_gpus if len(mine) > 1 for replica in mine]
        if together:
            found.append(
                f"{', '.join(together)} stand on one GPU with another of their kind and fail with it; "
                "spread: node keeps replicas apart"
            )
    return found


def uneven(answer: PlacementAnswer) -> list[str]:
    """Services whose replicas serve unlike amounts, which a router must know."""
    said = []
    for service in dict.fromkeys(server.service for server in answer.servers):
        mine = [server for server in answer.servers if server.service == service]
        if max(server.capacity for server in mine) > 1.05 * min(server.capacity for server in mine):
            shares = ", ".join(f"{server.replica}: {amount(server.capacity, server.unit)}" for server in mine)
            said.append(f"the replicas of {service} are unlike; send them traffic by what they serve ({shares})")
    return said


def gib(size: int) -> str:
    """Bytes in GiB."""
    return f"{size / GIB:.1f} GiB"


def footer(answer: PlacementAnswer) -> str:
    """How the answer was found."""
    solver = answer.solver
    return (
        f"{counted(solver.plans, 'plan')}, {solver.gpu_patterns} ways to share a GPU, "
        f"{counted(solver.node_classes, 'kind')} of nodes; {solver.wall_ms / 1000:.1f} s"
    )
