"""Decide a placement: one objective after the other, over classes of nodes first, over single nodes where it must be.

Counting identical nodes together is a relaxation: what it proves bounds every placement. Its counts are then dealt to
GPUs; where the placement dealt is worth what the relaxation promised, it is proven to be the best there is. Where not,
the columns that the relaxation chose are decided node by node, and if that does not reach the bound either, all are.
"""

import time
from functools import partial

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.measures import measure, served_in_full
from vllm_opt.constraints.placing.site import PlacedServer, PlacementProblem
from vllm_opt.optimizer.placement_model.alone import with_whole_gpus
from vllm_opt.optimizer.placement_model.bounds import (
    as_good,
    bounded,
    bounds_of_gpus,
    reaches,
    simple_bounds,
    tighter,
)
from vllm_opt.optimizer.placement_model.classes import node_classes
from vllm_opt.optimizer.placement_model.first import first_placement, improved_placement
from vllm_opt.optimizer.placement_model.generation import Relaxation
from vllm_opt.optimizer.placement_model.hints import hint_placement, patterns_of
from vllm_opt.optimizer.placement_model.lean import Lean
from vllm_opt.optimizer.placement_model.model import PlacementModel
from vllm_opt.optimizer.placement_model.outcome import (
    PlacementBound,
    PlacementOptions,
    PlacementOutcome,
    Status,
)
from vllm_opt.optimizer.placement_model.patterns import PatternSet, gpu_outlines, gpu_patterns
from vllm_opt.optimizer.placement_model.turns import Run, decided
from vllm_opt.optimizer.placement_model.worth import all_in_full, better, headroom_first, worth

FIRST_SHARE = 0.1
"""part of the time for a first placement, which proves nothing"""
IMPROVING_SHARE = 0.12
"""part of what is left for changing it a little at a time, where patterns are too many to list"""
MOST_CHANGES, MOST_CHANGES_LONG = 300, 5000
LONG_SHARE = 0.7
"""part of what is left for more changes, where the fewest GPUs are not known"""
TOGETHER_SHARE = 0.4
"""part of the time that the nodes get as classes"""
CHOSEN_SHARE = 0.5
"""part of what is left that the chosen columns get, node by node"""
GENERATING_SHARE = 0.3
"""part of the time in which patterns are generated"""
WHOLE_SHARE = 0.3
"""part of the time for a first placement, in which nothing shares a GPU"""


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
        self.patterns = gpu_patterns(problem, most=options.most_patterns)
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
        self.best = first_placement(self.problem, self._left(FIRST_SHARE))
        if self.patterns.complete:
            exact = self.apart
            self._take(self._with(self.patterns, self.every, self._left(1.0 if exact else TOGETHER_SHARE)), bounds=True)
        else:
            self._generated()
        if not self._reached() and not self.apart and self._near_bound() and time.monotonic() < self.end:
            chosen = self.first.used if self.pool else self._near(self.first.used)
            patterns = self.pool or gpu_patterns(self.problem, chosen)
            end = self._left(CHOSEN_SHARE)
            self._take(self._with(patterns, chosen, end, self._limits(), split=True))
        if not self._reached() and self.patterns.complete and not self.apart and time.monotonic() < self.end:
            whole = self._with(self.patterns, self.every, self.end, self._limits(), split=True)
            self._take(whole)
            self.first = tighter(self.problem, self.first, whole, self.best)
        self.best = with_whole_gpus(self.problem, self.best)
        shown = len(self.problem.nodes) if self.split else len(self.classes)
        return _outcome(self.problem, self.best, self.first, self.patterns, shown, self.split)

    def _generated(self) -> None:
        """With too many patterns to list: those that a linear relaxation asks for, else outlines of them."""
        if all_in_full(self.problem, self.best):
            self._all_served()
            return
        self._improve(self._left(IMPROVING_SHARE), MOST_CHANGES)
        if not all_in_full(self.problem, self.best):
            whole = frozenset(k for k in self.every if not self.problem.columns[k].shared)
            self._take(self._with(PatternSet({}, complete=False), whole, self._left(WHOLE_SHARE)))
        if all_in_full(self.problem, self.best):
            self._all_served()
            return
        relaxation = Relaxation(self.problem, patterns_of(self.problem, self.best), headroom_first(self.problem))
        near = relaxation.minimised("gpus", self._left(GENERATING_SHARE), elastic=True).near
        patterns = PatternSet(near, complete=False, largest=relaxation.largest)
        patterns = patterns.joined(patterns_of(self.problem, self.best))
        run = self._with(patterns, self.every, self._left(TOGETHER_SHARE), simple_bounds(self.problem))
        self._take(run)
        if all_in_full(self.problem, self.best):
            self._all_served()
            return
        self.first = self._with(gpu_outlines(self.problem), self.every, self._left(TOGETHER_SHARE))
        chosen = self._near(self.first.used | run.used)
        self._take(self._with(gpu_patterns(self.problem, chosen), chosen, self._left(CHOSEN_SHARE), self._limits()))

    def _all_served(self) -> None:
        """Everything is served already: bounds first, then patterns are combined anew, then what is open is proven."""
        lean = Lean(self.problem, self.best)
        self.best = lean.combined(self._left)
        self.pool, self.first = lean.patterns, bounded(self.problem, self.best, lean.bounds)
        if reaches(self.problem, self.best, self.first):
            return
        held = lean.settled(self.best)
        self._take(self._with(lean.patterns, self.every, self._left(TOGETHER_SHARE), lean.bounds, held=held))
        self.best = lean.proven(self.best, self._left)
        if lean.open(self.best):
            self._improve(self._left(LONG_SHARE), MOST_CHANGES_LONG)
        self.pool, self.first = lean.patterns, bounded(self.problem, self.best, lean.bounds)

    def _improve(self, end: float, most: int) -> None:
        its = partial(worth, self.problem)
        self.best = improved_placement(self.problem, self.best, self.options.seed + most, end, most, its)

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
        held: dict[str, int] | None = None, split: bool = False,
    ) -> Run:  # fmt: skip
        self.split |= split
        kept = columns | {server.column for server in self.problem.today}
        classes = node_classes(self.problem, split=True) if split else self.classes
        model = PlacementModel(self.problem, classes, patterns, tuple(sorted(kept)))
        hint_placement(model, self.best)
        return decided(model, self.options, end, limits, held)

    def _take(self, run: Run, *, bounds: bool = False) -> None:
        self.best = better(self.problem, self.best, run.servers)
        if bounds:
            self.first = run

    def _near_bound(self) -> bool:
        """Whether nodes one by one could prove it: with generated patterns only where the GPUs are the fewest."""
        gpus = [turn.bound for turn in self.first.turns if turn.name == "gpus"]
        return self.pool is None or measure(self.problem, self.best, "gpus") <= max(gpus, default=0)

    def _reached(self) -> bool:
        """Whether everything asked for is at its bound; where patterns were generated, whatever breaks ties."""
        asked = Run([turn for turn in self.first.turns if self.pool is None or turn.name != "servers"], None)
        return bool(asked.turns) and reaches(self.problem, self.best, asked)


def _outcome(
    problem: PlacementProblem, servers: tuple[PlacedServer, ...], run: Run, patterns: PatternSet, classes: int,
    split: bool,
) -> PlacementOutcome:  # fmt: skip
    """Values recomputed in plain whole numbers, beside the bounds; nothing placed and nothing proven is not known."""
    broken = placement_violations(problem, servers)
    if broken:  # a fault of this program, never of the request
        raise AssertionError(f"the placement found breaks a rule: {broken[0].message}")
    turns = {turn.name: turn for turn in run.turns}
    counted = simple_bounds(problem)
    if all(served_in_full(problem, servers)):
        counted |= bounds_of_gpus(problem, 1)
    bounds: list[PlacementBound] = []
    exact = holds = True  # a turn was decided among what is as good as the turns before it: so must be what it bounds
    for name in problem.objective_names():
        value = measure(problem, servers, name)
        if name.startswith("share:") and name not in turns and _served_all(problem, bounds):
            continue
        limit = turns[name].bound if name in turns and holds else counted[name]
        holds &= name not in turns or as_good(name, value, turns[name].value)
        proven = exact and as_good(name, value, limit)
        bounds.append(PlacementBound(name, value, limit, proven))
        exact &= proven
    served = all(bound.proven for bound in bounds if bound.name.startswith(("served:", "share:")))
    asked = all(bound.proven for bound in bounds if bound.name != "servers")  # which only breaks ties
    status: Status = "optimal" if asked else "feasible" if servers or served else "unknown"
    return PlacementOutcome(
        status, servers, tuple(bounds), classes, sum(len(each) for each in patterns.by_gpu.values()), split
    )


def _served_all(problem: PlacementProblem, bounds: list[PlacementBound]) -> bool:
    if not bounds:
        return False
    name, _, priority = bounds[-1].name.partition(":")
    return name == "served" and bounds[-1].value == sum(s.priority == int(priority) for s in problem.services)
