"""Coefficients of many servers as arrays: each distinct set is written into one table once, and then only looked up."""

from typing import Any

import numpy as np

from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.physics import LayoutPhysics


class StackedCoefficients:
    """The table of one search; a server remembers its row."""

    def __init__(self) -> None:
        self._row: dict[int, int] = {}
        self._kept: list[LatencyCoefficients] = []
        self._table = np.empty((0, len(COEFFICIENT_NAMES)))

    def rows(self, physics: LayoutPhysics, servers: list[Server]) -> list[int]:
        """The row of each server: the same where speed is the same but for flags and load."""
        found: list[Any] = [server.timed.get(self) for server in servers]
        if None in found:
            found = [self._row_of(physics, server) for server in servers]
        return found

    def _row_of(self, physics: LayoutPhysics, server: Server) -> int:
        known: int | None = server.timed.get(self)
        if known is None:
            one = coefficients_of(physics, server)
            known = server.timed[self] = self._row.setdefault(id(one), len(self._kept))
            if known == len(self._kept):
                self._kept.append(one)
        return known

    def of(self, rows: list[int]) -> LatencyCoefficients:
        """One entry per row."""
        if len(self._kept) > len(self._table):
            new = [one.row for one in self._kept[len(self._table) :]]
            self._table = np.concatenate([self._table, np.array(new, dtype=np.float64)])
        columns = np.ascontiguousarray(self._table[rows].T)
        return LatencyCoefficients.listed(**dict(zip(COEFFICIENT_NAMES, columns, strict=True)))


def coefficients_of(physics: LayoutPhysics, server: Server) -> LatencyCoefficients:
    """Latency coefficients of a server with CUDA graphs, remembered with all that share them."""
    found: LatencyCoefficients | None = server.timed.get("coefficients")
    if found is None:
        found = physics.coefficients(server.sku, server.weights, server.shape)
        server.timed["coefficients"] = found
    return found


def stacked(physics: LayoutPhysics, servers: list[Server]) -> LatencyCoefficients:
    """Coefficients of servers, one entry each."""
    return _table_of(physics).of(rows_of(physics, servers))


def rows_of(physics: LayoutPhysics, servers: list[Server]) -> list[int]:
    """A number per server: the same where speed is the same but for flags and load."""
    return _table_of(physics).rows(physics, servers)


def _table_of(physics: LayoutPhysics) -> StackedCoefficients:
    """The table that is remembered with `physics`; it knows nothing of it, so that both are gone after a search."""
    if physics.stacked is None:
        physics.stacked = StackedCoefficients()
    found: StackedCoefficients = physics.stacked
    return found
