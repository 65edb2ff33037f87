"""The best point of some candidates by the order of `search/order.py`, and the candidates that it can still be."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.planning.utilization import fitting_utilization
from vllm_opt.optimizer.search.modes import preference
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.objective import first_token_turn_us
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class ScoredChoice:
    """One full point. `key`: its objectives and its preference; `optima`: the best of each objective in its turn."""

    key: tuple[float, ...]
    optima: tuple[int, ...]
    choice: Choice
    candidate: Candidate


class Table:
    """Every point of some candidates as columns: what decides, in exact integers that are minimised."""

    def __init__(self, candidates: Sequence[Candidate], order: Order, scores: Scores) -> None:
        self.candidates = candidates
        sizes = [len(candidate.sequences) for candidate in candidates]
        self.owner = np.repeat(np.arange(len(candidates)), sizes)
        self.place = np.concatenate([np.arange(size) for size in sizes])
        self.objectives = [
            np.concatenate([scores.of(candidate, name) for candidate in candidates]) for name in order.names
        ]
        ranks = [candidate.unit.facts.weights.publisher_rank for candidate in candidates]
        self.publisher = np.array(ranks, dtype=np.int64)[self.owner]
        self.ttft_us = np.concatenate(
            [
                first_token_turn_us(candidate.ttft_ms, enforce_eager=candidate.unit.facts.layout.enforce_eager)
                for candidate in candidates
            ]
        )
        self.sequences = np.concatenate([candidate.sequences for candidate in candidates])


def contenders(candidates: list[Candidate], order: Order, scores: Scores) -> list[Candidate]:
    """The candidates with a point in the window of the first objective: nothing else can be chosen."""
    first = order.names[0]
    lowest = [int(scores.of(candidate, first).min()) for candidate in candidates]
    window = order.window(min(lowest))
    return [candidate for candidate, value in zip(candidates, lowest, strict=True) if value <= window]


def best_choice(setting: SolveSetting, candidates: Sequence[Candidate], order: Order, scores: Scores) -> ScoredChoice:
    """The best point of some candidates, stage by stage, ties broken as the model breaks them.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("no candidate to choose from")
    table = Table(candidates, order, scores)
    left = np.arange(len(table.owner))
    optima = []
    for position, column in enumerate(table.objectives):
        best = int(column[left].min())
        optima.append(best)
        left = left[column[left] <= order.worst(position, best)]
        if position == 0 and not order.strict:
            left = left[table.publisher[left] == table.publisher[left].min()]
    if not order.strict:
        left = left[table.ttft_us[left] == table.ttft_us[left].min()]
    preferences = {owner: preference(setting, candidates[owner]) for owner in np.unique(table.owner[left]).tolist()}
    at = min(left.tolist(), key=lambda index: (preferences[table.owner[index]], table.sequences[index]))
    candidate = candidates[table.owner[at]]
    sequences = int(candidate.sequences[table.place[at]])
    utilization = fitting_utilization(setting, candidate, sequences, highest="concurrency" in order.names)
    choice = Choice(candidate.unit, candidate.max_num_batched_tokens, sequences, utilization)
    key = (*(float(column[at]) for column in table.objectives), *preferences[table.owner[at]])
    return ScoredChoice(key, tuple(optima), choice, candidate)
