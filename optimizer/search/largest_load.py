"""The largest load of one engine with which a server can meet the limits on TTFT and TPOT, memory aside.

TTFT and TPOT never fall when the load grows, so the limit lies below the first load of a grid that breaks them. It
bounds the replicas that a server needs from below: the search queues none with fewer.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.sizing import LoadSizing
from vllm_opt.optimizer.search.stacked import rows_of, stacked
from vllm_opt.optimizer.search.units import pieces_of_server
from vllm_opt.optimizer.space.judged import judged
from vllm_opt.optimizer.space.latency_limits import limits_kept, within_latency
from vllm_opt.optimizer.space.points import Asked, evaluate, speeds_at
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.elementary import exp, log

LOADS = 6
"""Loads of the grid: with fewer, more servers are sized in vain."""
UPPER_LIMITS = frozenset(("ttft", "tpot"))
Integers = NDArray[np.int64]


def largest_loads(sizing: LoadSizing, servers: list[Server]) -> list[int]:
    """Per server, no load above this one can meet the latency limits; 0 when none does with the most replicas."""
    if not servers:
        return []
    setting = sizing.setting
    if not setting.load_is_asked(sizing.active):
        return [_largest_admitted(sizing, server) for server in servers]
    targets, hits = setting.targets, setting.request.hit_share > 0
    kinds: dict[tuple[object, ...], int] = {}
    first: list[Server] = []
    numbers: list[int] = []
    for row, server in zip(rows_of(sizing.physics, servers), servers, strict=True):
        shape = server.shape
        low, high = targets.share_of(server.most * shape.data), targets.share_of(server.engines)
        speed = row, shape.chunked_prefill, shape.prefix_caching and hits
        number = kinds.setdefault((*speed, low, max(low, high)), len(first))
        if number == len(first):
            first.append(server)
        numbers.append(number)
    ranges = np.array([kind[-2:] for kind in kinds], dtype=np.int64)
    found = _largest_of_kinds(_Rows(sizing, first), ranges[:, 0], ranges[:, 1])
    largest: list[int] = found[numbers].tolist()
    return largest


def _largest_of_kinds(rows: "_Rows", low: Integers, high: Integers) -> Integers:
    """The same for servers between loads: the first load of a grid that breaks the limits is found by halving."""
    found = np.zeros(len(low), dtype=np.int64)
    able = np.flatnonzero(rows.hold(np.arange(len(low)), low))
    found[able] = low[able]
    wide = able[high[able] > low[able]]
    if not len(wide):
        return found
    ratio = exp(log(high[wide] / low[wide])[:, None] * (np.arange(1, LOADS + 1) / LOADS))
    grid = np.minimum(np.ceil(low[wide][:, None] * ratio - 1e-9).astype(np.int64), high[wide][:, None])
    held, broken = np.zeros(len(wide), dtype=np.int64), np.full(len(wide), LOADS + 1, dtype=np.int64)
    while (open_ := np.flatnonzero(broken - held > 1)).size:
        middle = (held[open_] + broken[open_]) // 2
        holds = rows.hold(wide[open_], grid[open_, middle - 1])
        held[open_] = np.where(holds, middle, held[open_])
        broken[open_] = np.where(holds, broken[open_], middle)
    above = np.concatenate([grid - 1, high[wide][:, None]], axis=1)
    found[wide] = np.maximum(low[wide], np.take_along_axis(above, held[:, None], axis=1)[:, 0])
    return found


class _Rows:
    """Every (server, max_num_batched_tokens, eager or not), so that a load is asked of many servers at once."""

    def __init__(self, sizing: LoadSizing, servers: list[Server]) -> None:
        self._sizing = sizing
        widths = [sizing.widths_of(server) for server in servers]
        self._counts = np.array([len(tokens) for tokens in widths])
        self._first = np.cumsum(self._counts) - self._counts
        self._owner = np.repeat(np.arange(len(servers)), self._counts)
        self._tokens = np.array([token for tokens in widths for token in tokens], dtype=np.int64)
        captured = stacked(sizing.physics, servers)
        eager = replace(captured, eager=np.ones(len(servers)))
        self._modes = [captured] if bool(np.all(captured.eager)) else [captured, eager]
        self._broken = [np.full(len(self._owner), np.iinfo(np.int64).max) for _ in self._modes]
        """per row the least load known to break the limits: greater ones do too"""
        self._chunked = np.array([server.shape.chunked_prefill for server in servers])
        self._cached = np.array([server.shape.prefix_caching for server in servers])

    def hold(self, servers: Integers, loads: Integers) -> NDArray[np.bool_]:
        """Whether each of these servers meets the limits at its load with any width; eager mode comes second."""
        holds = np.zeros(len(servers), dtype=bool)
        for mode in range(len(self._modes)):
            rest = np.flatnonzero(~holds)
            if len(rest):
                holds[rest] = self._hold(servers[rest], loads[rest], mode)
        return holds

    def _hold(self, servers: Integers, loads: Integers, mode: int) -> NDArray[np.bool_]:
        counts = self._counts[servers]
        question = np.repeat(np.arange(len(servers)), counts)
        rows = np.arange(len(question)) - np.repeat(np.cumsum(counts) - counts, counts) + self._first[servers][question]
        load = loads[question]
        fits = (self._tokens[rows] >= load) & (load < self._broken[mode][rows])
        question, rows, load = question[fits], rows[fits], load[fits]
        holds = np.zeros(len(servers), dtype=bool)
        if not len(rows):
            return holds
        owner = self._owner[rows]
        points = Asked(
            sequences=load,
            tokens=self._tokens[rows].astype(np.float64),
            engines=np.ones(len(rows)),
            chunked=self._chunked[owner],
            cached=self._cached[owner],
        )
        setting = self._sizing.setting
        rules = _rules_kept(setting, self._modes[mode].take(owner), points, self._sizing.active & UPPER_LIMITS)
        kept = np.logical_and.reduce(list(rules.values())) if rules else np.ones(len(rows), dtype=bool)
        self._broken[mode][rows[~kept]] = load[~kept]
        if "tpot" in rules and "concurrency" not in setting.request.objective:
            slow = ~rules["tpot"]  # where `LoadSizing` sizes, it does not try eager mode there either (`_could_do`)
            for other in self._broken[mode + 1 :]:
                other[rows[slow]] = np.minimum(other[rows[slow]], load[slow])
        holds[question[kept]] = True
        return holds


def _rules_kept(
    setting: SolveSetting, c: LatencyCoefficients, points: Asked, active: frozenset[str]
) -> dict[str, NDArray[np.bool_]]:
    """Per rule which points keep it when every user runs; predicted where bounds do not decide."""
    said = judged(setting, c, points, active, asked=False)
    if said is None:
        return limits_kept(setting, speeds_at(setting, c, points, asked=False)[4:7], active)
    open_ = np.flatnonzero(~said.decided)
    if len(open_):
        speeds = speeds_at(setting, c.take(open_), points.take(open_), asked=False)
        for rule, mask in limits_kept(setting, speeds[4:7], active).items():
            said.kept[rule][open_] = mask
    return said.kept


def _largest_admitted(sizing: LoadSizing, server: Server) -> int:
    """Where the load is free: the loads are those that memory admits with the most replicas."""
    setting, active = sizing.setting, sizing.active
    pieces = pieces_of_server(setting, sizing.physics, server, server.most, active)
    largest = 0
    for candidate in evaluate(setting, pieces, asked=False):
        holds = within_latency(setting, candidate, active)
        if holds.any():
            last = int(np.flatnonzero(holds)[-1])
            further = last + 1 < len(holds)
            largest = max(largest, int(candidate.sequences[last + further]) - further)
    return largest
