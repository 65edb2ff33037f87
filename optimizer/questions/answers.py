"""What is known of questions that were asked before, and what follows from it."""

from vllm_opt.optimizer.questions.landscape import Landscape
from vllm_opt.optimizer.questions.question import Question
from vllm_opt.optimizer.space.setting import SolveSetting

MOVING = frozenset(("concurrency", "gpu_count", "budget"))
"""Rules that change the points themselves, not only which of them hold: users per engine and replicas."""
Known = list[tuple[frozenset[str], frozenset[str] | None, bool]]
"""(rules that hold, SKUs or all, whether any point satisfies them)"""


class Answers:
    """Whether one landscape has a point for each of many questions.

    With the same points, what satisfies some rules satisfies fewer, and what some SKUs have none of, fewer SKUs have
    none of. Rules that no row of a landscape can break make no difference there.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, frozenset[str]], tuple[SolveSetting, Known]] = {}

    def of(self, question: Question, landscape: Landscape) -> bool | None:
        """The answer, None where it is not known."""
        asked = question.active - landscape.unbroken
        _, known = self._known.get(_key(question, landscape), (None, ()))
        for active, skus, feasible in known:
            if feasible and asked <= active and _part_of(skus, question.skus):
                return True
            if not feasible and active <= asked and _part_of(question.skus, skus):
                return False
        return None

    def learn(self, question: Question, landscape: Landscape, *, known: bool) -> None:
        """Remember an answer; the setting is kept, so that no other one takes its place."""
        _, answers = self._known.setdefault(_key(question, landscape), (question.setting, []))
        answers.append((question.active - landscape.unbroken, question.skus, known))


def _key(question: Question, landscape: Landscape) -> tuple[int, int, frozenset[str]]:
    return id(question.setting), id(landscape), question.active & MOVING


def _part_of(some: frozenset[str] | None, others: frozenset[str] | None) -> bool:
    return others is None or (some is not None and some <= others)
