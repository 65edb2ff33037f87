"""Brute force over small fleets: every replica vector, every packing, every rule, in plain whole numbers."""

from functools import cache
from itertools import product

from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetProblem


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


def serves(problem: FleetProblem, replicas: dict[int, int]) -> bool:
    """Say whether every single-bucket workload is served even without its largest spares."""
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
        if sum(capacities[demand.spare_replicas :]) < demand.units[0]:
            return False
    return True


def cheapest_fleet(problem: FleetProblem, most: int) -> int | None:
    """Return the least cost per hour in micro-USD with at most `most` replicas per column and offer; None: no fleet."""
    limits, best = problem.limits, None
    for counts in product(range(most + 1), repeat=len(problem.pairs)):
        replicas: dict[int, int] = {}
        on: dict[int, dict[int, int]] = {}
        for (c, o), n in zip(problem.pairs, counts, strict=True):
            if n:
                replicas[c] = replicas.get(c, 0) + n
                on.setdefault(o, {})[c] = n
        if not serves(problem, replicas):
            continue
        units = {o: units_needed(problem, o, held) for o, held in on.items()}
        offers = [(problem.offers[o], n) for o, n in units.items()]
        cost = sum(n * offer.cost_micro_usd_per_hour for offer, n in offers)
        ordered: dict[str, int] = {}
        for offer, n in offers:
            ordered[offer.gpu] = ordered.get(offer.gpu, 0) + n * offer.unit_gpus * (offer.kind != "stock")
        sound = (
            all(offer.max_units is None or n <= offer.max_units for offer, n in offers)
            and all(ordered.get(gpu, 0) <= quota for gpu, quota in limits.quota_gpus.items())
            and (limits.micro_usd_per_hour is None or cost <= limits.micro_usd_per_hour)
            and (limits.capex_cents is None or sum(n * x.capex_cents for x, n in offers) <= limits.capex_cents)
            and (limits.watts is None or sum(n * x.watts for x, n in offers if x.hosted) <= limits.watts)
            and (limits.gpus is None or sum(n * x.unit_gpus for x, n in offers) <= limits.gpus)
            and (limits.gpu_kinds is None or len({x.gpu for x, n in offers if n}) <= limits.gpu_kinds)
        )
        if sound and (best is None or cost < best):
            best = cost
    return best
