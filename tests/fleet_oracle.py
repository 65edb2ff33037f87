"""Brute force over small fleets: every replica vector, every packing, every rule, in plain whole numbers."""

import random
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import product

from vllm_opt.optimizer.fleet.check import fleet_violations, totals
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.problem import (
    SERVED_SCALE,
    SLOTS_PER_GPU,
    FleetColumn,
    FleetDemand,
    FleetLimits,
    FleetObjective,
    FleetProblem,
    NodeOffer,
)
from vllm_opt.optimizer.fleet.solver import solve_fleet


@cache
def fewest_bins(pieces: tuple[int, ...], room: int) -> int:
    """Return the fewest bins for pieces sorted downwards, by trying every bin for every piece."""
    best = len(pieces)

    def put(position: int, free: tuple[int, ...]) -> None:
        nonlocal best
        if len(free) >= best and position < len(pieces):
            return
        if position == len(pieces):
            best = min(best, len(free))
            return
        size = pieces[position]
        for left in set(free):
            if left >= size:
                index = free.index(left)
                put(position + 1, tuple(sorted((*free[:index], left - size, *free[index + 1 :]))))
        put(position + 1, tuple(sorted((*free, room - size))))

    put(0, ())
    return best


def units_needed(problem: FleetProblem, offer: int, counts: dict[int, int]) -> int:
    """Return the fewest units of one offer that hold these replicas."""
    node = problem.offers[offer]
    pieces = [problem.columns[c].slots for c, n in counts.items() for _ in range(n * problem.columns[c].nodes)]
    if node.billing == "gpu":
        shared = tuple(sorted((size for size in pieces if size < SLOTS_PER_GPU), reverse=True))
        return sum(size // SLOTS_PER_GPU for size in pieces if size >= SLOTS_PER_GPU) + fewest_bins(
            shared, SLOTS_PER_GPU
        )
    return fewest_bins(tuple(sorted(pieces, reverse=True)), node.gpus_per_node * SLOTS_PER_GPU)


def idle_units(problem: FleetProblem, offer: int, counts: dict[int, int]) -> int:
    """Return the units that replace the nodes which may be lost: a node each, or the GPUs of the largest piece."""
    node = problem.offers[offer]
    largest = max(-(-problem.columns[c].slots // SLOTS_PER_GPU) for c, n in counts.items() if n)
    return problem.spare_nodes * (1 if node.billing == "node" else largest)


def served_shares(problem: FleetProblem, replicas: dict[int, int]) -> tuple[int, ...]:
    """Return the thousandths of every single-bucket workload that are served even without its largest spares."""
    shares = []
    for demand in problem.demands:
        capacities = sorted(
            (
                column.capacity[0]
                for c, column in enumerate(problem.columns)
                if column.workload == demand.workload
                for _ in range(replicas.get(c, 0))
            ),
            reverse=True,
        )
        left = sum(capacities[demand.spare_replicas :])
        shares.append(min(SERVED_SCALE, left * SERVED_SCALE // demand.units[0]))
    return tuple(shares)


def pooled(problem: FleetProblem) -> bool:
    """Return whether workloads of several lengths share replicas."""
    return any(len(demand.units) > 1 for demand in problem.demands)


def serves_pool(problem: FleetProblem, replicas: dict[int, int]) -> bool:
    """Return whether two bars can be split over what is left when replicas are lost.

    Every plan loses `spares` of its own; of the replicas that a member of the pool has alone the largest are lost. What
    is left is used best when replicas go to the first bar that lose least of the second.
    """
    (demand,) = problem.demands
    left: list[tuple[int, int]] = []
    alone: dict[str, list[tuple[int, int]]] = {}
    for c, column in enumerate(problem.columns):
        serve = (column.capacity[0], column.capacity[1])
        if column.reserve:
            alone.setdefault(column.reserve, []).extend([serve] * replicas.get(c, 0))
        else:
            left += [serve] * max(0, replicas.get(c, 0) - demand.spare_replicas)
    for members in alone.values():
        left += sorted(members, key=sum, reverse=True)[demand.spare_replicas :]
    first = Fraction(demand.units[0])
    second = Fraction(0)
    loses = [(Fraction(other, one) if one else Fraction(10**18), one, other) for one, other in left]
    for _, one, other in sorted(loses):
        share = min(Fraction(1), max(Fraction(0), first) / one) if one else Fraction(0)
        first -= share * one
        second += (1 - share) * other
    return first <= 0 and second >= demand.units[1]


def sound_fleets(problem: FleetProblem, most: int) -> Iterator[tuple[tuple[int, ...], int]]:
    """Yield (served thousandths by workload, cost in micro-USD) of every fleet within all limits.

    At most `most` replicas of each column stand on each offer.
    """
    limits = problem.limits
    for counts in product(range(most + 1), repeat=len(problem.pairs)):
        replicas: dict[int, int] = {}
        on: dict[int, dict[int, int]] = {}
        for (c, o), n in zip(problem.pairs, counts, strict=True):
            if n:
                replicas[c] = replicas.get(c, 0) + n
                on.setdefault(o, {})[c] = n
        shares = served_shares(problem, replicas) if not pooled(problem) else (SERVED_SCALE,)
        if not problem.partial and min(shares) < SERVED_SCALE:
            continue
        if pooled(problem) and not serves_pool(problem, replicas):
            continue
        units = {o: units_needed(problem, o, held) + idle_units(problem, o, held) for o, held in on.items()}
        offers = [(problem.offers[o], n) for o, n in units.items()]
        cost = sum(n * offer.cost_micro_usd_per_hour for offer, n in offers)
        ordered: dict[str, int] = {}
        for offer, n in offers:
            ordered[offer.gpu] = ordered.get(offer.gpu, 0) + n * offer.unit_gpus * (offer.kind != "stock")
        if (
            all(offer.max_units is None or n <= offer.max_units for offer, n in offers)
            and all(ordered.get(gpu, 0) <= quota for gpu, quota in limits.quota_gpus.items())
            and (limits.micro_usd_per_hour is None or cost <= limits.micro_usd_per_hour)
            and (limits.capex_cents is None or sum(n * x.capex_cents for x, n in offers) <= limits.capex_cents)
            and (limits.watts is None or sum(n * x.watts for x, n in offers if x.hosted) <= limits.watts)
            and (limits.gpus is None or sum(n * x.unit_gpus for x, n in offers) <= limits.gpus)
            and (limits.gpu_kinds is None or len({x.gpu for x, n in offers if n}) <= limits.gpu_kinds)
        ):
            yield shares, cost


def cheapest_fleet(problem: FleetProblem, most: int) -> int | None:
    """Return the least cost per hour in micro-USD with at most `most` replicas per column and offer; None: no fleet."""
    return min((cost for _, cost in sound_fleets(problem, most)), default=None)


def most_served(problem: FleetProblem, most: int) -> tuple[int, ...]:
    """Return the thousandths served of every priority class, the first class first."""
    ranks = sorted({demand.priority for demand in problem.demands})
    return max(
        tuple(
            sum(share for share, demand in zip(shares, problem.demands, strict=True) if demand.priority == rank)
            for rank in ranks
        )
        for shares, _ in sound_fleets(problem, most)
    )


def small_fleet(seed: int, scale: int = 1, *, served: bool = False, wide: bool = False) -> FleetProblem:
    """Draw a fleet that brute force can decide: two workloads, two SKUs, stock, odd sizes, limits that may bind.

    Money and capacities are drawn from ranges `scale` times as large. With `served`, as much as the limits allow is
    served, of one or two priorities; with `wide` some replicas stand on two nodes.
    """
    draw = random.Random(seed)
    sizes = draw.choice(((4, 8), (2, 4), (12, 8), (4, 16), (1, 4)))
    offers = (
        NodeOffer(
            "a", "A", draw.choice((2, 4)), billing=draw.choice(("node", "gpu")),
            micro_usd_per_hour=draw.randint(20 * scale, 60 * scale), watts=100,
        ),
        NodeOffer(
            "b", "B", 4, micro_usd_per_hour=draw.randint(30 * scale, 90 * scale), capex_cents=draw.randint(1, 9),
            kind="buy", watts=draw.randint(50, 90),
        ),
        NodeOffer("own", "A", 4, kind="stock", max_units=draw.randint(1, 2), watts=70),
    )  # fmt: skip
    columns = []
    for workload in ("x", "y"):
        for gpu in ("A", "B")[: draw.randint(1, 2)]:
            slots = draw.choice(sizes)
            capacity = draw.randint(3 * scale, 9 * scale) * slots
            nodes = draw.randint(1, 2) if wide else 1
            columns.append(FleetColumn(f"{workload}{gpu}", workload, gpu, slots, (capacity,), nodes))
    demands = tuple(
        FleetDemand(
            workload, (draw.randint(5 * scale, 70 * scale),), spare_replicas=draw.choice((0, 0, 1)),
            priority=draw.randint(1, 2) if served else 1,
        )
        for workload in ("x", "y")
    )  # fmt: skip
    limits = FleetLimits(
        micro_usd_per_hour=draw.choice((None, None, 150 * scale)),
        watts=draw.choice((None, None, 160)),
        gpus=draw.choice((None, None, 8)),
        gpu_kinds=draw.choice((None, 1)),
        quota_gpus=draw.choice(({}, {}, {"A": 2}, {"B": 4})),
    )
    objective: FleetObjective = "served" if served else "cost"
    return FleetProblem(demands, tuple(columns), offers, limits, (objective,), stock_first=False)


def resilient_fleet(seed: int, scale: int = 1) -> FleetProblem:
    """Draw a fleet of which replicas and nodes may be lost."""
    draw, problem = random.Random(seed), small_fleet(seed, scale, wide=seed % 3 == 0)
    demands = tuple(replace(demand, spare_replicas=draw.choice((0, 1, 2))) for demand in problem.demands)
    return problem.changed(demands=demands, spare_nodes=draw.choice((0, 1, 1)))


def small_pool(seed: int, scale: int = 1) -> FleetProblem:
    """Draw two workloads of one length each that may share replicas, or have their own, of which some may be lost."""
    draw, problem = random.Random(seed), small_fleet(seed, scale)
    sizes = draw.choice(((4, 8), (4, 16), (8, 8)))
    columns = []
    for name, reserve, bars in (("s", "", (0, 1)), ("x", "#1", (0,)), ("y", "#2", (1,))):
        for gpu in draw.sample(("A", "B"), draw.randint(1, 2) if reserve else 1):
            slots = draw.choice(sizes)
            vector = tuple(draw.randint(3 * scale, 9 * scale) * slots * (bar in bars) for bar in (0, 1))
            columns.append(FleetColumn(f"{name}{gpu}", "x + y", gpu, slots, vector, 1, reserve=reserve))
    units = tuple(draw.randint(5 * scale, 60 * scale) for _ in range(2))
    demand = FleetDemand("x + y", units, spare_replicas=draw.choice((0, 1, 1, 2)))
    offers = problem.offers[: draw.choice((2, 2, 2, 3)) if len(columns) < 5 else 2]
    limits = replace(problem.limits, gpu_kinds=None)
    return problem.changed(
        demands=(demand,), columns=tuple(columns), offers=offers, limits=limits, spare_nodes=draw.choice((0, 0, 1)),
        exact_routes=True,
    )  # fmt: skip


def agree_on_pool(problem: FleetProblem) -> None:
    """Decide a pool both ways; routes are proven within a few millionths of the demand."""
    most = 3 if len(problem.pairs) > 4 else 4
    outcome = solve_fleet(problem, FleetOptions(time_limit=20))
    (demand,) = problem.demands
    more = replace(demand, units=tuple(units + -(-units // 10**5) for units in demand.units))
    least = cheapest_fleet(problem, most)
    surely = cheapest_fleet(problem.changed(demands=(more,)), most)
    if surely is None and (outcome.fleet is None or max(outcome.fleet.replicas.values()) > most or least is not None):
        assert outcome.status in ("optimal", "infeasible")
        return
    assert outcome.status == "optimal", (outcome.status, surely, problem)
    assert outcome.fleet is not None
    assert fleet_violations(problem, outcome.fleet, outcome.parts) == ()
    cost = totals(problem, outcome.fleet)["cost"]
    assert surely is not None
    assert cost <= surely * (1 + 2e-6), (cost, surely, problem)
    if max(outcome.fleet.replicas.values(), default=0) <= most:
        assert least is not None
        assert cost >= least, (cost, least, problem)


def agree(problem: FleetProblem) -> None:
    """Decide a fleet both ways and compare: value, soundness, infeasibility."""
    if pooled(problem):
        agree_on_pool(problem)
        return
    most = 3 if len(problem.pairs) > 4 else 5
    outcome = solve_fleet(problem, FleetOptions(time_limit=20))
    if problem.partial:
        assert outcome.status == "optimal"
        assert outcome.fleet is not None
        assert fleet_violations(problem, outcome.fleet, outcome.parts) == ()
        served, expected = tuple(bound.value for bound in outcome.bounds), most_served(problem, most)
        assert served >= expected, (served, expected, problem)
        if max(outcome.fleet.replicas.values(), default=0) <= most:
            assert served == expected, (served, expected, problem)
        return
    cheapest = cheapest_fleet(problem, most)
    if cheapest is None:
        if outcome.status != "infeasible":  # more replicas than brute force tries: the fleet must still be sound
            assert outcome.fleet is not None
            assert max(outcome.fleet.replicas.values()) > most
        return
    assert outcome.status == "optimal", (outcome.status, cheapest, problem)
    assert outcome.fleet is not None
    assert fleet_violations(problem, outcome.fleet, outcome.parts) == ()
    cost = totals(problem, outcome.fleet)["cost"]
    assert cost <= cheapest, (cost, cheapest, problem)
    if max(outcome.fleet.replicas.values(), default=0) <= most:
        assert cost == cheapest, (cost, cheapest, problem)
