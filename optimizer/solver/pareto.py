"""The front over cost, throughput, TPOT and TTFT at the load asked.

A point is one layout, max_num_batched_tokens, max_num_seqs and number of replicas that satisfies every rule. Its four
integers are millionths of USD per hour, thousandths of an output token per second (negative), and TPOT and TTFT in
microseconds (central predictions, rounded up). A point is left out when another is at most (1 + e) times as dear, as
slow and as late, with e the request's tolerance: who reads a front does not weigh points nearer than that. With e = 0
the front is exact.

Servers are visited by ascending cost, with every number of replicas; one whose bounds (`search/bounds.py`) lie within e
of a point that costs no more is not sized, because none of its points could be kept.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.planning.utilization import fitting_utilization
from vllm_opt.optimizer.search.bounds import fastest
from vllm_opt.optimizer.search.modes import preference
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, LEAST_NUMBERS, MOST_QUEUED, Search
from vllm_opt.optimizer.search.sizing import Speeds, Worth
from vllm_opt.optimizer.solver.non_dominated import non_dominated
from vllm_opt.optimizer.solver.thinning import thinned
from vllm_opt.optimizer.space.objective import millitokens_per_s, unit_cost_microusd
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting

LATE = "the time limit came before every server was visited: raise --time-limit for the whole front"
MOST_PLANS = 12
"""Points of a front that are made into plans."""
BATCH = 256
"""Servers that are sized together, at most."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Front:
    """The points that are shown, cheapest first, and what a reader must know of the others."""

    choices: tuple[Choice, ...]
    total: int
    stopped: str
    """Why it is not the whole front; empty where it is."""
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether every server was looked at with every number of replicas."""
        return not self.stopped


@dataclass(frozen=True)
class Points:
    """Points as columns. `values`: one row of four integers each; `owner`, `place`: the candidate and its batch."""

    values: Integers
    owner: Integers
    place: Integers

    def take(self, index: Integers) -> "Points":
        """Some of them, in the order of `index`."""
        return Points(self.values[index], self.owner[index], self.place[index])


def pareto_front(search: Search) -> Front:
    """Return the front of a request; a search that runs out of time gives the front of what it has sized."""
    setting = search.setting
    candidates, points, stopped = front_of(search, setting.request.tolerance)
    kept, notes = thinned(points.values, MOST_PLANS)
    shown = points.take(kept)
    shown = shown.take(np.lexsort(tuple(shown.values.T[::-1])))
    choices = tuple(_choice(setting, candidates, shown, index) for index in range(len(shown.owner)))
    return Front(choices, len(points.owner), stopped, notes)


def front_of(search: Search, tolerance: float) -> tuple[list[Candidate], Points, str]:
    """The front with the candidates that hold its points, and why it is not the whole front, if it is not."""
    setting = search.setting
    waiting, stopped = _by_cost(search)
    candidates: list[Candidate] = []
    found: list[Points] = []
    known = np.empty((0, 4), dtype=np.int64)
    for start in range(0, len(waiting), BATCH):
        if search.is_over():
            stopped = LATE
            break
        batch = waiting[start : start + BATCH]
        bounds = np.array([bound for bound, _ in batch], dtype=np.int64)
        open_ = np.flatnonzero(~covered(bounds, known, tolerance))
        solved = search.solve_servers([batch[at][1] for at in open_.tolist()], _uncovered_by(known, tolerance))
        if solved:
            found.append(_points_of(solved, len(candidates)))
            candidates += solved
            known = np.concatenate([known, found[-1].values])
            known = known[non_dominated(known)]
    if not found:
        nothing = np.empty(0, dtype=np.int64)
        return [], Points(nothing.reshape(0, 4), nothing, nothing), stopped
    points = Points(
        np.concatenate([part.values for part in found]),
        np.concatenate([part.owner for part in found]),
        np.concatenate([part.place for part in found]),
    )
    points = points.take(_unbeaten(points.values))
    points = points.take(_in_order_of_preference(setting, candidates, points))
    points = points.take(non_dominated(points.values))
    return candidates, points.take(_apart(points.values, tolerance)), stopped


def _by_cost(search: Search) -> tuple[list[tuple[tuple[int, ...], Server]], str]:
    """Every server with every number of replicas and what none of its points can beat, the cheapest first.

    And why that is not every number, where there are too many.
    """
    setting = search.setting
    listed = list(search.every_server())
    numbers = max(LEAST_NUMBERS, MOST_QUEUED // max(1, len(listed)))
    servers = [
        server.with_replicas(count)
        for server, least in listed
        for count in range(least, min(server.most, least + numbers - 1) + 1)
    ]
    stopped = ""
    if any(server.most - least >= numbers for server, least in listed):
        stopped = f"the front is over the {numbers} smallest numbers of replicas of each server: lower --max-gpus"
    if not servers:
        return [], stopped
    bounds = fastest(setting, search.physics, servers, ALL_RULES)
    costs = [server.microusd_per_hour for server in servers]
    rows = [
        ((cost, *(int(value) for value in row)), server)
        for cost, row, server in zip(costs, bounds, servers, strict=True)
    ]
    return sorted(rows, key=lambda row: row[0]), stopped


def covered(values: Integers, known: Integers, tolerance: float) -> NDArray[np.bool_]:
    """Which rows lie within the tolerance of a known one that costs no more."""
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    slack = values + np.floor(np.abs(values) * tolerance).astype(np.int64)
    slack[:, 0] = values[:, 0]
    nearer: NDArray[np.bool_] = np.all(known[None] <= slack[:, None], axis=2)
    if tolerance == 0:
        nearer &= np.any(known[None] < values[:, None], axis=2)
    within: NDArray[np.bool_] = np.any(nearer, axis=1)
    return within


def _uncovered_by(known: Integers, tolerance: float) -> Worth:
    """Memory is counted only where no known point is as good."""

    def worth(servers: list[Server], owner: Integers, speeds: Speeds) -> NDArray[np.bool_]:
        costs = np.array([server.microusd_per_hour for server in servers], dtype=np.int64)
        engines = np.array([server.engines for server in servers], dtype=np.int64)
        ttft, tpot, _, tokens_per_s = speeds[:4]
        rate = -np.floor(tokens_per_s * 1000).astype(np.int64) * engines[owner]
        return ~covered(
            np.stack([costs[owner], rate, _microseconds(tpot), _microseconds(ttft)], axis=1), known, tolerance
        )

    return worth


def _apart(values: Integers, tolerance: float) -> Integers:
    """Positions of a front, cheapest first, each further than the tolerance from every one kept before."""
    kept: list[int] = []
    for position in np.lexsort(tuple(values.T[::-1])).tolist():
        if tolerance == 0 or not covered(values[position : position + 1], values[kept], tolerance)[0]:
            kept.append(position)
    return np.array(sorted(kept), dtype=np.int64)


def _points_of(group: list[Candidate], first: int) -> Points:
    """Every point of some candidates."""
    sizes = [len(candidate.sequences) for candidate in group]
    costs = [unit_cost_microusd(candidate.unit) for candidate in group]
    columns = (
        np.repeat(np.array(costs, dtype=np.int64), sizes),
        -np.concatenate([millitokens_per_s(candidate) for candidate in group]),
        _microseconds(np.concatenate([candidate.tpot_ms for candidate in group])),
        _microseconds(np.concatenate([candidate.ttft_ms for candidate in group])),
    )
    owner = np.repeat(np.arange(first, first + len(group)), sizes)
    return Points(np.stack(columns, axis=1), owner, np.concatenate([np.arange(size) for size in sizes]))


def _microseconds(milliseconds: NDArray[np.float64]) -> Integers:
    """Rounded up; a TPOT that does not exist counts as 0."""
    return np.ceil(np.nan_to_num(milliseconds) * 1000).astype(np.int64)


def _unbeaten(values: Integers) -> Integers:
    """Positions of the rows that no other beats, equal ones included."""
    rows, row_of = np.unique(values, axis=0, return_inverse=True)
    kept = np.zeros(len(rows), dtype=bool)
    kept[non_dominated(rows)] = True
    return np.flatnonzero(kept[row_of.reshape(-1)])


def _in_order_of_preference(setting: SolveSetting, candidates: list[Candidate], points: Points) -> Integers:
    """Points in the order in which the front considers them: the preferred one of equals comes first."""
    owners, owner_of = np.unique(points.owner, return_inverse=True)
    order = sorted(range(len(owners)), key=lambda at: preference(setting, candidates[int(owners[at])]))
    rank = np.zeros(len(owners), dtype=np.int64)
    rank[order] = np.arange(len(order))
    return np.lexsort((points.place, rank[owner_of]))


def _choice(setting: SolveSetting, candidates: list[Candidate], points: Points, index: int) -> Choice:
    """One point with the utilisation that it takes."""
    candidate = candidates[int(points.owner[index])]
    sequences = int(candidate.sequences[int(points.place[index])])
    utilization = fitting_utilization(setting, candidate, sequences)
    return Choice(candidate.unit, candidate.max_num_batched_tokens, sequences, utilization)
