"""How fast a server can be at best, in closed form, for many servers at once.

D sequences decode on average, at most S; each step
then carries r = max(D - 1, 0) I / (O - 1) prompt tokens beside them, and with m = D + r (Jensen's inequality over the
steps with and without prefill; terms as in `constraints/speed/step_time.py`, less what memory and compute do not
overlap)

    TPOT(D) >= max(dense memory, dense compute m) + max(head memory, head compute D)
               + max(expert memory hit(D), expert compute m) + token m + sequence D + fixed
               + D decode attention + r prefill attention
    rate    <= max over D <= S of D / ((O - 1) TPOT(D))

with the maximum over cells [d, d'] of D bounded by d' / ((O - 1) TPOT(d)), because TPOT(D) bounds grow with D. S is at
most what the KV cache holds beside the weights alone. The end-to-end time of `users` closed-loop users is users / rate
(Little's law), and at least a lone request's prefill and O - 1 lone steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.step_time import (
    LatencyCoefficients,
    Numbers,
    decode_attention,
    experts_hit,
    prefill_attention,
)
from vllm_opt.optimizer.search.pool import sequences_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.stacked import rows_of, stacked
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.elementary import exp, log

CELLS = 64
AT_ONCE = 4096
"""Servers that are looked at between two looks at the clock."""
TOGETHER = 256
"""Servers whose cells are computed together: they stay in the processor's cache."""
METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
LITTLE = 0.75
"""The prediction solves Little's law by interpolation, which errs where a step is padded to the next captured size."""
ROUNDING = 1e-6
"""Relative slack for rounding in both this bound and the prediction."""


@dataclass(frozen=True)
class Reach:
    """Per server: the most output tokens per second of one engine, the least seconds end to end, to the first token and
    per further token; and by what the confidence asked multiplies the prediction."""

    tokens_per_s: Numbers
    e2e_s: Numbers
    ttft_s: Numbers
    tpot_s: Numbers
    factors: dict[Metric, Numbers]


@dataclass(frozen=True)
class Times:
    """Per server the part of `Reach` that neither memory nor replicas change."""

    ttft_s: Numbers
    tpot_s: Numbers
    factors: dict[Metric, Numbers]


class KnownReaches:
    """Reaches of one setting under one set of rules. They hang on few things: servers that differ in what speed does
    not see (block size, prefix caching that nothing hits), or that are asked about again, are bounded once.

    The physics that it is remembered with is handed in by whoever asks: both are gone as soon as a search is.
    """

    def __init__(self, setting: SolveSetting, active: frozenset[str]) -> None:
        self._setting, self._active = setting, active
        self._hits = setting.request.hit_share > 0
        self._reaches, self._times = _Table(2), _Table(2 + len(METRICS))

    def of(self, physics: LayoutPhysics, servers: list[Server]) -> Reach:
        """One entry per server."""
        lone = self._keys(physics, servers)
        setting, active = self._setting, self._active
        asked = setting.targets.concurrency if "concurrency" in active else 1
        held = [sequences_of_server(setting, physics, server, active) for server in servers]
        shares = [-(-asked // server.engines) for server in servers]

        def rates(some: list[Server]) -> Numbers:
            load = _Load(setting, stacked(physics, some), some)
            return np.stack(_rates(load, setting, physics, some, active), axis=1)

        tokens_per_s, e2e_s = self._reaches.of(servers, list(zip(lone, held, shares, strict=True)), rates)
        times = self._times_of(physics, servers, lone)
        return Reach(tokens_per_s, e2e_s, times.ttft_s, times.tpot_s, times.factors)

    def times(self, physics: LayoutPhysics, servers: list[Server]) -> Times:
        """One entry per server."""
        return self._times_of(physics, servers, self._keys(physics, servers))

    def _times_of(self, physics: LayoutPhysics, servers: list[Server], keys: list[int]) -> Times:
        def lone(some: list[Server]) -> Numbers:
            load = _Load(self._setting, stacked(physics, some), some)
            factors = (np.broadcast_to(load.factors[metric], len(some)) for metric in METRICS)
            return np.stack([load.first_s, load.alone_s / load.steps, *factors], axis=1)

        ttft_s, tpot_s, *factors = self._times.of(servers, keys, lone)
        return Times(ttft_s, tpot_s, dict(zip(METRICS, factors, strict=True)))

    def _keys(self, physics: LayoutPhysics, servers: list[Server]) -> list[int]:
        """What decides how fast a lone request is, as a number per server."""
        rows = rows_of(physics, servers)
        if not self._hits:
            return rows
        return [2 * row + server.shape.prefix_caching for row, server in zip(rows, servers, strict=True)]


class _Table:
    """Columns of numbers by what decides them."""

    def __init__(self, columns: int) -> None:
        self._row: dict[object, int] = {}
        self._columns = np.empty((0, columns))

    def of(self, servers: list[Server], keys: Sequence[object], compute: Callable[[list[Server]], Numbers]) -> Numbers:
        """One entry per server in each column; one server of each key that is new is computed."""
        rows: list[Any] = list(map(self._row.get, keys))
        if None in rows:
            rows = self._with_new(servers, keys, compute)
        found: Numbers = self._columns[rows].T
        return found

    def _with_new(
        self, servers: list[Server], keys: Sequence[object], compute: Callable[[list[Server]], Numbers]
    ) -> list[int]:
        known, fresh = self._row, list[Server]()
        for server, key in zip(servers, keys, strict=True):
            if key not in known:
                known[key] = len(known)
                fresh.append(server)
        parts = [compute(fresh[start : start + TOGETHER]) for start in range(0, len(fresh), TOGETHER)]
        self._columns = np.concatenate([self._columns, *parts])
        return [known[key] for key in keys]


class _Load:
    """What one request asks of many servers."""

    def __init__(self, setting: SolveSetting, c: LatencyCoefficients, servers: list[Server]) -> None:
        hit = np.array([setting.request.hit_share if server.shape.prefix_caching else 0.0 for server in servers])
        inputs, outputs = (float(length) for length in setting.lengths)
        if setting.request.needs_queueing:
            inputs *= setting.demand.lengths.median_input if setting.targets.ttft_percentile is not None else 1.0
        self.c, self.outputs = c, outputs
        self.computed = np.maximum(1.0, inputs * (1.0 - hit))
        self.span = inputs * (1.0 + hit) / 2.0
        self.discount = np.minimum(1.0, np.asarray(c.prefill_factor))
        self.factors = {metric: quantile_factor(c, metric, setting.request.confidence) for metric in METRICS}
        self.stages = np.asarray(c.pipeline_stages)
        self.context = inputs + outputs / 2.0
        self.steps = max(1.0, outputs - 1.0)
        self.beside = self.computed / self.steps * self.discount
        self.alone_s = self.steps * self.step_s(np.ones(len(servers)))
        prompt_s = self.computed * _seconds_per_prompt_token(c, self.span) * self.discount
        self.first_s = np.asarray(c.frontend_s) + prompt_s / self.stages
        if outputs <= 1:
            self.alone_s = np.zeros(len(servers))
            self.first_s = np.asarray(c.frontend_s) + self.alone_s
            self.full_rate = self.stages / prompt_s

    def step_s(self, decoders: Numbers) -> Numbers:
        """Least seconds of a step in which so many decode."""
        return _step_seconds(self.c, decoders, self.beside, self.context, self.span)


def reach_of_servers(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> Reach:
    """How fast each server can be; remembered with `physics`."""
    return _known(setting, physics, active).of(physics, servers)


def times_of_servers(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> Times:
    """How soon each server can be; remembered with `physics`."""
    return _known(setting, physics, active).times(physics, servers)


def _known(setting: SolveSetting, physics: LayoutPhysics, active: frozenset[str]) -> KnownReaches:
    if active not in physics.reaches:
        physics.reaches[active] = KnownReaches(setting, active)
    known: KnownReaches = physics.reaches[active]
    return known


def _rates(
    load: _Load, setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> tuple[Numbers, Numbers]:
    """(tokens per second of one engine at most, seconds end to end at least)."""
    if load.outputs <= 1:
        return load.full_rate, load.first_s
    asked = setting.targets.concurrency if "concurrency" in active else 1
    shares = np.array([-(-asked // server.engines) for server in servers], dtype=np.float64)
    most = np.array([sequences_of_server(setting, physics, server, active) for server in servers])
    if setting.load_is_asked(active):
        most = np.minimum(most, shares)
    little = LITTLE
    if setting.request.needs_queueing:
        little = 0.0 if setting.request.pattern != "closed" or setting.request.think_time_s else LITTLE
    largest = np.maximum(1.0, most / load.stages)
    edges = exp(np.linspace(0.0, 1.0, CELLS + 1)[:, None] * log(largest))
    lowest = np.concatenate([np.ones((1, len(servers))), edges[:-1]])
    highest = np.concatenate([np.ones((1, len(servers))), edges[1:]])
    taken = load.step_s(lowest)
    kept = _allowed(setting, taken, load.factors, active)
    rate = load.stages * np.where(kept, highest / (load.steps * taken), 0.0).max(axis=0)
    return rate * load.outputs, np.maximum(little * shares / rate, load.first_s + load.alone_s)


def _allowed(
    setting: SolveSetting, taken: Numbers, factors: dict[Metric, Numbers], active: frozenset[str]
) -> NDArray[np.bool_]:
    """Which cells may keep the limit on TPOT; the first always counts, and percentiles are not judged here."""
    limit = setting.targets.max_tpot_ms
    if limit is None or "tpot" not in active or setting.request.needs_queueing:
        return np.ones(taken.shape, dtype=bool)
    kept: NDArray[np.bool_] = taken * factors["tpot"] * 1000 * (1 - ROUNDING) <= limit
    kept[0] = True
    return kept


def _seconds_per_prompt_token(c: LatencyCoefficients, span: Numbers) -> Numbers:
    return np.asarray(
        np.asarray(c.dense_compute_s_per_token)
        + np.asarray(c.expert_compute_s_per_token)
        + np.asarray(c.token_s)
        + prefill_attention(c, span)
    )


def _step_seconds(c: LatencyCoefficients, decoders: Numbers, beside: Numbers, context: float, span: Numbers) -> Numbers:
    """A lower bound on TPOT at `decoders` or more sequences that decode; grows with them."""
    riding = np.maximum(decoders - 1.0, 0.0) * beside
    tokens = decoders + riding
    dense = np.maximum(c.dense_memory_s, c.dense_compute_s_per_token * tokens)
    head = np.maximum(c.head_memory_s, c.head_compute_s_per_sequence * decoders)
    experts = np.maximum(c.expert_memory_s * experts_hit(c, decoders), c.expert_compute_s_per_token * tokens)
    time = dense + head + experts + c.token_s * tokens + c.sequence_s * decoders + c.fixed_s
    return np.asarray(time + decoders * decode_attention(c, context) + riding * prefill_attention(c, span))
