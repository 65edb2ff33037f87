"""What no fleet costs less than, and with one replica of a column among it: by the linear relaxation and by covers."""

import math
from dataclasses import dataclass
from functools import cached_property

from vllm_opt.optimizer.fleet.covers import Cover, covers_of, least_of
from vllm_opt.optimizer.fleet.model import FleetModel
from vllm_opt.optimizer.fleet.neighbourhood import Relaxation, relaxation
from vllm_opt.optimizer.fleet.problem import FleetColumn, FleetProblem
from vllm_opt.optimizer.fleet.whole_units import counts_whole


@dataclass(frozen=True)
class Relaxed:
    """A relaxation of a problem; `value` is what the objective of no fleet falls below."""

    value: float
    found: Relaxation
    problem: FleetProblem
    covers: dict[str, Cover]
    """of the workloads of one length, where cost is what counts"""

    @property
    def columns(self) -> tuple[FleetColumn, ...]:
        """The columns that the numbers speak of."""
        return self.problem.columns

    @cached_property
    def with_one(self) -> dict[int, float]:
        """Column -> what a fleet with one replica of it costs at least."""
        with_it = {c: self.found.value + price for c, price in self.found.prices.items()}
        least = least_of(self.covers)
        for cover in self.covers.values():
            others = least - cover.least
            with_it |= {c: max(with_it.get(c, -math.inf), others + cost) for c, cost in cover.with_one().items()}
        return with_it


def relaxed(problem: FleetProblem, name: str) -> Relaxed | None:
    """Relax a problem whose first objective has this name; None where even the relaxation has no solution.

    Where nothing but demand, zones and spares binds the fleet, covers are above the linear relaxation, which is left
    out.
    """
    covers = covers_of(problem) if name == "cost" else {}
    if name == "cost" and counts_whole(problem) and problem.is_unlimited:
        return Relaxed(least_of(covers), Relaxation(-math.inf, {}, frozenset()), problem, covers)
    model = FleetModel(problem, routes=False, covered=False)
    model.minimise_or_maximise(name)
    found = relaxation(model)
    return None if found is None else Relaxed(max(found.value, least_of(covers)), found, problem, covers)
