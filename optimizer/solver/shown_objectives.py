"""The objectives of an answer: the plan's values, the bounds, and the gap of the proof."""

from dataclasses import replace

from vllm_opt.optimizer.contract.answer import ObjectiveValue
from vllm_opt.optimizer.cpsat.proof import ProvenPoint
from vllm_opt.optimizer.search.search import SearchResult
from vllm_opt.optimizer.space.objective import relative, shown_value
from vllm_opt.optimizer.space.setting import SolveSetting


def shown_objectives(setting: SolveSetting, result: SearchResult, proven: ProvenPoint) -> tuple[ObjectiveValue, ...]:
    """Values and proven bounds. A search that ran out of time lowers each bound to what it left open."""
    found = []
    for position, (name, value, best, bound) in enumerate(proven.objectives):
        if name not in setting.request.objective:
            continue
        if not result.complete:
            bound = min(bound, result.open_bounds[position])  # noqa: PLW2901
        (shown, unit), (least, unit_of_bound) = shown_value(name, value), shown_value(name, bound)
        comparable = unit == unit_of_bound
        found.append(
            ObjectiveValue(
                name=name,
                value=shown,
                bound=least if comparable else 0.0,
                gap=relative(name, bound, best) if comparable else 1.0,
                conceded=relative(name, value, best),
                unit=unit,
            )
        )
    return tuple(found)


def with_values(proven: ProvenPoint, key: tuple[float, ...]) -> ProvenPoint:
    """The proof's bounds beside the values of another point: each bound holds for less than was proven."""
    values = zip(proven.objectives, key, strict=False)
    return replace(
        proven,
        objectives=tuple((name, int(value), best, min(bound, best)) for (name, _, best, bound), value in values),
    )
