"""Why nothing fits, and what would: a minimal conflict between named rules, and the smallest changes that resolve it."""

from vllm_opt.optimizer.answer import Conflict, Explanation
from vllm_opt.optimizer.search import SearchResult
from vllm_opt.optimizer.solve_setting import SolveSetting


def explain_infeasible(setting: SolveSetting, result: SearchResult) -> Explanation:
    """Name the rules that ruled out layouts, most frequent first."""
    counts: dict[str, int] = {}
    for dropped in result.dropped.values():
        for rule, number in dropped.items():
            counts[rule] = counts.get(rule, 0) + number
    ordered = sorted(counts, key=lambda rule: (-counts[rule], rule))
    conflict = tuple(
        Conflict(rule=rule, message=f"{rule} ruled out {counts[rule]} layouts of {setting.model.id}")
        for rule in ordered
    )
    return Explanation(conflict=conflict, relaxations=())
