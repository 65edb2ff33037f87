"""A placement that serves everything, made lean: each count bounded from below, reached in whole servers, proven.

Objective after objective: a linear relaxation over all patterns gives a bound and the patterns that matter; an integer
program over these gives a placement; where it does not reach the bound, the integer program is solved again over every
pattern that a placement with one less may use, as long as there are few enough of them.
"""

from collections.abc import Callable

from vllm_opt.constraints.placing.measures import measure
from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.bounds import as_good, bounds_of_gpus, simple_bounds
from vllm_opt.optimizer.placement_model.exact import Fewest, fewest
from vllm_opt.optimizer.placement_model.generation import Relaxation
from vllm_opt.optimizer.placement_model.hints import patterns_of
from vllm_opt.optimizer.placement_model.patterns import Pattern, PatternSet, gpu_outlines
from vllm_opt.optimizer.placement_model.worth import COUNTED, Servers, better, headroom_first

MOST_PROVEN, FEW_PROVEN = 25_000, 5_000
"""patterns over which a proof is tried, and so few that the relaxation need not be made better for it"""
RELAXED_SHARE, WHOLE_SHARE, OUTLINED_SHARE, TIGHTENED_SHARE = 0.5, 0.5, 0.4, 0.5
"""parts of the time that is left"""
TIE_SHARE = 0.06
"""the same for what only breaks ties: the fewest servers"""
Clock = Callable[[float], float]
"""a share of the time that is left -> when it ends"""


class Lean:
    """Bounds, patterns and placements of a site on which everything is served."""

    def __init__(self, problem: PlacementProblem, best: Servers) -> None:
        self.problem, self.best = problem, best
        self.headroom = headroom_first(problem)
        known = patterns_of(problem, best)
        self.relaxation = Relaxation(problem, known, self.headroom)
        largest = self.relaxation.largest
        self.patterns = PatternSet({gpu: known.get(gpu, ()) for gpu in largest}, complete=False, largest=largest)
        self.bounds = simple_bounds(problem)
        self.names = tuple(name for name in problem.objective_names() if name in COUNTED)
        self.anew = not (problem.today and "moves" in problem.objectives)
        """whether a placement from nothing can be the best: not where moves count"""

    def combined(self, left: Clock) -> Servers:
        """Bound every count, and look for a placement that reaches it."""
        for name in self.names:
            relaxed = self.relaxation.minimised(name, left(2 * TIE_SHARE if name == "servers" else RELAXED_SHARE))
            self._bounded(name, relaxed.bound)
            self._joined(relaxed.near)
            if self.anew and self._value(name) > self.bounds[name]:
                end = left(2 * TIE_SHARE if name == "servers" else WHOLE_SHARE)
                self._take(fewest(self.problem, self.patterns, name, self._kept(name), end))
            if self._value(name) > self.bounds[name]:
                self._outlined(name, left(OUTLINED_SHARE))
            if name != "servers":
                self._less(name, left)
            self.relaxation.keep(name, self._value(name))
        return self.best

    def _outlined(self, name: str, end: float) -> None:
        """Whole servers and whole GPUs, whose servers fit by their outlines alone: fewer patterns, and a bound."""
        if self.relaxation.complete and self.relaxation.patterns <= MOST_PROVEN:
            return  # it is proven over all patterns
        found = fewest(self.problem, gpu_outlines(self.problem), name, self._kept(name), end, strict=True, at_root=True)
        if found.status == "found":
            self._bounded(name, min(found.bound, self._value(name)))

    def proven(self, best: Servers, left: Clock) -> Servers:
        """Prove the counts that are open over every pattern that one less might use, as long as there are few."""
        self.best = best
        for name in self.names:
            self._less(name, left)
            if self._value(name) > self.bounds[name]:
                break
        return self.best

    def _less(self, name: str, left: Clock) -> None:
        """Find one less, or prove that there is none, over every pattern that such a placement might use."""
        value = self._value(name)
        if not self.anew or value <= self.bounds[name]:
            return
        if value == self.bounds[name] + 1:
            end = left(TIE_SHARE if name == "servers" else TIGHTENED_SHARE)
            self._bounded(name, self.relaxation.tightened(name, value - 1, FEW_PROVEN, end))
        patterns = self.relaxation.within(name, value - 1, MOST_PROVEN)
        if patterns is None or value <= self.bounds[name]:
            return
        whole = PatternSet(patterns, complete=False, largest=self.relaxation.largest)
        end = left(TIE_SHARE if name == "servers" else WHOLE_SHARE)
        found = fewest(self.problem, whole, name, self._kept(name) | {name: value - 1}, end, strict=True)
        if found.status != "unknown":
            self._bounded(name, value if found.status == "none" else found.bound)
        self._take(found)

    def open(self, best: Servers) -> bool:
        """Whether a count that is asked for is above its bound by more than one and more than a hundredth."""
        values = {name: measure(self.problem, best, name) for name in self.names if name != "servers"}
        return any(value > self.bounds[name] + max(1, self.bounds[name] // 100) for name, value in values.items())

    def settled(self, best: Servers) -> dict[str, int]:
        """The first objectives that need not be decided again: at their bound, or counts just made lean."""
        found = {}
        for name in self.problem.objective_names():
            value = measure(self.problem, best, name)
            if not as_good(name, value, self.bounds[name]) and not (self.anew and name in self.names[:-1]):
                break
            found[name] = value
        return {name: value for name, value in found.items() if not name.startswith("share:")}

    def _value(self, name: str) -> int:
        return measure(self.problem, self.best, name)

    def _kept(self, name: str) -> dict[str, int]:
        """The counts before one, as the best placement has them, and the headroom."""
        before = self.names[: self.names.index(name)]
        return {"headroom": self.headroom} | {each: self._value(each) for each in before}

    def _bounded(self, name: str, bound: int | None) -> None:
        if bound is None:
            return
        self.bounds[name] = max(self.bounds[name], bound)
        if name == "gpus":
            follows = bounds_of_gpus(self.problem, self.bounds["gpus"])
            self.bounds["blocks"] = min(self.bounds["blocks"], follows["blocks"])
            self.bounds["servers"] = max(self.bounds["servers"], follows["servers"])

    def _joined(self, more: dict[str, tuple[Pattern, ...]]) -> None:
        self.patterns = self.patterns.joined(more)

    def _take(self, found: Fewest) -> None:
        if found.patterns is not None:
            self._joined(found.patterns)
        self.best = better(self.problem, self.best, found.servers)
