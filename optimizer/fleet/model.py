"""The fleet as one CP-SAT model: replicas per column, units per offer; the rules are in fleet_rules.

The model reads as a table of contents: variables here, one function per rule there, one expression per objective below.
"""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from vllm_opt.optimizer.fleet import rules as fleet_rules
from vllm_opt.optimizer.fleet.problem import (
    SERVED_SCALE,
    SLOTS_PER_GPU,
    FleetDemand,
    FleetProblem,
    FleetSolution,
    NodeOffer,
)
from vllm_opt.optimizer.fleet.routing import RoutingCut
from vllm_opt.optimizer.fleet.ties import pattern_weight, replicas_weight, units_weight


class FleetModel:
    """Variables and rules of one fleet problem.

    `dropped` names rules to leave out (see `fleet_rules.rule_names`), which is how conflicts are explained.
    """

    def __init__(
        self, problem: FleetProblem, dropped: frozenset[str] = frozenset(), *, routes: bool = True, covered: bool = True
    ) -> None:
        from ortools.sat.python import cp_model

        self.problem = problem
        self.dropped = dropped
        self.routes = routes and not problem.exact_routes
        """whether short histograms have their routes as variables"""
        self.covered = covered
        """whether rows say what whole replicas cost at least; they leave a relaxation's prices without meaning"""
        self.cp: Any = cp_model.CpModel()
        self._expression = cp_model.LinearExpr
        self.zones = range(problem.zones)
        self.replicas = {
            (c, o, z): self.cp.new_int_var(0, self.most_replicas[c], f"replicas[{c},{o},{z}]")
            for c, o in problem.pairs
            for z in self.zones
        }
        self.of_column: dict[int, list[Any]] = {c: [] for c in range(len(problem.columns))}
        self.on_offer: dict[tuple[int, int], list[tuple[int, Any]]] = {
            (o, z): [] for o in range(len(problem.offers)) for z in self.zones
        }
        for (c, o, z), var in self.replicas.items():
            self.of_column[c].append(var)
            self.on_offer[o, z].append((c, var))
        self.most_units = tuple(self._most_units(o) for o in range(len(problem.offers)))
        self.units = {(o, z): self.cp.new_int_var(0, self.most_units[o], f"units[{o},{z}]") for o, z in self.on_offer}
        self.patterns: dict[tuple[int, int], list[tuple[dict[int, int], Any]]] = {}
        self.idle: dict[int, tuple[Any, int]] = {}
        self.served: dict[str, Any] = {}
        if problem.partial:
            self.served = {d.workload: self.cp.new_int_var(0, SERVED_SCALE, "") for d in problem.demands}
        self.kinds: dict[str, Any] = {}
        self.mix: list[Any] = []
        self.spares: dict[tuple[int, int], Any] = {}
        fleet_rules.add_all(self)

    @cached_property
    def demand_of(self) -> Mapping[str, FleetDemand]:
        """Demand by workload name."""
        return {demand.workload: demand for demand in self.problem.demands}

    @cached_property
    def columns_of(self) -> Mapping[str, tuple[int, ...]]:
        """Column indices by workload name."""
        found: dict[str, list[int]] = {name: [] for name in self.demand_of}
        for c, column in enumerate(self.problem.columns):
            found[column.workload].append(c)
        return {name: tuple(columns) for name, columns in found.items()}

    @cached_property
    def most_replicas(self) -> tuple[int, ...]:
        """Replicas of each column that serve its whole demand alone, spares and a second zone included."""
        result = []
        for column in self.problem.columns:
            demand = self.demand_of[column.workload]
            loads = sum(u / cap for u, cap in zip(demand.units, column.capacity, strict=True) if cap)
            result.append(int(loads * 1.00001) + 2 + demand.spare_replicas + (self.problem.zones > 1))
        return tuple(result)

    def _most_units(self, o: int) -> int:
        offer = self.problem.offers[o]
        most: dict[str, int] = {}
        for c, other in self.problem.pairs:
            if other == o:
                column = self.problem.columns[c]
                pieces = column.nodes * (-(-column.slots // SLOTS_PER_GPU) if offer.billing == "gpu" else 1)
                most[column.workload] = max(most.get(column.workload, 0), pieces * self.most_replicas[c])
        ceiling = sum(most.values()) + self.problem.spare_nodes * max(most.values(), default=0)
        if offer.max_units is None or f"stock:{offer.name}" in self.dropped:
            return ceiling
        return min(ceiling, offer.max_units)

    def sum(self, variables: Iterable[Any]) -> Any:
        """Return the sum of variables."""
        return self._expression.sum(list(variables))

    def weighted(self, terms: Iterable[tuple[Any, int]]) -> Any:
        """Return the sum of variable x whole-number weight."""
        pairs = [(var, weight) for var, weight in terms if weight]
        return self._expression.weighted_sum([var for var, _ in pairs], [weight for _, weight in pairs])

    def over_units(self, weight: Any) -> Any:
        """Return the sum over offers of `weight(offer)` x its units."""
        offers = self.problem.offers
        return self.weighted((var, weight(offers[o])) for (o, _), var in self.units.items())

    def objective(self, name: str) -> tuple[Any, bool]:
        """Return the expression of one objective, and whether it is maximised."""
        if name.startswith("served:"):
            priority = int(name.removeprefix("served:"))
            mine = [self.served[d.workload] for d in self.problem.demands if d.priority == priority]
            return self.sum(mine), True
        if name == "shared":
            columns = self.problem.columns
            return self.sum(var for (c, _, _), var in self.replicas.items() if columns[c].slots < SLOTS_PER_GPU), False
        if name in ("mix", "tie"):
            return (self._mix() if name == "mix" else self.weighted(self._named_terms())), False
        weights = {
            "cost": lambda offer: offer.cost_micro_usd_per_hour,
            "ordered": lambda offer: offer.cost_micro_usd_per_hour if offer.kind != "stock" else 0,
            "capex": lambda offer: offer.capex_cents,
            "gpus": lambda offer: offer.unit_gpus,
            "power": lambda offer: offer.watts if offer.hosted else 0,
            "rack_units": lambda offer: offer.rack_milliunits if offer.hosted else 0,
        }
        if name in weights:
            return self.over_units(weights[name]), False
        kind, _, which = name.partition(":")
        if kind == "quota":
            return self.over_units(lambda offer: _ordered_gpus(offer, which)), False
        return self.over_units(lambda offer: offer.name == which), False

    def _mix(self) -> Any:
        """Kinds of SKU, providers and weight formats in the fleet; their Booleans are made when first asked for."""
        self.mix = self.mix or fleet_rules.mix_literals(self)
        return self.sum(self.mix)

    def _named_terms(self) -> Iterable[tuple[Any, int]]:
        """Every variable that a fleet shows, weighted by its name."""
        for (c, o, z), var in self.replicas.items():
            yield var, replicas_weight(self.problem, c, o, z)
        for (o, z), var in self.units.items():
            yield var, units_weight(self.problem, o, z)
        for (o, z), patterns in self.patterns.items():
            for pattern, var in patterns:
                yield var, pattern_weight(self.problem, o, z, pattern)

    def minimise_or_maximise(self, name: str) -> bool:
        """Set the objective; say whether it is maximised."""
        expression, maximise = self.objective(name)
        (self.cp.maximize if maximise else self.cp.minimize)(expression)
        return maximise

    def keep(self, name: str, value: int) -> None:
        """Hold an objective at the value that it reached."""
        expression, maximise = self.objective(name)
        self.cp.add(expression >= value if maximise else expression <= value)

    def add_cut(self, cut: RoutingCut) -> None:
        """Add one routing cut; where a workload may be served in part, the need scales with its share."""
        if f"demand:{cut.workload}" in self.dropped:
            return
        terms = [(var, price) for c, price in cut.prices.items() for var in self.of_column[c]]
        terms += [(self.idle[c][0], -price * self.idle[c][1]) for c, price in cut.prices.items() if c in self.idle]
        if self.served:
            scaled = self.weighted((var, SERVED_SCALE * price) for var, price in terms)
            self.cp.add(scaled >= (cut.needed - 1) * self.served[cut.workload])
        else:
            self.cp.add(self.weighted(terms) >= cut.needed)

    def hint(self, solution: FleetSolution) -> None:
        """Start the search from a known fleet."""
        self.cp.clear_hints()
        for key, var in self.replicas.items():
            self.cp.add_hint(var, solution.replicas.get(key, 0))
        for at, var in self.units.items():
            self.cp.add_hint(var, solution.units.get(at, 0))
        for name, var in self.served.items():
            self.cp.add_hint(var, solution.served.get(name, 0))

    def solution(self, solver: Any) -> FleetSolution:
        """Read the fleet that the solver found."""
        served = {d.workload: SERVED_SCALE for d in self.problem.demands}
        served |= {name: solver.value(var) for name, var in self.served.items()}
        return FleetSolution(
            replicas={key: count for key, var in self.replicas.items() if (count := solver.value(var))},
            units={at: count for at, var in self.units.items() if (count := solver.value(var))},
            served=served,
            patterns={
                at: tuple((pattern, count) for pattern, var in patterns if (count := solver.value(var)))
                for at, patterns in self.patterns.items()
            },
        )


def _ordered_gpus(offer: NodeOffer, gpu: str) -> int:
    return offer.unit_gpus if offer.gpu == gpu and offer.kind != "stock" else 0
