"""The objectives as linear expressions over the chosen point, and what decides among equals."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.optimizer.space.objective import efficiency_integer

PUBLISHER, FIRST_TOKEN, TIE = "publisher", "ttft", "tie"
OBJECTIVE = "objective"
"""Begins the name of the section of rows that a turn adds; rules have such names of their own."""
UNITS = {
    "cost": "micro-USD per hour",
    "throughput": "minus thousandths of a token per second",
    "concurrency": "minus sequences",
    "gpus": "GPUs",
    "latency": "microseconds end to end",
    "efficiency": "minus thousandths of a token per USD",
    PUBLISHER: "place in the publisher order",
    FIRST_TOKEN: "microseconds to the first token",
    TIE: "preference of the layout, fewest sequences, utilisation nearest to the default",
}
"""What the integer of each turn counts."""


def publisher_expression(space: DecisionSpace) -> Any:
    """The place of the weights in the publisher order, the first place smallest."""
    return sum(mode.publisher_rank * chosen for mode, chosen in zip(space.modes, space.chosen, strict=True))


def ttft_expression(space: DecisionSpace) -> Any:
    """TTFT of the chosen point in microseconds."""
    return sum(point.ttft_us * picked for _, point, picked in space.points())


def objective_expression(space: DecisionSpace, name: str) -> Any:
    """The variable that an objective minimises: the constant of the chosen point (integers of `space/objective.py`).

    `variable >= value of the point`, one implication each: bounds propagate at once, and minimising makes it equal.
    """
    if name == "gpus":
        return space.gpu_count
    tables = [_values(mode, name) for mode in space.modes]
    low, high = min(min(table) for table in tables), max(max(table) for table in tables)
    value = space.model.new_int_var(low, high, name)
    for literals, table in zip(space.picked, tables, strict=True):
        for literal, number in zip(literals, table, strict=True):
            space.model.add(value >= number).only_enforce_if(literal).with_name(f"{name} of the point")
    if name == "concurrency":
        # The pool grows with the utilisation, and nothing else that is asked does.
        for mode, point, picked in space.points():
            highest = space.budget_of(mode) >= point.highest_budget_bytes
            space.model.add(highest).only_enforce_if(picked).with_name("the largest budget that keeps the headroom")
    return value


def _values(mode: Mode, name: str) -> list[int]:
    if name == "cost":
        return [mode.microusd_per_hour for _ in mode.points]
    if name == "throughput":
        return [-point.output_millitokens_per_s for point in mode.points]
    if name == "latency":
        return [point.e2e_us for point in mode.points]
    if name == "concurrency":
        return [-point.most_concurrent for point in mode.points]
    cost, gpus = mode.microusd_per_hour, mode.gpu_count
    return [efficiency_integer(point.output_millitokens_per_s, cost, gpus) for point in mode.points]


def lowest(modes: Sequence[Mode], name: str) -> int:
    """The smallest integer of one objective over all points: what bounds it before anything is proven."""
    if name == "gpus":
        return min(mode.gpu_count for mode in modes)
    return min(min(_values(mode, name)) for mode in modes)


def value_at(mode: Mode, name: str, max_num_seqs: int) -> int:
    """The integer of one objective at one point."""
    if name == "gpus":
        return mode.gpu_count
    at = next(
        index for index, point in enumerate(mode.points) if point.max_num_seqs <= max_num_seqs <= point.last_num_seqs
    )
    return _values(mode, name)[at]


def tie_breaker(space: DecisionSpace, default_utilization: float) -> Any:
    """What decides last: the rank of the mode, the fewest sequences, the utilisation nearest to the default."""
    model, default = space.model, default_utilization
    steps = {u: round(abs(u - default) * 1000) * 2 + (u > default) for u in space.utilization_choices}
    most = max(point.last_num_seqs for _, point, _ in space.points()) + 1
    rank = model.new_int_var(0, max(mode.index for mode in space.modes) * most + most, "rank")
    for mode, chosen in zip(space.modes, space.chosen, strict=True):
        place = rank - space.max_num_seqs >= mode.index * most
        model.add(place).only_enforce_if(chosen).with_name("preference of the layout, then fewest sequences")
    distance = model.new_int_var(0, max(steps.values()), "distance from the default utilisation")
    for step, literal in space.utilization_choices.items():
        model.add(distance >= steps[step]).only_enforce_if(literal).with_name(
            "nearest to the default, below before above"
        )
    return rank * (max(steps.values()) + 1) + distance
