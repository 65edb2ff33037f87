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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.step_time import (
    LatencyCoefficients,
    Numbers,
    decode_attention,
    experts_hit,
    prefill_attention,
    stack,
)
from vllm_opt.optimizer.search.pool import sequences_of_server
from vllm_opt.optimizer.search.queue import Server
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


class KnownReaches:
    """Reaches of one setting under one set of rules. They hang on few things: servers that differ in what speed does
    not see (block size, prefix caching that nothing hits), or that are asked about again, are bounded once."""

    def __init__(self, setting: SolveSetting, physics: LayoutPhysics, active: frozenset[str]) -> None:
        self._setting, self._physics, self._active = setting, physics, active
        self._row: dict[tuple[object, ...], int] = {}
        self._columns = np.empty((0, 4 + len(METRICS)))

    def of(self, servers: list[Server]) -> Reach:
        """One entry per server."""
        keys = [self._key(server) for server in servers]
        new = {key: server for key, server in zip(keys, servers, strict=True) if key not in self._row}
        if new:
            self._row.update({key: at for at, key in enumerate(new, len(self._row))})
            fresh = list(new.values())
            parts = [self._bounded(fresh[start : start + TOGETHER]) for start in range(0, len(fresh), TOGETHER)]
            self._columns = np.concatenate([self._columns, *parts])
        tokens_per_s, e2e_s, ttft_s, tpot_s, *factors = self._columns[[self._row[key] for key in keys]].T
        return Reach(tokens_per_s, e2e_s, ttft_s, tpot_s, dict(zip(METRICS, factors, strict=True)))

    def _key(self, server: Server) -> tuple[object, ...]:
        """What decides how fast a server can be."""
        setting, physics = self._setting, self._physics
        asked = setting.targets.concurrency if "concurrency" in self._active else 1
        return (
            id(coefficients_of(physics, server)),
            sequences_of_server(setting, physics, server, self._active),
            -(-asked // server.engines),
            server.shape.prefix_caching and setting.request.prefix_hit_share > 0,
        )

    def _bounded(self, servers: list[Server]) -> Numbers:
        reach = _reach_of(self._setting, self._physics, servers, self._active)
        times = reach.tokens_per_s, reach.e2e_s, reach.ttft_s, reach.tpot_s
        factors = (np.broadcast_to(reach.factors[metric], len(servers)) for metric in METRICS)
        return np.stack([*times, *factors], axis=1)


def reach_of_servers(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> Reach:
    """How fast each server can be; remembered with `physics`."""
    known: KnownReaches | None = physics.reaches.get(active)
    if known is None:
        known = physics.reaches[active] = KnownReaches(setting, physics, active)
    return known.of(servers)


def _reach_of(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]) -> Reach:
    c = stack([coefficients_of(physics, server) for server in servers])
    hit = np.array([setting.request.prefix_hit_share if server.shape.prefix_caching else 0.0 for server in servers])
    asked = setting.targets.concurrency if "concurrency" in active else 1
    shares = np.array([-(-asked // server.engines) for server in servers], dtype=np.float64)
    most = np.array([sequences_of_server(setting, physics, server, active) for server in servers])
    if setting.load_is_asked(active):
        most = np.minimum(most, shares)
    inputs, outputs = (float(length) for length in setting.lengths)
    little = LITTLE
    if setting.request.needs_queueing:
        little = 0.0 if setting.request.pattern != "closed" or setting.request.think_time_s else LITTLE
        inputs *= setting.demand.lengths.median_input if setting.targets.ttft_percentile is not None else 1.0
    computed = np.maximum(1.0, inputs * (1.0 - hit))
    span = inputs * (1.0 + hit) / 2.0
    discount = np.minimum(1.0, np.asarray(c.prefill_factor))
    factors = {metric: quantile_factor(c, metric, setting.request.confidence) for metric in METRICS}
    stages = np.asarray(c.pipeline_stages)
    if outputs <= 1:
        rate = stages / (computed * _seconds_per_prompt_token(c, span) * discount)
        first = np.asarray(c.frontend_s) + 0.0 * rate
        return Reach(rate, first, first, 0.0 * rate, factors)
    steps = outputs - 1.0
    largest = np.maximum(1.0, most / stages)
    context = inputs + outputs / 2.0
    beside = computed / steps * discount
    edges = exp(np.linspace(0.0, 1.0, CELLS + 1)[:, None] * log(largest))
    lowest = np.concatenate([np.ones((1, len(servers))), edges[:-1]])
    highest = np.concatenate([np.ones((1, len(servers))), edges[1:]])
    taken = _step_seconds(c, lowest, beside, context, span)
    rate = stages * np.where(_allowed(setting, taken, factors, active), highest / (steps * taken), 0.0).max(axis=0)
    alone = steps * _step_seconds(c, np.ones(len(servers)), beside, context, span)
    first = np.asarray(c.frontend_s) + computed * _seconds_per_prompt_token(c, span) * discount / stages
    return Reach(rate * outputs, np.maximum(little * shares / rate, first + alone), first, alone / steps, factors)


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


def coefficients_of(physics: LayoutPhysics, server: Server) -> LatencyCoefficients:
    """Latency coefficients of a server with CUDA graphs, remembered with it."""
    found: LatencyCoefficients | None = server.remembered.get("coefficients")
    if found is None:
        found = physics.coefficients(server.sku, server.weights, server.shape)
        server.remembered["coefficients"] = found
    return found


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
