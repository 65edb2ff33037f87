"""What a search for a fleet is asked and returns, and the value of every objective in whole numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vllm_opt.optimizer.fleet.check import Parts, totals
from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetProblem, FleetSolution
from vllm_opt.optimizer.fleet.routing import RoutingCut
from vllm_opt.optimizer.fleet.ties import mix_value, tie_value

Status = Literal["optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class FleetOptions:
    """How long and how exactly to search."""

    time_limit: float = 30.0
    workers: int = 1
    seed: int = 0
    relative_gap: float = 0.0
    """stop at this relative distance from the bound; 0 proves the optimum"""
    fallback_gap: float = 0.0
    """the distance that is close enough once half of the time is spent"""
    tie_breaks: bool = True
    """whether the fleet is made simple and unique once its objectives are decided"""


@dataclass(frozen=True)
class Bound:
    """One objective: its value and what is proven about it, in the model's units."""

    name: str
    value: int
    bound: float
    proven: bool

    @property
    def gap(self) -> float:
        """Relative distance of value and bound; 0 when proven."""
        return 0.0 if self.proven else abs(self.value - self.bound) / max(1.0, abs(self.value))


@dataclass(frozen=True)
class Found:
    """One feasible fleet and how its traffic is routed."""

    fleet: FleetSolution
    parts: Parts


@dataclass(frozen=True)
class FleetOutcome:
    """What the search found."""

    status: Status
    fleet: FleetSolution | None = None
    bounds: tuple[Bound, ...] = ()
    parts: Parts = field(default_factory=dict)
    cuts: tuple[RoutingCut, ...] = ()


def objective_names(problem: FleetProblem) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Spell out the objectives (served by priority class, new money before all money) and the tie-breaks."""
    stock_costs = any(offer.kind == "stock" and offer.cost_micro_usd_per_hour for offer in problem.offers)
    asked: list[str] = []
    for objective in problem.objectives:
        if objective == "served":
            asked += [f"served:{priority}" for priority in sorted({d.priority for d in problem.demands})]
        elif objective == "cost" and stock_costs and problem.stock_first:
            asked += ["ordered", "cost"]
        else:
            asked.append(objective)
    return tuple(asked), tuple(name for name in ("cost", "gpus", "shared") if name not in asked)


def objective_value(problem: FleetProblem, fleet: FleetSolution, name: str) -> int:
    """Evaluate one objective on a fleet."""
    kind, _, which = name.partition(":")
    if kind == "served":
        return sum(fleet.served[d.workload] for d in problem.demands if d.priority == int(which))
    if name in ("mix", "tie"):
        return (mix_value if name == "mix" else tie_value)(problem, fleet)
    if name == "shared":
        return sum(n for (c, _, _), n in fleet.replicas.items() if problem.columns[c].slots < SLOTS_PER_GPU)
    if not which:
        return totals(problem, fleet)[name]
    offers: Mapping[int, int] = {
        o: offer.unit_gpus if kind == "quota" else 1
        for o, offer in enumerate(problem.offers)
        if offer.name == which or (kind == "quota" and offer.gpu == which and offer.kind != "stock")
    }
    return sum(count * offers.get(o, 0) for (o, _), count in fleet.units.items())
