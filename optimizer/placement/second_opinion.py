"""The second opinion of a placement: every plan counted again, and every GPU added up from its servers."""

from collections import Counter
from typing import Any

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.second_opinion import Check, PlanOpinion, second_opinion_of
from vllm_opt.optimizer.placement.answer import GpuOfNode, PlacedReplica, PlacementAnswer
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_plan
from vllm_opt.profiles.catalogues.catalog import Catalog

CONFIDENCE = 0.9


def with_opinion(answer: PlacementAnswer, catalog: Catalog) -> PlacementAnswer:
    """The answer with its second opinion, and a note for each figure that does not come out the same."""
    plans = {f"{server.service}: {server.plan.command}": server for server in answer.servers}
    opinions = [
        opinion_of_plan(server.service, server.plan, _asked(server.plan, answer), catalog, billed=False)
        for server in plans.values()
    ]
    opinion = second_opinion_of((*opinions, _site(answer)))
    notes = tuple(f"the second opinion disagrees: {text}" for text in opinion.disagreements)
    return answer.model_copy(update={"second_opinion": opinion, "notes": (*notes, *answer.notes)})


def _asked(plan: Plan, answer: PlacementAnswer) -> dict[str, Any]:
    """What holds of a plan alone: its own context and sizes; speed is judged with its neighbours, not here."""
    return {
        "target_context": plan.flags["max-model-len"], "concurrency": "max", "gpu": [plan.gpu], "kv_sizing": "typical",
        "max_gpus": plan.gpu_count, "max_gpu_memory_utilization": 1.0,
        "confidence": answer.request.get("confidence", CONFIDENCE),
    }  # fmt: skip


def _site(answer: PlacementAnswer) -> PlanOpinion:
    """No GPU holds more than it has, every part of a server stands where it says, every service has its servers."""
    checks: list[Check] = []
    standing: Counter[tuple[str, int]] = Counter()
    for node in answer.nodes:
        for gpu in node.gpus:
            where = f"{node.name} GPU {gpu.shown or gpu.index}"
            held = _held(gpu)
            checks.append(_at_most(f"bytes on {where}", held, gpu.memory_bytes))
            shares = sum(server.gpu_memory_utilization for server in gpu.servers if not server.sleeps)
            checks.append(_at_most(f"gpu_memory_utilization on {where}", shares, 1.0))
            standing.update((server.service, server.replica) for server in gpu.servers)
    for server in answer.servers:
        parts = sum(len(part.gpus) for part in server.parts)
        found = standing[server.service, server.replica]
        size = server.plan.gpu_count // server.plan.replicas
        name = f"GPUs of {server.service}/{server.replica}"
        checks.append(Check(name=name, shown=parts, recomputed=found, agrees=parts == found == size))
    for service in answer.services:
        mine = [server for server in answer.servers if server.service == service.service]
        checks.append(
            Check(
                name=f"servers of {service.service}", shown=service.replicas, recomputed=len(mine),
                agrees=service.replicas == len(mine),
            )
        )  # fmt: skip
        checks.append(_capacity(service.service, service.capacity, mine))
    return PlanOpinion(plan="the site", agrees=all(check.agrees for check in checks), checks=tuple(checks))


def _held(gpu: GpuOfNode) -> int:
    """What the servers of a GPU hold at once: those that sleep take turns, the others keep what they have."""
    awake = sum(server.bytes for server in gpu.servers if not server.sleeps)
    sleeping = [server for server in gpu.servers if server.sleeps]
    asleep = sum(server.asleep_bytes or 0 for server in sleeping)
    return awake + asleep + max((server.bytes - (server.asleep_bytes or 0) for server in sleeping), default=0)


def _capacity(service: str, shown: float, servers: list[PlacedReplica]) -> Check:
    total = sum(server.capacity for server in servers)
    alike = abs(total - shown) <= 1e-3 * max(1.0, total)
    return Check(name=f"capacity of {service}", shown=shown, recomputed=total, agrees=alike)


def _at_most(name: str, value: float, limit: float) -> Check:
    return Check(name=name, shown=limit, recomputed=value, agrees=value <= limit * (1 + 1e-9))
