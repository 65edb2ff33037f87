"""The rules of a fleet, each with a name so that an explanation can leave it out.

`demand:<workload>`, `spare_replicas:<workload>`, `zones`, `spare_nodes`, `stock:<offer>`, `quota:<gpu>`, `budget`,
`capex`, `power`, `rack_units`, `gpu_kinds`, `gpu_count`. Packing has no name: nothing makes a node larger.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.fleet.covers import covers_of, rows_of
from vllm_opt.optimizer.fleet.idle import keep_idle, keep_spare_nodes
from vllm_opt.optimizer.fleet.packing import chain_rows, is_chain, maximal_patterns, rounded_up
from vllm_opt.optimizer.fleet.problem import SERVED_SCALE, SLOTS_PER_GPU, FleetDemand, FleetProblem
from vllm_opt.optimizer.fleet.routing import MARGIN_PPM

if TYPE_CHECKING:
    from vllm_opt.optimizer.fleet.model import FleetModel

MOST_ROUTES = 400
"""buckets x columns up to which routes are variables of the model"""
ROUTE_LOAD = 1_000_000
"""one replica's time, in parts"""

Terms = dict[int, list[tuple[Any, int]]]
"""piece size in slots -> (replica variable, pieces per replica)"""


def rule_names(problem: FleetProblem) -> tuple[str, ...]:
    """Name every rule that the problem really has, in the order in which they are explained."""
    names = [f"demand:{demand.workload}" for demand in problem.demands]
    names += [f"spare_replicas:{demand.workload}" for demand in problem.demands if demand.spare_replicas]
    names += ["zones"] if problem.zones > 1 else []
    names += ["spare_nodes"] if problem.spare_nodes else []
    names += [f"stock:{offer.name}" for offer in problem.offers if offer.max_units is not None]
    names += [f"quota:{gpu}" for gpu in sorted(problem.limits.quota_gpus)]
    return (*names, *(name for name, value in _numbers(problem).items() if value is not None))


def _numbers(problem: FleetProblem) -> dict[str, int | None]:
    limits = problem.limits
    return {
        "budget": limits.micro_usd_per_hour, "capex": limits.capex_cents, "power": limits.watts,
        "rack_units": limits.rack_milliunits, "gpu_kinds": limits.gpu_kinds, "gpu_count": limits.gpus,
    }  # fmt: skip


def add_all(fleet: FleetModel) -> None:
    """Add every rule that is not dropped."""
    if fleet.problem.spare_nodes and "spare_nodes" not in fleet.dropped:
        keep_spare_nodes(fleet)
    for o, zone in fleet.on_offer:
        _packing(fleet, o, zone)
    for demand in fleet.problem.demands:
        if f"demand:{demand.workload}" not in fleet.dropped:
            _demand(fleet, demand)
    if fleet.covered:
        _covers(fleet)
    _order_zones(fleet)
    _stock(fleet)
    _limits(fleet)
    _gpu_kinds(fleet)


def _covers(fleet: FleetModel) -> None:
    """Redundant rows: what whole replicas for a workload cost at least (`covers.py`)."""
    for weights, needed in rows_of(list(covers_of(fleet.problem, fleet.dropped).values())):
        fleet.cp.add(fleet.weighted((var, w) for c, w in weights.items() for var in fleet.of_column[c]) >= needed)


def _packing(fleet: FleetModel, o: int, zone: int) -> None:
    """Replicas stand on nodes: a tensor-parallel group never leaves its node, pieces of a multi-node plan may."""
    offer, units = fleet.problem.offers[o], fleet.units[o, zone] - fleet.spares.get((o, zone), 0)
    pieces: Terms = {}
    for c, var in fleet.on_offer[o, zone]:
        column = fleet.problem.columns[c]
        pieces.setdefault(column.slots, []).append((var, column.nodes))
    if not pieces:
        fleet.cp.add(fleet.units[o, zone] == 0)
        if (o, zone) in fleet.spares:
            fleet.cp.add(fleet.spares[o, zone] == 0)
    elif offer.billing == "gpu":
        taken = fleet.weighted((var, n * size) for size, group in pieces.items() for var, n in group)
        fleet.cp.add(taken <= SLOTS_PER_GPU * units)
    else:
        _nodes(fleet, (o, zone), pieces, units)


def mix_literals(fleet: FleetModel) -> list[Any]:
    """One Boolean per kind of SKU, provider, and weight format of a workload: whether the fleet has it."""
    literals: dict[tuple[str, ...], Any] = {}

    def marks(key: tuple[str, ...], var: Any, most: int) -> None:
        if key not in literals:
            literals[key] = fleet.cp.new_bool_var("")
        fleet.cp.add(var <= most * literals[key])

    for (o, _), var in fleet.units.items():
        offer = fleet.problem.offers[o]
        marks(("gpu", offer.gpu), var, fleet.most_units[o])
        marks(("provider", offer.provider), var, fleet.most_units[o])
    for (c, _, _), var in fleet.replicas.items():
        column = fleet.problem.columns[c]
        marks(("format", column.workload, column.format), var, fleet.most_replicas[c])
    return list(literals.values())


def _nodes(fleet: FleetModel, at: tuple[int, int], pieces: Terms, units: Any) -> None:
    sizes, node_slots = tuple(pieces), fleet.problem.offers[at[0]].gpus_per_node * SLOTS_PER_GPU
    patterns = None if is_chain(sizes) else maximal_patterns(sizes, node_slots)
    if patterns is not None:
        most = sum(fleet.most_replicas[c] * fleet.problem.columns[c].nodes for c, _ in fleet.on_offer[at])
        counts = [(pattern, fleet.cp.new_int_var(0, most, "")) for pattern in patterns]
        fleet.patterns[at] = counts
        fleet.cp.add(fleet.sum(var for _, var in counts) == units)
        for size, group in pieces.items():
            fleet.cp.add(fleet.weighted(group) <= fleet.weighted((var, p.get(size, 0)) for p, var in counts))
        return
    stands_for = {size: size if is_chain(sizes) else rounded_up(size) for size in sizes}
    for row in chain_rows(tuple(stands_for.values()), node_slots):
        taken = fleet.weighted(
            (var, n * row.coefficients.get(stands_for[size], 0)) for size, group in pieces.items() for var, n in group
        )
        fleet.cp.add(taken <= row.per_node * units)


def _demand(fleet: FleetModel, demand: FleetDemand) -> None:
    """Serve every workload, whole or in the share that is decided."""
    name = demand.workload
    columns = fleet.columns_of[name]
    spares = 0 if f"spare_replicas:{name}" in fleet.dropped else demand.spare_replicas
    zoned = fleet.problem.zones > 1 and "zones" not in fleet.dropped
    active: Any = 1
    if fleet.served and (spares or zoned):
        active = fleet.cp.new_bool_var(f"active[{name}]")
        fleet.cp.add(fleet.served[name] <= SERVED_SCALE * active)
    if not columns:
        _nobody(fleet, name)
    elif len(demand.units) > 1:
        keep_idle(fleet, columns, spares)
        if fleet.routes and len(demand.units) * len(columns) <= MOST_ROUTES:
            _route(fleet, demand)  # a longer histogram is kept by routing cuts alone
    else:
        _cover(fleet, demand, spares, active)
    if zoned and columns:
        _two_zones(fleet, columns, active)


def _nobody(fleet: FleetModel, name: str) -> None:
    if fleet.served:
        fleet.cp.add(fleet.served[name] == 0)
    else:
        fleet.cp.add_bool_or([])


def _cover(fleet: FleetModel, demand: FleetDemand, spares: int, active: Any) -> None:
    """Serve the demand even when the `spares` largest replicas are lost.

    The k largest replicas hold the least value over theta of k theta + sum n max(0, capacity - theta), and a capacity
    in use attains it. So one threshold with sum n min(capacity, theta) >= demand + k theta is exactly what is needed.
    A replica counts for at most the whole demand: more never helps, and the linear relaxation is tighter for it.
    """
    name, needed = demand.workload, demand.units[0]
    scale = SERVED_SCALE if fleet.served else 1
    target = needed * fleet.served[name] if fleet.served else needed
    capacity = {c: min(needed, fleet.problem.columns[c].capacity[0]) for c in fleet.columns_of[name]}

    def within(most: int) -> Any:
        return fleet.weighted(
            (var, scale * min(cap, most)) for c, cap in capacity.items() for var in fleet.of_column[c]
        )

    lost = scale * spares * min(capacity.values())
    fleet.cp.add(within(max(capacity.values())) >= target + lost * active)
    if not spares:
        return
    if not fleet.served:
        _cover_evenly(fleet, needed, spares, capacity)
    chosen = []
    for threshold in sorted(set(capacity.values())):
        this = fleet.cp.new_bool_var("")
        chosen.append(this)
        fleet.cp.add(within(threshold) >= target + scale * spares * threshold).only_enforce_if(this)
    fleet.cp.add(fleet.sum(chosen) == active)


def _cover_evenly(fleet: FleetModel, needed: int, spares: int, capacity: dict[int, int]) -> None:
    """Add the row sum n c / (D + k c) >= 1, which is implied and makes the linear relaxation tight.

    With M the largest capacity in use, sum n c >= D + k M, and c / (D + k c) >= c / (D + k M) because c <= M.
    """
    whole = 10**6
    share = {c: -(-cap * whole // (needed + spares * cap)) for c, cap in capacity.items()}
    fleet.cp.add(fleet.weighted((var, weight) for c, weight in share.items() for var in fleet.of_column[c]) >= whole)


def _route(fleet: FleetModel, demand: FleetDemand) -> None:
    """Route every length bucket in thousandths to columns whose working replicas carry it."""
    problem, columns = fleet.problem, fleet.columns_of[demand.workload]
    whole: Any = fleet.served[demand.workload] if fleet.served else SERVED_SCALE
    load: dict[int, list[tuple[Any, int]]] = {c: [] for c in columns}
    for bucket, units in enumerate(demand.units):
        shares = []
        for c in columns:
            if capacity := problem.columns[c].capacity[bucket]:
                share = fleet.cp.new_int_var(0, SERVED_SCALE, "")
                raised = units * (1_000_000 + MARGIN_PPM) * ROUTE_LOAD
                load[c].append((share, -(-raised // (capacity * SERVED_SCALE * 1_000_000))))
                shares.append(share)
        fleet.cp.add(fleet.sum(shares) == whole)
    for c in columns:
        working = [(var, ROUTE_LOAD) for var in fleet.of_column[c]]
        if c in fleet.idle:
            used, spares = fleet.idle[c]
            working.append((used, -ROUTE_LOAD * spares))
        fleet.cp.add(fleet.weighted(load[c]) <= fleet.weighted(working))


def _two_zones(fleet: FleetModel, columns: tuple[int, ...], active: Any) -> None:
    """No zone holds all replicas of a workload."""
    mine = set(columns)
    everywhere = fleet.sum(var for c in columns for var in fleet.of_column[c])
    for zone in fleet.zones:
        here = fleet.sum(var for (c, _, z), var in fleet.replicas.items() if z == zone and c in mine)
        fleet.cp.add(here <= everywhere - active)


def _order_zones(fleet: FleetModel) -> None:
    """Zones are alike: the first holds the most GPUs."""
    offers = fleet.problem.offers
    size = [fleet.weighted((fleet.units[o, z], offer.unit_gpus) for o, offer in enumerate(offers)) for z in fleet.zones]
    for larger, smaller in pairwise(size):
        fleet.cp.add(larger >= smaller)


def _stock(fleet: FleetModel) -> None:
    """Take no more nodes than there are; one zone is covered by the variable's own bound."""
    for o, offer in enumerate(fleet.problem.offers):
        if offer.max_units is not None and len(fleet.zones) > 1 and f"stock:{offer.name}" not in fleet.dropped:
            fleet.cp.add(fleet.sum(fleet.units[o, z] for z in fleet.zones) <= offer.max_units)


def _limits(fleet: FleetModel) -> None:
    """Money, purchase money, watts, rack units, GPUs in all, and GPUs of one SKU that may be ordered."""
    limits = fleet.problem.limits
    for gpu, most in sorted(limits.quota_gpus.items()):
        if f"quota:{gpu}" not in fleet.dropped:
            fleet.cp.add(fleet.objective(f"quota:{gpu}")[0] <= most)
    expression = {"budget": "cost", "gpu_count": "gpus"}
    for name, number in _numbers(fleet.problem).items():
        if number is not None and name != "gpu_kinds" and name not in fleet.dropped:
            fleet.cp.add(fleet.objective(expression.get(name, name))[0] <= number)


def _gpu_kinds(fleet: FleetModel) -> None:
    """Use at most K kinds of SKU."""
    most = fleet.problem.limits.gpu_kinds
    if most is None or "gpu_kinds" in fleet.dropped:
        return
    for (o, _), var in fleet.units.items():
        gpu = fleet.problem.offers[o].gpu
        if gpu not in fleet.kinds:
            fleet.kinds[gpu] = fleet.cp.new_bool_var(f"kind[{gpu}]")
        fleet.cp.add(var <= fleet.most_units[o] * fleet.kinds[gpu])
    fleet.cp.add(fleet.sum(fleet.kinds.values()) <= most)
