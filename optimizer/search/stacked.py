"""Coefficients of many servers as arrays: each distinct set is written into one table once, and then only looked up."""

import numpy as np

from vllm_opt.constraints.speed.step_time import COEFFICIENT_NAMES, LatencyCoefficients
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.physics import LayoutPhysics


class StackedCoefficients:
    """The table of one search; a server remembers its row."""

    def __init__(self, physics: LayoutPhysics) -> None:
        self._physics = physics
        self._row: dict[int, int] = {}
        self._kept: list[LatencyCoefficients] = []
        self._table = np.empty((0, len(COEFFICIENT_NAMES)))

    def rows(self, servers: list[Server]) -> list[int]:
        """The row of each server: the same where speed is the same but for flags and load."""
        found = []
        for server in servers:
            row = server.remembered.get(self)
            if row is None:
                one = coefficients_of(self._physics, server)
                row = self._row.get(id(one))
                if row is None:
                    row = self._row[id(one)] = len(self._kept)
                    self._kept.append(one)
                server.remembered[self] = row
            found.append(row)
        return found

    def of(self, servers: list[Server]) -> LatencyCoefficients:
        """One entry per server."""
        rows = self.rows(servers)
        if len(self._kept) > len(self._table):
            new = [one.row for one in self._kept[len(self._table) :]]
            self._table = np.concatenate([self._table, np.array(new, dtype=np.float64)])
        return LatencyCoefficients(*np.ascontiguousarray(self._table[rows].T))


def coefficients_of(physics: LayoutPhysics, server: Server) -> LatencyCoefficients:
    """Latency coefficients of a server with CUDA graphs, remembered with it."""
    found: LatencyCoefficients | None = server.remembered.get("coefficients")
    if found is None:
        found = physics.coefficients(server.sku, server.weights, server.shape)
        server.remembered["coefficients"] = found
    return found


def stacked(physics: LayoutPhysics, servers: list[Server]) -> LatencyCoefficients:
    """Coefficients of servers, one entry each; the table is remembered with `physics`."""
    return table_of(physics).of(servers)


def table_of(physics: LayoutPhysics) -> StackedCoefficients:
    """The table that is remembered with `physics`."""
    if physics.stacked is None:
        physics.stacked = StackedCoefficients(physics)
    found: StackedCoefficients = physics.stacked
    return found
