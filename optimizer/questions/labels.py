"""Names of rows as whole numbers, so that many rows are asked for at once."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.questions.pools import Integers


class Labels:
    """One name per place, asked for by set."""

    def __init__(self, names: list[str]) -> None:
        self._names = sorted(set(names))
        position = {name: index for index, name in enumerate(self._names)}
        self._codes = per_row([position[name] for name in names], np.int64)

    def within(self, names: Collection[str]) -> NDArray[np.bool_]:
        """Which rows carry one of these names."""
        allowed: NDArray[np.bool_] = np.array([name in names for name in self._names], dtype=bool)
        return allowed[self._codes] if len(allowed) else np.zeros(0, dtype=bool)

    def of(self, rows: Integers) -> set[str]:
        """The names that these rows carry."""
        return {self._names[code] for code in np.unique(self._codes[rows]).tolist()}

    def rank(self, rows: Integers) -> Integers:
        """The place of each of some rows among those with its name."""
        codes = self._codes[rows]
        order = np.argsort(codes, kind="stable")
        _, first, counts = np.unique(codes[order], return_index=True, return_counts=True)
        found = np.empty(len(rows), dtype=np.int64)
        found[order] = np.arange(len(rows)) - np.repeat(first, counts)
        return found


def per_row(values: Sequence[object], kind: type) -> NDArray[Any]:
    """One value per place as one per row: with CUDA graphs, and in eager mode."""
    return np.repeat(np.array(values, dtype=kind), 2)
