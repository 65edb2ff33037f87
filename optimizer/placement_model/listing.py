"""Every pattern of a kind of GPU as rows of numbers: all of them are priced at once, where lists would take minutes."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from vllm_opt.constraints.placing.gpu_memory import MOST_ON_GPU, fits_gpu, settled_bytes, start_peak
from vllm_opt.constraints.placing.site import PlacementProblem
from vllm_opt.optimizer.placement_model.holding import most_on_node

MOST_ROWS = 2_000_000
"""patterns of one kind of GPU that are held at once: 32 bytes each"""
ROWS_AT_ONCE = 400_000

Whole = npt.NDArray[np.int64]
Rows = npt.NDArray[np.intp]
Each = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Listing:
    """The patterns of one kind of GPU."""

    columns: tuple[int, ...]
    """columns that may share its GPUs"""
    rows: Rows
    """one pattern a row: positions in `columns`, ascending; the number of columns where there is no further server"""
    complete: bool

    def pattern(self, row: int) -> tuple[int, ...]:
        """The columns of one row."""
        return tuple(self.columns[at] for at in self.rows[row] if at < len(self.columns))

    def values(self, worth: Whole) -> Whole:
        """The sum over the servers of every pattern; `worth` by position."""
        padded = np.append(worth, 0)
        return np.asarray(sum(padded[self.rows[:, at]] for at in range(MOST_ON_GPU)))


Kind = tuple[str, int]
"""SKU and bytes of a GPU"""


def listings(problem: PlacementProblem, most: int = MOST_ROWS) -> dict[Kind, Listing]:
    """The patterns of every kind of GPU."""
    kinds = {(island.gpu, island.gpu_bytes) for node in problem.nodes for island in node.islands}
    return {kind: _Grower(problem, *kind).listing(most) for kind in sorted(kinds)}


class _Grower:
    """Patterns grown server by server: what does not fit fits no better with one more."""

    def __init__(self, problem: PlacementProblem, gpu: str, total: int) -> None:
        columns = problem.columns
        self.mine = tuple(k for k, x in enumerate(columns) if x.shared and x.gpu == gpu and fits_gpu([x], total))
        self.total = total
        self.service = self._whole(columns[k].service for k in self.mine)
        self.settled = self._whole(settled_bytes(columns[k]) for k in self.mine)
        self.passing = self._whole(start_peak(columns[k]) - settled_bytes(columns[k]) for k in self.mine)
        self.turns = self._whole(columns[k].most_on_gpu for k in self.mine)
        self.sleeps = np.array([columns[k].asleep_bytes is not None for k in self.mine], dtype=bool)
        budget = self._whole(columns[k].bytes_per_gpu for k in self.mine)
        self.waking = np.where(self.sleeps, budget - self.settled, 0)
        self.most = self._whole(most_on_node(problem, columns[k].service) for k in self.mine)
        self.apart = set(problem.apart) | {(other, one) for one, other in problem.apart}

    @staticmethod
    def _whole(values: Iterator[int]) -> Whole:
        return np.fromiter(values, dtype=np.int64)

    def listing(self, most: int) -> Listing:
        """All patterns, or as many as are allowed."""
        layer = np.arange(len(self.mine), dtype=np.intp)[:, None]
        found, count, complete = [layer], len(layer), True
        while layer.shape[1] < MOST_ON_GPU and len(layer):
            parts: list[Rows] = []
            for rows in self._wider(layer[self._open(layer)]):
                parts.append(rows[self._fits(rows)])
                count += len(parts[-1])
                if count > most:
                    complete = False
                    break
            layer = np.concatenate(parts) if parts else layer[:0]
            found.append(layer)
            if not complete:
                break
        rows = np.concatenate([self._padded(rows) for rows in found])
        return Listing(self.mine, np.asfortranarray(rows), complete)

    def _padded(self, rows: Rows) -> Rows:
        free = MOST_ON_GPU - rows.shape[1]
        return np.pad(rows, ((0, 0), (0, free)), constant_values=len(self.mine))

    def _wider(self, layer: Rows) -> Iterator[Rows]:
        """Every row with one more server, none before its last, some rows at a time."""
        most = len(self.mine)
        step = max(1, ROWS_AT_ONCE // max(1, most))
        for start in range(0, len(layer), step):
            part = layer[start : start + step]
            repeats = most - part[:, -1]
            rows = np.repeat(part, repeats, axis=0)
            begins = np.repeat(np.cumsum(repeats) - repeats, repeats)
            last = (np.arange(len(rows)) - begins + rows[:, -1]).astype(np.intp)
            yield np.concatenate([rows, last[:, None]], axis=1)

    def _open(self, rows: Rows) -> Each:
        """Rows that leave a turn for one more server, or hold a sleeper whose turn others may share."""
        sleeps = reduce(np.logical_or, _by_server(self.sleeps, rows))
        return np.asarray(sleeps | (rows.shape[1] < reduce(np.minimum, _by_server(self.turns, rows))))

    def _fits(self, rows: Rows) -> Each:
        """The rules of `gpu_memory` and of services, row by row."""
        sleeps, service = _by_server(self.sleeps, rows), _by_server(self.service, rows)
        held = sum(_by_server(self.settled, rows))
        asleep = sum(each.astype(np.int64) for each in sleeps)
        able = held + reduce(np.maximum, _by_server(self.waking, rows)) <= self.total
        able &= rows.shape[1] - asleep + (asleep > 0) <= reduce(np.minimum, _by_server(self.turns, rows))
        same = [each == service[-1] for each in service[:-1]]
        able &= sum(each.astype(np.int64) for each in same) < self.most[rows[:, -1]]
        for each, sleeper in zip(same, sleeps, strict=False):
            able &= ~(each & sleeper & sleeps[-1])
        for one, other in self.apart:
            able &= ~((service[-1] == one) & reduce(np.logical_or, [each == other for each in service[:-1]]))
        tight = np.flatnonzero(able & (held + reduce(np.maximum, _by_server(self.passing, rows)) > self.total))
        able[tight] = self._starts(rows[tight])
        return np.asarray(able)

    def _starts(self, rows: Rows) -> Each:
        """Whether the servers of a row can start one after another, those with the largest passing need first."""
        settled, peak = self.settled[rows], self.settled[rows] + self.passing[rows]
        order = np.argsort(settled - peak, axis=1, kind="stable")
        settled, peak = np.take_along_axis(settled, order, axis=1), np.take_along_axis(peak, order, axis=1)
        most = (np.cumsum(settled, axis=1) - settled + peak).max(axis=1)
        return np.asarray(most <= self.total)


def _by_server(facts: npt.NDArray[Any], rows: Rows) -> list[npt.NDArray[Any]]:
    """A fact of the first server of every row, of the second, and so on: short rows are slow to sum one by one."""
    return [facts[rows[:, at]] for at in range(rows.shape[1])]
