"""Fleets that are equal in everything asked: a number of each, drawn from the names in it, so that one of them wins.

The numbers are digests of names: the same in every run, whatever the seed, the threads or the order of columns.
"""

from collections.abc import Mapping
from hashlib import sha256

from vllm_opt.optimizer.fleet.problem import FleetProblem, FleetSolution

BITS = 20
"""two fleets draw the same number about once in a million, and sums stay far below 2^31"""


def _weight(*names: object) -> int:
    return int.from_bytes(sha256(repr(names).encode()).digest()[:4], "big") >> (32 - BITS)


def replicas_weight(problem: FleetProblem, c: int, o: int, zone: int) -> int:
    """The weight of one replica of a column on an offer and zone."""
    return _weight(problem.columns[c].name, problem.offers[o].name, zone)


def units_weight(problem: FleetProblem, o: int, zone: int) -> int:
    """The weight of one unit of an offer in a zone."""
    return _weight(problem.offers[o].name, zone)


def pattern_weight(problem: FleetProblem, o: int, zone: int, pattern: Mapping[int, int]) -> int:
    """The weight of one node filled in this way."""
    return _weight(problem.offers[o].name, zone, sorted(pattern.items()))


def tie_value(problem: FleetProblem, fleet: FleetSolution) -> int:
    """The number of a fleet; the least wins."""
    total = sum(n * replicas_weight(problem, c, o, z) for (c, o, z), n in fleet.replicas.items())
    total += sum(n * units_weight(problem, o, z) for (o, z), n in fleet.units.items())
    for (o, z), patterns in fleet.patterns.items():
        total += sum(n * pattern_weight(problem, o, z, pattern) for pattern, n in patterns)
    return total


def mix_value(problem: FleetProblem, fleet: FleetSolution) -> int:
    """Kinds of SKU, providers, and weight formats of each workload in a fleet: the fewer, the simpler to run."""
    offers = [problem.offers[o] for (o, _), count in fleet.units.items() if count]
    columns = [problem.columns[c] for (c, _, _), count in fleet.replicas.items() if count]
    formats = {(column.workload, column.format) for column in columns}
    return len({offer.gpu for offer in offers}) + len({offer.provider for offer in offers}) + len(formats)
