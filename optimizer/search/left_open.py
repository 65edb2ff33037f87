"""What bounds every objective over servers that a search did not visit before its time was up."""

import math
from collections.abc import Iterable

from vllm_opt.optimizer.search.bounds import objective_bounds
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.objective import TIER, cost_integer, efficiency_integer
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting

FEW_NUMBERS = 4
FILLED = 128
"""No machine on offer holds more servers."""
BOUNDED_PER_S = 1_000
"""Servers whose speed is bounded once time is up, per second of the time limit: bounds take a few hundredths of it."""
ANY = -(1 << 53)
"""Below every objective integer that is maximised: nothing is known."""


def open_bounds(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str],
    names: tuple[str, ...], unlisted: Iterable[PricedGpu] = (), most: float = math.inf,
) -> tuple[int, ...]:  # fmt: skip
    """A lower bound on each objective over these servers, with any replicas from their own to the most.

    `unlisted` are SKUs of which not even the servers are known: a plan has one GPU of them at least. Where there are
    some, or more than `most` servers, speeds are not bounded at all.
    """
    servers, unlisted = widest(servers), list(unlisted)
    if servers and not unlisted and len(servers) <= most:
        return _of_servers(setting, physics, servers, active, names)
    costs = [server.microusd_per_hour for server in servers] + [of_one_gpu(sku) for sku in unlisted]
    gpus = [server.gpu_count for server in servers] + [1 for _ in unlisted]
    quick = {"cost": min(costs, default=0), "gpus": min(gpus, default=0)}
    return tuple(quick.get(name, unknown(name)) for name in names)


def unknown(name: str) -> int:
    """What no plan is better than, as far as anything is known."""
    if name in ("cost", "gpus", "latency"):
        return 0
    return -2 * TIER if name == "efficiency" else ANY


def of_one_gpu(sku: PricedGpu) -> int:
    """What no plan on a SKU costs less than, since it has one of its GPUs at least."""
    return cost_integer(sku.bill(1, 1, 1), 1)


def widest(servers: Iterable[Server]) -> list[Server]:
    """Each server once, with the fewest replicas of all that wait."""
    fewest: dict[int, Server] = {}
    for server in servers:
        key = id(server.remembered)  # every copy with other replicas shares it
        if key not in fewest or server.replicas < fewest[key].replicas:
            fewest[key] = server
    return list(fewest.values())


def _of_servers(
    setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], active: frozenset[str], names: tuple[str, ...]
) -> tuple[int, ...]:
    """A lower bound on each objective over servers of which there are some.

    Where the numbers are many: cost and GPUs are least with the fewest replicas, the end-to-end time and minus the
    requests held with the most. The rate of one engine is highest with the fewest, so `most` engines of that rate bound
    the throughput; with the lowest cost per replica they bound the efficiency. Whole machines are filled by some number
    of replicas in any `FILLED` that follow each other.
    """
    few = [server for server in servers if server.most - server.replicas < FEW_NUMBERS]
    rows = [server.with_replicas(n) for server in few for n in range(server.replicas, server.most + 1)]
    many = [server for server in servers if server.most - server.replicas >= FEW_NUMBERS]
    rows += [server.with_replicas(count) for server in many for count in (server.replicas, server.most)]
    found = [min(column) for column in zip(*objective_bounds(setting, physics, rows, active, names), strict=True)]
    if not many or not {"throughput", "efficiency"} & set(names):
        return tuple(found)
    rates = objective_bounds(setting, physics, many, active, ("throughput",))
    for server, (rate,) in zip(many, rates, strict=True):
        each = -rate // server.replicas
        for position, name in enumerate(names):
            if name == "throughput":
                found[position] = min(found[position], -each * server.most)
            if name == "efficiency":
                last = min(server.most, server.replicas + FILLED)
                values = (
                    efficiency_integer(each * count, server.fare.cost_with(count), count * server.shape.gpus)
                    for count in range(server.replicas, last + 1)
                )
                found[position] = min(found[position], *values)
    return tuple(found)
