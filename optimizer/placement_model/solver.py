"""Decide a placement: one objective after the other, over classes of nodes first, over single nodes where it must be.

Counting identical nodes together is a relaxation: what it proves bounds every placement. Its counts are then dealt to
GPUs; where the placement dealt is worth what the relaxation promised, it is proven to be the best there is. Where not,
the columns that the relaxation chose are decided node by node, and if that does not reach the bound either, all are.
"""

import time

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem, maximised
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.exact import fewest
from vllm_opt.optimizer.placement_model.generation import generated_patterns
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.objectives import most_squares
from vllm_opt.optimizer.placement_model.outcome import (
    PlacementBound,
    PlacementOptions,
    PlacementOutcome,
)
from vllm_opt.optimizer.placement_model.patterns import PatternSet, gpu_outlines, gpu_patterns
from vllm_opt.optimizer.placement_model.turns import Run, Turn, decided

TOGETHER_SHARE = 0.4
"""part of the time that the nodes get as classes"""
CHOSEN_SHARE = 0.5
"""part of what is left that the chosen columns get, node by node"""
GENERATING_SHARE = 0.3
"""part of the time in which patterns are generated"""
WHOLE_SHARE = 0.3
"""part of the time for a first placement, in which nothing shares a GPU"""
EXACT_SHARE = 0.6
"""part of what is left for the fewest GPUs over all patterns, where they can be listed after all"""


def solve_placement(problem: PlacementProblem, options: PlacementOptions) -> PlacementOutcome:
    """The best placement within the time; an empty one is always there."""
    search = _Search(problem, options)
    return search.run()


class _Search:
    """The attempts at one problem, from the loosest model to the exact one; each keeps the best placement so far."""

    def __init__(self, problem: PlacementProblem, options: PlacementOptions) -> None:
        self.problem, self.options = problem, options
        self.end = time.monotonic() + options.time_limit
        self.every = frozenset(range(len(problem.columns)))
        self.patterns = gpu_patterns(problem)
        self.classes = node_classes(problem, split=False)
        self.apart = all(len(of.nodes) == 1 for of in self.classes)
        self.best: tuple[PlacedServer, ...] = ()
        self.first = Run([], None)
        self.split = False
        self.pool: PatternSet | None = None

    def _left(self, share: float = 1.0) -> float:
        return time.monotonic() + share * max(0.0, self.end - time.monotonic())

    def run(self) -> PlacementOutcome:
        """Try until a placement is worth what the bounds promise, or the time is up."""
        if self.patterns.complete:
            exact = self.apart
            self._take(self._with(self.patterns, self.every, self._left(1.0 if exact else TOGETHER_SHARE)), bounds=True)
        else:
            self._generated()
        if not self._reached() and not self.apart and time.monotonic() < self.end:
            chosen = self.first.used if self.pool else self._near(self.first.used)
            patterns = self.pool or gpu_patterns(self.problem, chosen)
            end = self._left(CHOSEN_SHARE)
            self._take(self._with(patterns, chosen, end, self._limits(), split=True))
        if not self._reached() and self.patterns.complete and not self.apart and time.monotonic() < self.end:
            whole = self._with(self.patterns, self.every, self.end, self._limits(), split=True)
            self._take(whole)
            self.first = _tighter(self.problem, self.first, whole, self.best)
        shown = len(self.problem.nodes) if self.split else len(self.classes)
        return _outcome(self.problem, self.best, self.first, self.patterns, shown, self.split)

    def _generated(self) -> None:
        """With too many patterns to list: those that a linear relaxation asks for, else outlines of them."""
        whole = frozenset(k for k in self.every if not self.problem.columns[k].shared)
        self._take(self._with(PatternSet({}, complete=False), whole, self._left(WHOLE_SHARE)))
        found = generated_patterns(self.problem, self._left(GENERATING_SHARE))
        patterns, bounds = found.patterns, self._simple_bounds(found.fewest_gpus)
        run = self._with(patterns, self.every, self._left(TOGETHER_SHARE), bounds)
        self._take(run)
        if run.turns and _serves_all(self.problem, run):
            self.pool = patterns
            self.first = self._bounded(run, bounds)
            exact = fewest(self.problem, self._left(EXACT_SHARE)) if not self._reached() else None
            if exact is not None and exact.bounds:
                bounds |= self._simple_bounds(exact.bounds["gpus"]) | exact.bounds
                self.pool = patterns.joined(exact.patterns)
                again = self._with(self.pool, self.every, self._left(TOGETHER_SHARE), bounds)
                self._take(again)
                self.first = self._bounded(again if len(again.turns) == len(run.turns) else run, bounds)
            return
        self.first = self._with(gpu_outlines(self.problem), self.every, self._left(TOGETHER_SHARE))
        chosen = self._near(self.first.used | run.used)
        self._take(self._with(gpu_patterns(self.problem, chosen), chosen, self._left(CHOSEN_SHARE), self._limits()))

    @staticmethod
    def _bounded(run: Run, bounds: dict[str, int]) -> Run:
        """What a run found, beside bounds that hold for every placement."""
        turns = [Turn(turn.name, turn.value, bounds.get(turn.name, turn.bound)) for turn in run.turns]
        return Run(turns, None, run.used)

    def _simple_bounds(self, fewest_gpus: int | None) -> dict[str, int]:
        """What no placement exceeds, by counting alone, and the fewest GPUs."""
        problem = self.problem
        sizes = tuple(len(island.gpus) for node in problem.nodes for island in node.islands)
        bounds = {f"served:{p}": sum(s.priority == p for s in problem.services) for p in problem.priorities}
        bounds |= {"headroom": problem.most_headroom, "moves": 0, "watts": 0, "gpus": 0}
        bounds["blocks"] = sum(size * size for size in sizes)
        bounds["servers"] = sum(service.least for service in problem.services)
        if fewest_gpus is not None:
            bounds["gpus"] = fewest_gpus
            bounds["blocks"] = most_squares(sizes)[sum(sizes) - fewest_gpus]
        return bounds

    def _limits(self) -> dict[str, int]:
        return {turn.name: turn.bound for turn in self.first.turns}

    def _near(self, used: frozenset[int]) -> frozenset[int]:
        """Columns that a relaxation uses, and as long as patterns stay few the others of their services on the SKU."""
        columns = self.problem.columns
        pairs = {(columns[k].service, columns[k].gpu) for k in used}
        near = used | {k for k in self.every if (columns[k].service, columns[k].gpu) in pairs}
        return near if gpu_patterns(self.problem, near).complete else used

    def _with(
        self, patterns: PatternSet, columns: frozenset[int], end: float, limits: dict[str, int] | None = None, *,
        split: bool = False,
    ) -> Run:  # fmt: skip
        self.split |= split
        kept = columns | {server.column for server in self.problem.today}
        classes = node_classes(self.problem, split=True) if split else self.classes
        model = PlacementModel(self.problem, classes, patterns, tuple(sorted(kept)))
        return decided(model, self.options, end, limits)

    def _take(self, run: Run, *, bounds: bool = False) -> None:
        self.best = _better(self.problem, self.best, run.servers)
        if bounds:
            self.first = run

    def _reached(self) -> bool:
        return bool(self.first.turns) and _reaches(self.problem, self.best, self.first)


def _serves_all(problem: PlacementProblem, run: Run) -> bool:
    """Whether every service is served in full, with the most headroom that counts."""
    served = sum(turn.value for turn in run.turns if turn.name.startswith("served:"))
    headroom = [turn.value for turn in run.turns if turn.name == "headroom"]
    return served == len(problem.services) and headroom in ([], [problem.most_headroom])


def _worth(problem: PlacementProblem, servers: tuple[PlacedServer, ...]) -> tuple[int, ...]:
    """The objectives in order, each so that more is better."""
    return tuple(measure(problem, servers, name) * (1 if maximised(name) else -1) for name in problem.objective_names())


def _better(
    problem: PlacementProblem, one: tuple[PlacedServer, ...], other: tuple[PlacedServer, ...] | None
) -> tuple[PlacedServer, ...]:
    if other is None or placement_violations(problem, other):
        return one
    return other if _worth(problem, other) > _worth(problem, one) else one


def _reaches(problem: PlacementProblem, servers: tuple[PlacedServer, ...], run: Run) -> bool:
    """Whether a placement is worth at least what each turn of a relaxation found to be the most."""
    return all(_as_good(turn.name, measure(problem, servers, turn.name), turn.bound) for turn in run.turns)


def _as_good(name: str, value: int, bound: int) -> bool:
    return value >= bound if maximised(name) else value <= bound


def _tighter(problem: PlacementProblem, first: Run, whole: Run, best: tuple[PlacedServer, ...]) -> Run:
    """The bounds of the exact model where they are stronger, as long as the placement is at the optimum before them."""
    exact = {turn.name: turn for turn in whole.turns}
    known = {turn.name: turn for turn in first.turns}
    turns: list[Turn] = []
    before = True
    for name in problem.objective_names():
        mine, weaker = exact.get(name) if before else None, known.get(name)
        if mine is None and weaker is None:
            continue
        limits = [turn.bound for turn in (mine, weaker) if turn is not None]
        bound = min(limits) if maximised(name) else max(limits)
        turns.append(Turn(name, (mine or weaker or turns[-1]).value, bound))
        before &= mine is not None and mine.proven and measure(problem, best, name) == mine.value
    return Run(turns, whole.servers) if turns else first


def _outcome(
    problem: PlacementProblem, servers: tuple[PlacedServer, ...], run: Run, patterns: PatternSet, classes: int,
    split: bool,
) -> PlacementOutcome:  # fmt: skip
    """Values recomputed in plain whole numbers, beside the bounds."""
    broken = placement_violations(problem, servers)
    if broken:  # a fault of this program, never of the request
        raise AssertionError(f"the placement found breaks a rule: {broken[0].message}")
    limits = {turn.name: turn.bound for turn in run.turns}
    bounds: list[PlacementBound] = []
    exact = True
    for name in problem.objective_names():
        value = measure(problem, servers, name)
        if name.startswith("share:") and name not in limits and _served_all(problem, bounds):
            continue
        limit = limits.get(name)
        proven = exact and limit is not None and _as_good(name, value, limit)
        bounds.append(PlacementBound(name, value, value if limit is None else limit, proven))
        exact &= proven
    return PlacementOutcome(
        "optimal" if exact else "feasible", servers, tuple(bounds), classes,
        sum(len(each) for each in patterns.by_gpu.values()), split,
    )  # fmt: skip


def _served_all(problem: PlacementProblem, bounds: list[PlacementBound]) -> bool:
    if not bounds:
        return False
    name, _, priority = bounds[-1].name.partition(":")
    return name == "served" and bounds[-1].value == sum(s.priority == int(priority) for s in problem.services)
