"""What no point of a server can beat: lower bounds on every objective, for many servers at once.

Closed form and vectorised, so that most servers are never sized. D sequences decode on average, at most S; each step
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

import math
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
from vllm_opt.optimizer.search.pool import requests_of_server, sequences_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.objective import efficiency_integer
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.elementary import exp, log

CELLS = 64
AT_ONCE = 4096
"""Servers that are bounded at once."""
MOST_ENGINES = 2.0**40
METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
LITTLE = 0.75
"""The prediction solves Little's law by interpolation, which errs where a step is padded to the next captured size."""
ROUNDING = 1e-6
"""Relative slack for rounding in both this bound and the prediction."""
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Reach:
    """Per server: the most output tokens per second of one engine, the least seconds end to end, to the first token and
    per further token; and by what the confidence asked multiplies the prediction."""

    tokens_per_s: Numbers
    e2e_s: Numbers
    ttft_s: Numbers
    tpot_s: Numbers
    factors: dict[Metric, Numbers]


def objective_bounds(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str], names: tuple[str, ...]
) -> list[tuple[int, ...]]:
    """A lower bound on the integer of each objective in `names`, server by server."""
    needs_speed = any(name in ("throughput", "latency", "efficiency") for name in names)
    reach = _reach(setting, physics, servers, active) if needs_speed else None
    columns = [_column(setting, physics, servers, active, name, reach) for name in names]
    return list(zip(*columns, strict=True))


def fastest(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]) -> Integers:
    """Lower bounds per server: minus thousandths of a token per second, all replicas; TPOT and TTFT in microseconds."""
    reach = _reach(setting, physics, servers, active)
    engines = np.array([server.engines for server in servers], dtype=np.int64)
    rates = np.ceil(reach.tokens_per_s * 1000 * (1 + ROUNDING)).astype(np.int64) * engines
    times = (np.floor(time * 1e6 * (1 - ROUNDING)).astype(np.int64) for time in (reach.tpot_s, reach.ttft_s))
    return np.stack([-rates, *times], axis=1)


def _column(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str], name: str,
    reach: Reach | None,
) -> list[int]:  # fmt: skip
    if name == "gpus":
        return [server.gpu_count for server in servers]
    costs = [server.microusd_per_hour for server in servers]
    if name == "cost":
        return costs
    if name == "concurrency":
        pools = [requests_of_server(setting, physics, server, active) for server in servers]
        return [-requests * server.engines for requests, server in zip(pools, servers, strict=True)]
    if reach is None:
        raise ValueError(f"{name} needs speeds")
    if name == "latency":
        return [int(floor) for floor in np.floor(reach.e2e_s * 1e6 * (1 - ROUNDING))]
    per_engine = np.ceil(reach.tokens_per_s * 1000 * (1 + ROUNDING)).astype(np.int64).tolist()
    brought = setting.targets.requests_per_s
    if brought is not None:
        share = brought * setting.lengths[1] * 1000 * (1 + ROUNDING)
        per_engine = [
            min(most, math.ceil(share / server.engines)) for most, server in zip(per_engine, servers, strict=True)
        ]
    millitokens = [most * server.engines for most, server in zip(per_engine, servers, strict=True)]
    if name == "throughput":
        return [-most for most in millitokens]
    return [
        efficiency_integer(most, cost, server.gpu_count)
        for most, cost, server in zip(millitokens, costs, servers, strict=True)
    ]


def _reach(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]) -> Reach:
    """`_reach_of` in pieces, so that the cells of many servers do not fill the memory."""
    if len(servers) <= AT_ONCE:
        return _reach_of(setting, physics, servers, active)
    parts = [
        _reach_of(setting, physics, servers[start : start + AT_ONCE], active)
        for start in range(0, len(servers), AT_ONCE)
    ]
    one, two, three, four = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("tokens_per_s", "e2e_s", "ttft_s", "tpot_s")
    )
    factors = {metric: np.concatenate([part.factors[metric] for part in parts]) for metric in METRICS}
    return Reach(one, two, three, four, factors)


def _reach_of(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]) -> Reach:
    c = stack([coefficients_of(physics, server) for server in servers])
    hit = np.array([setting.request.hit_share if server.shape.prefix_caching else 0.0 for server in servers])
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


def least_replicas(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> list[int | str]:
    """Per server the fewest replicas that could reach the throughput floor, or the latency rule that it cannot meet."""
    targets = setting.targets
    reach = _reach(setting, physics, servers, active)
    floor = targets.min_output_tokens_per_s if "throughput" in active else None
    each = reach.tokens_per_s * reach.factors["throughput"] * (1 + ROUNDING)
    engines = np.ones(len(servers)) if floor is None else np.ceil(floor / each)
    too_slow = _too_slow(setting, reach, active)
    found: list[int | str] = []
    for at, server in enumerate(servers):
        broken = next((rule for rule, mask in too_slow.items() if mask[at]), None)
        found.append(broken or -(-int(min(engines[at], MOST_ENGINES)) // server.shape.data))
    return found


def _too_slow(setting: SolveSetting, reach: Reach, active: frozenset[str]) -> dict[str, NDArray[np.bool_]]:
    """Per latency rule with a limit: which servers surely break it."""
    targets = setting.targets
    too_slow: dict[str, NDArray[np.bool_]] = {}
    if targets.max_ttft_ms is not None and "ttft" in active:
        too_slow["ttft"] = reach.ttft_s * reach.factors["ttft"] * 1000 * (1 - ROUNDING) > targets.max_ttft_ms
    if targets.max_tpot_ms is not None and "tpot" in active:
        too_slow["tpot"] = reach.tpot_s * reach.factors["tpot"] * 1000 * (1 - ROUNDING) > targets.max_tpot_ms
    return too_slow


def capacity_ceilings(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> list[float | str]:
    """Per server the output tokens per second, at the confidence asked and over all engines, that no flags exceed; or
    the latency rule that it cannot meet."""
    if not servers:
        return []
    reach = _reach(setting, physics, servers, active)
    engines = np.array([server.engines for server in servers], dtype=np.int64)
    tokens = reach.tokens_per_s * reach.factors["throughput"] * (1 + ROUNDING) * engines
    broken = _too_slow(setting, reach, active)
    return [
        next((rule for rule, mask in broken.items() if mask[at]), float(most))
        for at, most in enumerate(tokens.tolist())
    ]


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
