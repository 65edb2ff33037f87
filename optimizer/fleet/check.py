"""Re-check a fleet with plain whole numbers: nothing here trusts the solver that found it."""

from collections import Counter
from collections.abc import Mapping

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.fleet.packing import pack
from vllm_opt.optimizer.fleet.problem import (
    SERVED_SCALE,
    SLOTS_PER_GPU,
    FleetDemand,
    FleetProblem,
    FleetSolution,
    NodeOffer,
    spares_of,
)
from vllm_opt.optimizer.fleet.routing import LOAD_SCALE, PARTS, load_of, served_parts

Parts = Mapping[str, Mapping[tuple[int, int], int]]
"""workload -> (bucket, column) -> millionths of the bucket that go there"""
Placement = dict[tuple[int, int], tuple[tuple[tuple[str, int], ...], ...]]
"""(offer, zone) -> nodes -> (column name, slots) of every piece on it"""


def fleet_violations(problem: FleetProblem, fleet: FleetSolution, parts: Parts) -> tuple[Violation, ...]:
    """Return every rule that the fleet breaks; empty when it is sound."""
    found: list[Violation] = []
    for demand in problem.demands:
        found += _demand(problem, fleet, demand, parts.get(demand.workload, {}))
    found += _packing(problem, fleet)
    found += _spare_nodes(problem, fleet)
    found += _limits(problem, fleet)
    return tuple(found)


def _over(rule: str, needed: int, available: int, unit: str) -> list[Violation]:
    if needed <= available:
        return []
    return [
        Violation(
            rule=rule, message=f"{rule}: {needed} {unit} needed, {available} available",
            needed=needed, available=available, unit=unit,
        )
    ]  # fmt: skip


def _demand(
    problem: FleetProblem, fleet: FleetSolution, demand: FleetDemand, parts: Mapping[tuple[int, int], int]
) -> list[Violation]:
    name, served = demand.workload, fleet.served[demand.workload]
    replicas = {c: fleet.replicas_of(c) for c, column in enumerate(problem.columns) if column.workload == name}
    found: list[Violation] = []
    if problem.zones > 1 and served:
        by_zone: Counter[int] = Counter()
        for (c, _, zone), count in fleet.replicas.items():
            if c in replicas:
                by_zone[zone] += count
        found += _over("zones", 2, sum(1 for count in by_zone.values() if count), "zones")
    if len(demand.units) == 1:
        capacities = [problem.columns[c].capacity[0] for c, n in replicas.items() for _ in range(n)]
        left = sorted(capacities, reverse=True)[demand.spare_replicas :]
        return found + _over(f"demand:{name}", -(-demand.units[0] * served // SERVED_SCALE), sum(left), "units")
    wanted = served_parts(served, SERVED_SCALE)
    for bucket in range(len(demand.units)):
        routed = sum(count for (b, _), count in parts.items() if b == bucket)
        found += _over(f"demand:{name}", wanted, routed, f"millionths of length bucket {bucket}")
    spares = spares_of({c: problem.columns[c] for c in replicas}, replicas, demand.spare_replicas)
    for c, count in replicas.items():
        mine = {bucket: share for (bucket, column), share in parts.items() if column == c}
        idle = spares.get(c, 0)
        load = load_of(demand, problem.columns[c], mine)
        found += _over(f"demand:{name}", load, (count - idle) * LOAD_SCALE, f"load on {problem.columns[c].name}")
    return found


def _packing(problem: FleetProblem, fleet: FleetSolution) -> list[Violation]:
    found: list[Violation] = []
    for (c, o, _), count in fleet.replicas.items():
        if count and not problem.offers[o].takes(problem.columns[c]):
            found += _over("packing", 1, 0, f"places for {problem.columns[c].name} on {problem.offers[o].name}")
    if found:
        return found
    for (o, zone), nodes in placement(problem, fleet).items():
        offer = problem.offers[o]
        room = _bin_slots(offer)
        used = sum(max(1, -(-sum(slots for _, slots in node) // room)) for node in nodes)
        found += _over("packing", used, fleet.units.get((o, zone), 0), f"units of {offer.name}")
        found += _over("packing", sum(n for (_, p, z), n in fleet.replicas.items() if (p, z) == (o, zone)),
                       sum(1 for node in nodes for _ in node), f"places on {offer.name}")  # fmt: skip
        for node in nodes if offer.billing == "node" else ():
            found += _over("packing", sum(slots for _, slots in node), room, f"slots of a node of {offer.name}")
    return found


def _spare_nodes(problem: FleetProblem, fleet: FleetSolution) -> list[Violation]:
    """Idle units of every offer in use replace the nodes that may be lost."""
    found: list[Violation] = []
    placed = placement(problem, fleet) if problem.spare_nodes else {}
    for o, offer in enumerate(problem.offers):
        mine = [node for (other, _), nodes in placed.items() if other == o for node in nodes]
        pieces = [max(1, -(-sum(slots for _, slots in node) // _bin_slots(offer))) for node in mine]
        if pieces:
            needed = sum(pieces) + problem.spare_nodes * (1 if offer.billing == "node" else max(pieces))
            found += _over("spare_nodes", needed, fleet.units_of(o), f"units of {offer.name}")
    return found


def _bin_slots(offer: NodeOffer) -> int:
    return offer.unit_gpus * SLOTS_PER_GPU


def placement(problem: FleetProblem, fleet: FleetSolution) -> Placement:
    """Say which pieces stand on which node of every offer and zone.

    Where GPUs are sold singly, a "node" is one order: the GPUs of one replica, or one GPU that replicas share.
    """
    pieces: dict[tuple[int, int], list[tuple[int, str]]] = {}
    for (c, o, zone), count in sorted(fleet.replicas.items()):
        column = problem.columns[c]
        pieces.setdefault((o, zone), []).extend([(column.slots, column.name)] * (count * column.nodes))
    result: Placement = {}
    for (o, zone), waiting in pieces.items():
        offer = problem.offers[o]
        whole = [piece for piece in waiting if offer.billing == "gpu" and piece[0] > SLOTS_PER_GPU]
        rest = [piece for piece in waiting if piece not in whole]
        packed = pack(rest, _bin_slots(offer), fleet.patterns.get((o, zone), ()))
        result[o, zone] = (*(((name, slots),) for slots, name in whole), *packed)
    return result


def totals(problem: FleetProblem, fleet: FleetSolution) -> dict[str, int]:
    """Add up what the fleet takes: money, GPUs, watts, rack units."""
    units = [(problem.offers[o], count) for (o, _), count in fleet.units.items()]
    return {
        "cost": sum(count * offer.cost_micro_usd_per_hour for offer, count in units),
        "ordered": sum(count * offer.cost_micro_usd_per_hour for offer, count in units if offer.kind != "stock"),
        "running": sum(count * offer.micro_usd_per_hour for offer, count in units),
        "capex": sum(count * offer.capex_cents for offer, count in units),
        "gpus": sum(count * offer.unit_gpus for offer, count in units),
        "power": sum(count * offer.watts for offer, count in units if offer.hosted),
        "watts": sum(count * offer.watts for offer, count in units),
        "rack_units": sum(count * offer.rack_milliunits for offer, count in units if offer.hosted),
    }


def _limits(problem: FleetProblem, fleet: FleetSolution) -> list[Violation]:
    limits, sums = problem.limits, totals(problem, fleet)
    found: list[Violation] = []
    for rule, key, most, unit in (
        ("budget", "cost", limits.micro_usd_per_hour, "micro-USD per hour"),
        ("capex", "capex", limits.capex_cents, "cents"),
        ("power", "power", limits.watts, "watts"),
        ("rack_units", "rack_units", limits.rack_milliunits, "thousandths of a rack unit"),
        ("gpu_count", "gpus", limits.gpus, "GPUs"),
    ):
        found += [] if most is None else _over(rule, sums[key], most, unit)
    for o, offer in enumerate(problem.offers):
        if offer.max_units is not None:
            found += _over(f"stock:{offer.name}", fleet.units_of(o), offer.max_units, "units")
    used: Counter[str] = Counter()
    ordered: Counter[str] = Counter()
    for (o, _), count in fleet.units.items():
        offer = problem.offers[o]
        used[offer.gpu] += count
        ordered[offer.gpu] += 0 if offer.kind == "stock" else count * offer.unit_gpus
    for gpu, most in limits.quota_gpus.items():
        found += _over(f"quota:{gpu}", ordered[gpu], most, "GPUs")
    if limits.gpu_kinds is not None:
        found += _over("gpu_kinds", sum(1 for count in used.values() if count), limits.gpu_kinds, "kinds of SKU")
    return found


__all__ = ["PARTS", "Parts", "Placement", "fleet_violations", "placement", "totals"]
