"""Objective integers of candidates, computed once each."""

from vllm_opt.optimizer.space.objective import Integers, objective_values
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting


class Scores:
    """Objective integers of candidates, computed once each."""

    def __init__(self, setting: SolveSetting) -> None:
        self._setting = setting
        self._known: dict[tuple[int, str], tuple[Candidate, Integers]] = {}

    def of(self, candidate: Candidate, name: str) -> Integers:
        """The integers of one objective at every point of the candidate."""
        key = (id(candidate), name)
        if key not in self._known:
            values = objective_values(name, candidate, max_model_len=self._setting.targets.target_context)
            # The candidate is kept, because the id of one that is gone may be given to another.
            self._known[key] = candidate, values
        return self._known[key][1]
