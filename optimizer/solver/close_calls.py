"""The few plans that a person would weigh against the chosen one, each the best of its kind.

| why | what |
|---|---|
| cheapest | costs strictly less, and concedes what came next; the first objective is at most a quarter worse |
| fastest | the most tokens per second for at most 1.25 times the cost, at least a tenth more |
| fewest_gpus | fewer GPUs for at most 1.25 times the cost |
| better_weights | an earlier place in the publisher order, or more quality, for at most 1.5 times the cost |
| published_weights | the same where the chosen weights still have to be made |

All but the cheapest are looked for where cost or GPUs come first.
"""

import math
from collections.abc import Callable, Iterator
from itertools import takewhile

from vllm_opt.optimizer.contract.answer import CloseCall
from vllm_opt.optimizer.planning.predicted import Choice, predicted_together
from vllm_opt.optimizer.search.order import Order, capped_quality
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import Search, SearchResult
from vllm_opt.optimizer.solver.accepted import accepted_plan
from vllm_opt.optimizer.solver.selection import ScoredChoice, best_choice
from vllm_opt.optimizer.space.objective import unit_cost_microusd, worst_within
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.weights import HYPOTHETICAL

DEARER, DEARER_FOR_WEIGHTS = 1.25, 1.5
FASTER = 1.1
BETTER_QUALITY = 0.002
MOST_NUMBERS = 1024
"""Numbers of replicas beyond the fewest that are looked at."""


def close_calls(search: Search, result: SearchResult, chosen: Choice) -> tuple[CloseCall, ...]:
    """Every kind that exists and is no repetition of the chosen plan or of another kind."""
    setting = search.setting
    if setting.request.pareto or not setting.request.explain or search.is_over():
        return ()
    seen, found = [chosen], []
    kinds = list(_kinds(search, result, chosen))
    speeds = predicted_together(setting, [choice for _, choice in kinds])
    for (why, choice), speed in zip(kinds, speeds, strict=True):
        if any(_alike(choice, known) for known in seen):
            continue
        plan = accepted_plan(setting, choice, speed)
        if plan is None:
            continue
        seen.append(choice)
        found.append(CloseCall(why=why, plan=plan))
    return tuple(found)


def _kinds(search: Search, result: SearchResult, chosen: Choice) -> Iterator[tuple[str, Choice]]:
    setting = search.setting
    cost = unit_cost_microusd(chosen.unit)
    weights = chosen.unit.facts.weights
    near = _near(search, result)
    cheapest = best_choice(setting, near, Order(("cost", "throughput"), 0.0), search.scores)
    if cheapest.key[0] < cost:
        yield "cheapest", cheapest.choice
    if search.first not in ("cost", "gpus"):
        return
    fast = math.floor(FASTER * _throughput(search, result, chosen))
    fastest = best_for_at_most(search, Order(("throughput", "cost"), 0.02), cost * DEARER, lambda _: True, worst=fast)
    if fastest is not None and fastest.key[0] <= fast:
        yield "fastest", fastest.choice
    if chosen.unit.gpu_count > 1:
        fewer = best_for_at_most(
            search, Order(("gpus", "throughput"), 0.0), cost * DEARER,
            lambda server: server.gpu_count < chosen.unit.gpu_count, most_gpus=chosen.unit.gpu_count - 1,
        )  # fmt: skip
        if fewer is not None:
            yield "fewest_gpus", fewer.choice
    quality = capped_quality(weights) + BETTER_QUALITY
    liked = {
        id(one) for one in setting.formats
        if one.publisher_rank < weights.publisher_rank or capped_quality(one) > quality
    }  # fmt: skip
    better = best_for_at_most(
        search, Order(("cost", "throughput"), 0.02), cost * DEARER_FOR_WEIGHTS,
        lambda server: id(server.weights) in liked,
    )  # fmt: skip
    if better is not None:
        yield "published_weights" if weights.publisher_rank == HYPOTHETICAL else "better_weights", better.choice


def _alike(one: Choice, other: Choice) -> bool:
    """Whether two choices are one plan to a reader: alike but for how many slots random arrivals find."""
    first, second = (
        (item.unit.facts.layout, item.unit.replicas, item.unit.facts.weights.checkpoint) for item in (one, other)
    )
    if first != second:
        return False
    by_rate = one.unit.facts.setting.targets.requests_per_s is not None
    return by_rate or (one.max_num_seqs, one.max_num_batched_tokens) == (
        other.max_num_seqs, other.max_num_batched_tokens
    )  # fmt: skip


def _near(search: Search, result: SearchResult) -> list[Candidate]:
    """The candidates whose first objective is at most a quarter worse than the best one."""
    lowest = {id(candidate): int(search.scores.of(candidate, search.first).min()) for candidate in result.candidates}
    worst = worst_within(search.first, min(lowest.values()), DEARER - 1)
    return [candidate for candidate in result.candidates if lowest[id(candidate)] <= worst]


def _throughput(search: Search, result: SearchResult, chosen: Choice) -> float:
    """The objective integer `throughput` of the chosen point (negative)."""
    for candidate in result.candidates:
        if candidate.unit is chosen.unit and candidate.max_num_batched_tokens == chosen.max_num_batched_tokens:
            at = candidate.sequences.tolist().index(chosen.max_num_seqs)
            return float(search.scores.of(candidate, "throughput")[at])
    raise ValueError("the chosen point is none of the candidates")


def best_for_at_most(
    search: Search, order: Order, most: float, wanted: Callable[[Server], bool], *, most_gpus: int | None = None,
    worst: float | None = None,
) -> ScoredChoice | None:  # fmt: skip
    """The best point, in an order of its own, of the servers that are wanted with what replicas cost at most so much
    and have no more GPUs; `worst` as in `Search.best_of`."""
    setting = search.setting
    servers: list[Server] = []
    for sku in setting.gpus:
        counts: dict[tuple[int, int, int], list[int]] = {}
        if search.is_over():
            return None
        for server in filter(wanted, search.servers.of(sku)):
            kind = id(server.fare), server.replicas, server.most
            if kind not in counts:
                counts[kind] = _affordable(server, most, most_gpus)
            servers += [server.with_replicas(count) for count in counts[kind]]
    found = search.best_of(servers, order, worst)
    return best_choice(setting, found, order, search.scores) if found else None


def _affordable(server: Server, most: float, most_gpus: int | None) -> list[int]:
    """The numbers of replicas of a server that cost at most so much and have no more GPUs."""
    last = min(server.most, server.replicas + MOST_NUMBERS)
    if most_gpus is not None:
        last = min(last, most_gpus // server.shape.gpus)
    return list(takewhile(lambda count: server.fare.cost_with(count) <= most, range(server.replicas, last + 1)))
