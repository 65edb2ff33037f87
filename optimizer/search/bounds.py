"""What no point of a server can beat: lower bounds on every objective, for many servers at once.

Closed form and vectorised, so that most servers are never sized. The closed form of speed: `reach.py`.
"""

import math

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.search.pool import requests_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.reach import ROUNDING, Reach, Times, reach_of_servers, times_of_servers
from vllm_opt.optimizer.space.objective import efficiency_integer
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting

MOST_ENGINES = 2.0**40
Integers = NDArray[np.int64]


def objective_bounds(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str], names: tuple[str, ...]
) -> list[tuple[int, ...]]:
    """A lower bound on the integer of each objective in `names`, server by server."""
    needs_speed = any(name in ("throughput", "latency", "efficiency") for name in names)
    reach = reach_of_servers(setting, physics, servers, active) if needs_speed else None
    columns = [_column(setting, physics, servers, active, name, reach) for name in names]
    return list(zip(*columns, strict=True))


def fastest(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]) -> Integers:
    """Lower bounds per server: minus thousandths of a token per second, all replicas; TPOT and TTFT in microseconds."""
    reach = reach_of_servers(setting, physics, servers, active)
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
    if name == "cost":
        return [server.microusd_per_hour for server in servers]
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
        efficiency_integer(most, server.microusd_per_hour, server.gpu_count)
        for most, server in zip(millitokens, servers, strict=True)
    ]


def least_replicas(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str]
) -> list[int | str]:
    """Per server the fewest replicas that could reach the throughput floor, or the latency rule that it cannot meet."""
    targets = setting.targets
    times = times_of_servers(setting, physics, servers, active)
    floor = targets.min_output_tokens_per_s if "throughput" in active else None
    engines = np.ones(len(servers))
    if floor is not None:
        reach = reach_of_servers(setting, physics, servers, active)
        engines = np.ceil(floor / (reach.tokens_per_s * times.factors["throughput"] * (1 + ROUNDING)))
    too_slow = _too_slow(setting, times, active)
    data = np.array([server.shape.data for server in servers], dtype=np.int64)
    found: list[int | str] = (-(-np.minimum(engines, MOST_ENGINES).astype(np.int64) // data)).tolist()
    for rule, mask in reversed(too_slow.items()):
        for at in np.flatnonzero(mask).tolist():
            found[at] = rule
    return found


def _too_slow(setting: SolveSetting, reach: Reach | Times, active: frozenset[str]) -> dict[str, NDArray[np.bool_]]:
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
    reach = reach_of_servers(setting, physics, servers, active)
    engines = np.array([server.engines for server in servers], dtype=np.int64)
    tokens = reach.tokens_per_s * reach.factors["throughput"] * (1 + ROUNDING) * engines
    broken = _too_slow(setting, reach, active)
    return [
        next((rule for rule, mask in broken.items() if mask[at]), float(most))
        for at, most in enumerate(tokens.tolist())
    ]
