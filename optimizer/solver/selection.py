"""Which candidates can still be optimal, read off their exact tables, and the best point of a group of them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vllm_opt.optimizer.planning.plan import Choice
from vllm_opt.optimizer.planning.utilization import fitting_utilization
from vllm_opt.optimizer.search.modes import preference, ranked
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting

MODES_IN_MODEL = 24
"""Candidates that the CP-SAT model holds at least, as far as there are so many that tie on the first objective."""


@dataclass(frozen=True)
class ScoredChoice:
    """One full point with its place in the order: objectives first, then preference."""

    key: tuple[float, ...]
    choice: Choice
    candidate: Candidate


def contenders(setting: SolveSetting, candidates: list[Candidate], scores: Scores) -> list[Candidate]:
    """The candidates that the model decides between, in the order of preference.

    A candidate whose best first objective is worse than another's cannot be optimal. Of the rest, everything that
    reaches the best second objective (over points with the best first one) stays, and the next best as far as there
    is room; with one objective only, preference decides ties, so the most preferred stay.
    """
    first, *following = setting.request.objective
    best = min(int(scores.of(candidate, first).min()) for candidate in candidates)
    reaching = [candidate for candidate in candidates if int(scores.of(candidate, first).min()) == best]
    if not following:
        return ranked(setting, reaching)[:MODES_IN_MODEL]
    seconds = {
        id(candidate): int(scores.of(candidate, following[0])[scores.of(candidate, first) == best].min())
        for candidate in reaching
    }
    ordered = sorted(reaching, key=lambda candidate: seconds[id(candidate)])
    ties = sum(value == seconds[id(ordered[0])] for value in seconds.values())
    return ranked(setting, ordered[: max(ties, MODES_IN_MODEL)])


def best_choice(setting: SolveSetting, candidates: Iterable[Candidate], scores: Scores) -> ScoredChoice:
    """The lexicographically best point of some candidates, ties broken as the model breaks them."""
    names = setting.request.objective
    best: tuple[tuple[float, ...], Candidate, int] | None = None
    for candidate in candidates:
        tables = [scores.of(candidate, name) for name in names]
        at = int(np.lexsort((candidate.sequences, *reversed(tables)))[0])
        key = (*(float(table[at]) for table in tables), *preference(setting, candidate))
        if best is None or key < best[0]:
            best = (key, candidate, at)
    if best is None:
        raise ValueError("no candidate to choose from")
    key, candidate, at = best
    sequences = int(candidate.sequences[at])
    utilization = fitting_utilization(setting, candidate, sequences, highest="concurrency" in names)
    choice = Choice(candidate.unit, candidate.max_num_batched_tokens, sequences, utilization)
    return ScoredChoice(key, choice, candidate)
