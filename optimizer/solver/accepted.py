"""Plans that every rule accepts: what a rule rejects is dropped and the next best taken, never a crash.

The search and the rules state the same sums twice. Should they ever disagree, the rules are right: a rejected point
leaves the answer, and with it the proof, because what was pruned beside it was not looked at again.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.planning.plan import PlanRejected, make_plan
from vllm_opt.optimizer.planning.predicted import Choice, Speeds, predicted_together
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.solver.selection import ScoredChoice, best_choice
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting

MOST_REJECTED = 64
"""Candidates of one group that are tried before the group is given up."""


def accepted_plan(setting: SolveSetting, choice: Choice, speeds: Speeds | None = None) -> Plan | None:
    """The plan of a choice; None when a rule rejects it."""
    try:
        return make_plan(setting, choice, speeds)
    except PlanRejected:
        return None


def accepted_plans(setting: SolveSetting, choices: Sequence[Choice]) -> Iterator[Plan]:
    """The plans of those choices that every rule accepts, in their order."""
    for choice, speeds in zip(choices, predicted_together(setting, choices), strict=True):
        plan = accepted_plan(setting, choice, speeds)
        if plan is not None:
            yield plan


Group = Sequence[Candidate]


def best_of_groups(
    setting: SolveSetting, groups: Iterable[Group], order: Order, scores: Scores, most: int
) -> list[tuple[ScoredChoice, Plan]]:
    """The best point that every rule accepts and its plan, of the `most` groups whose best points come first."""
    best = [(best_choice(setting, members, order, scores), members) for members in groups]
    ranked = sorted(best, key=lambda item: place(order, item[0]))
    speeds = predicted_together(setting, [scored.choice for scored, _ in ranked[:most]])
    foreseen = zip_longest(ranked, speeds)
    found = (best_accepted(setting, members, order, scores, scored, speed) for (scored, members), speed in foreseen)
    accepted = islice((item for item in found if item is not None), most)
    return sorted(accepted, key=lambda item: place(order, item[0]))


def place(order: Order, scored: ScoredChoice) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Where a point stands in the order of the request: as the search kept it, so that a longer list begins alike."""
    unit = scored.candidate.unit
    return order.key(scored.key[: len(order.names)], unit.gpu_count, unit.facts.weights), scored.key


def best_accepted(
    setting: SolveSetting, candidates: Iterable[Candidate], order: Order, scores: Scores,
    best: ScoredChoice | None = None, speeds: Speeds | None = None,
) -> tuple[ScoredChoice, Plan] | None:  # fmt: skip
    """The best point of a group that every rule accepts, and its plan; None when there is none among the best.

    `best` is the best point where the caller knows it, and `speeds` are its own.
    """
    left = list(candidates)
    for _ in range(MOST_REJECTED):
        if not left:
            return None
        scored, best = best or best_choice(setting, left, order, scores), None
        plan, speeds = accepted_plan(setting, scored.choice, speeds), None
        if plan is not None:
            return scored, plan
        left = [candidate for candidate in left if candidate is not scored.candidate]
    return None
