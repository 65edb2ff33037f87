"""Plans that every rule accepts: what a rule rejects is dropped and the next best taken, never a crash.

The search and the rules state the same sums twice. Should they ever disagree, the rules are right: a rejected point
leaves the answer, and with it the proof, because what was pruned beside it was not looked at again.
"""

from collections.abc import Iterable, Iterator

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.planning.plan import PlanRejected, make_plan
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.solver.selection import ScoredChoice, best_choice
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting

MOST_REJECTED = 64
"""Candidates of one group that are tried before the group is given up."""


def accepted_plan(setting: SolveSetting, choice: Choice) -> Plan | None:
    """The plan of a choice; None when a rule rejects it."""
    try:
        return make_plan(setting, choice)
    except PlanRejected:
        return None


def accepted_plans(setting: SolveSetting, choices: Iterable[Choice]) -> Iterator[Plan]:
    """The plans of those choices that every rule accepts, in their order."""
    for choice in choices:
        plan = accepted_plan(setting, choice)
        if plan is not None:
            yield plan


def best_accepted(
    setting: SolveSetting, candidates: Iterable[Candidate], order: Order, scores: Scores,
    best: ScoredChoice | None = None,
) -> tuple[ScoredChoice, Plan] | None:  # fmt: skip
    """The best point of a group that every rule accepts, and its plan; None when there is none among the best.

    `best` is the best point where the caller knows it.
    """
    left = list(candidates)
    for _ in range(MOST_REJECTED):
        if not left:
            return None
        scored, best = best or best_choice(setting, left, order, scores), None
        plan = accepted_plan(setting, scored.choice)
        if plan is not None:
            return scored, plan
        left = [candidate for candidate in left if candidate is not scored.candidate]
    return None
