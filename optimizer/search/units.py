"""From a server to its units: the (max_num_batched_tokens, max_num_seqs …) that memory admits, graphs or eager."""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.admission import Admission
from vllm_opt.optimizer.space.objective import whole_requests
from vllm_opt.optimizer.space.physics import LayoutFacts, LayoutPhysics
from vllm_opt.optimizer.space.points import (
    Unit,
    sequence_grid,
    token_grid,
)
from vllm_opt.optimizer.space.setting import SolveSetting

UNLIMITED = 2**40
"""Requests of an engine whose memory is not asked about."""

Pieces = list[tuple[Unit, int, list[int]]]


@dataclass(frozen=True)
class Pool:
    """The most that one engine can hold: no activation, no graphs, the highest utilisation, the narrowest step.

    `sequences` of the mean context, `requests` of the full one; both 0 when the weights leave no room.
    """

    sequences: int
    requests: int


def pool_of_server(setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]) -> Pool:
    """An upper bound on what any flags admit in one engine."""
    gpu, targets = server.sku.gpu, setting.targets
    ceiling = setting.largest_batch
    if "memory_budget" not in active:
        return Pool(ceiling, UNLIMITED)
    plan = physics.plan(gpu, server.weights, server.shape)
    if isinstance(plan, Violation):
        return Pool(0, 0)
    budget = physics.budgets(gpu)[-1]
    room = []
    for weights, block in zip(physics.weight_bytes(gpu, server.weights, server.shape), plan.block_bytes, strict=True):
        if budget < weights:
            return Pool(0, 0)
        if block:
            room.append((budget - weights) // block)
    if not room:
        return Pool(ceiling, 0)
    context = targets.mean_context if "concurrency" in active else 1
    sequences = min(room) // max(1, plan.blocks_per_request(context, 1))
    return Pool(min(ceiling, sequences), whole_requests(plan, min(room), targets.target_context, 1))


def fewest_replicas(
    setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]
) -> int | None:
    """A lower bound on the replicas; None when the weights leave no room for one sequence."""
    if "memory_budget" not in active:
        return 1
    most = pool_of_server(setting, physics, server, active).sequences
    if most < 1:
        return None
    if server.host_tier_gib:
        return 1
    concurrency = setting.targets.concurrency if "concurrency" in active else 1
    engines = -(-concurrency // most)
    return -(-engines // server.shape.data)


def exact_replicas(setting: SolveSetting, gpus: int, active: frozenset[str]) -> int | None:
    """The replicas of a server of so many GPUs that the request fixes, 0 where they cannot be; None: any number."""
    pinned, asked = setting.request.replicas, setting.targets.gpus
    if asked is None or "gpu_count" not in active:
        return pinned
    return asked // gpus if asked % gpus == 0 and pinned in (None, asked // gpus) else 0


def pieces_of_server(
    setting: SolveSetting, physics: LayoutPhysics, server: Server, replicas: int, active: frozenset[str]
) -> Pieces:
    """What memory admits with CUDA graphs and in eager mode."""
    captured = physics.facts(server.sku, server.weights, server.shape)
    with_graphs = pieces_of(setting, Unit(captured, server.shape, replicas, server.host_tier_gib), active)
    eager = Unit(physics.eager_facts(captured), server.shape, replicas, server.host_tier_gib)
    if needs_no_more(eager, captured):
        admitted = {tokens: sequences for _, tokens, sequences in with_graphs}
        ceilings = {tokens: min(tokens, setting.largest_batch) for tokens in tokens_of(captured)}
        if all(tokens in admitted and admitted[tokens][-1] == most for tokens, most in ceilings.items()):
            return with_graphs + [(eager, tokens, sequences) for tokens, sequences in admitted.items()]
    return with_graphs + pieces_of(setting, eager, active)


def needs_no_more(eager: Unit, captured: LayoutFacts) -> bool:
    """Whether eager mode surely takes no more memory than CUDA graphs: where the fitted terms say so."""
    confidence, pairs = captured.confidence, ("non_torch", "context")
    return all(
        getattr(eager.facts.terms, name).at(confidence) <= getattr(captured.terms, name).at(confidence)
        for name in pairs
    )


def tokens_of(facts: LayoutFacts) -> tuple[int, ...]:
    """The values of max_num_batched_tokens that are tried for a layout."""
    setting, chunked = facts.setting, facts.layout.enable_chunked_prefill
    default = default_max_num_batched_tokens(
        setting.engine, facts.sku.gpu, chunked_prefill=chunked, max_model_len=setting.targets.target_context,
        max_num_seqs=None,
    )  # fmt: skip
    return token_grid(setting, default, chunked_prefill=chunked)


def fewest_sequences(setting: SolveSetting, unit: Unit, active: frozenset[str]) -> int:
    """Sequences that every engine must run for the concurrency asked, those parked on the host taken off."""
    if "concurrency" not in active:
        return 1
    return max(1, -(-setting.targets.concurrency // unit.engines) - unit.host_tier.parked)


def pieces_of(setting: SolveSetting, unit: Unit, active: frozenset[str]) -> Pieces:
    """One piece per max_num_batched_tokens that admits at least the sequences needed.

    Where need is monotone, it never falls when a step grows, so the first width that does not fit ends the list.
    """
    facts, targets = unit.facts, setting.targets
    least = fewest_sequences(setting, unit, active)
    monotone = facts.monotone
    found: Pieces = []
    for tokens in tokens_of(facts):
        most = min(tokens, setting.largest_batch)
        pinned = setting.request.max_num_seqs
        if most < (least if pinned is None else max(least, pinned)):
            continue
        smallest = least if pinned is None else pinned
        if "memory_budget" not in active:
            found.append((unit, tokens, sequence_grid(smallest, most)))
            continue
        startup = facts.terms.kv.startup_blocks(targets.target_context, tokens)
        context = targets.mean_context if "concurrency" in active else 1
        admitted = Admission(facts, tokens, context, startup)
        sizes = admitted.sizes(smallest, most) if monotone else admitted.each(smallest, most)
        if sizes:
            found.append((unit, tokens, sizes))
        elif monotone:
            break
    return found
