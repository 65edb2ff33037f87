"""The most that one engine of a server can hold: no activation, no graphs, the highest utilisation, narrowest step."""

from typing import NamedTuple

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.kv.sequence_blocks import SequenceBlocks
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.objective import whole_requests
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting

UNLIMITED = 2**40
"""Requests of an engine whose memory is not asked about."""


class Room(NamedTuple):
    """What a server takes before any flag is chosen: the same on all SKUs of one chip."""

    plan: KvPlan
    weights: tuple[int, ...]
    load_peak: int
    sequences: SequenceBlocks
    """Of the mean context."""


def sequences_of_server(setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]) -> int:
    """At most so many sequences of the mean context does one engine hold; 0 when the weights leave no room."""
    found: int | None = server.remembered.get(active)
    if found is None:
        found = server.remembered[active] = _sequences(setting, physics, server, active)
    return found


def requests_of_server(setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]) -> int:
    """At most so many requests of the full context does one engine hold."""
    if "memory_budget" not in active:
        return UNLIMITED
    room = _room(setting, physics, server, active)
    blocks = None if room is None else _blocks(physics, server, room)
    if room is None or not blocks:
        return 0
    return min(setting.largest_batch, whole_requests(room.plan, blocks, setting.targets.target_context))


def _sequences(setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]) -> int:
    ceiling = setting.largest_batch
    if "memory_budget" not in active:
        return ceiling
    room = _room(setting, physics, server, active)
    if room is None:
        return 0
    blocks = _blocks(physics, server, room)
    if blocks is None:
        return ceiling
    return min(ceiling, room.sequences.sequences(blocks)) if blocks else 0


def _blocks(physics: LayoutPhysics, server: Server, room: Room) -> int | None:
    """Blocks beside the weights; 0 when the weights leave no room, None when no layer keeps a cache."""
    gpu = server.sku.gpu
    if room.load_peak > gpu.memory_bytes:
        return 0
    budget = physics.budgets(gpu)[-1]
    least: int | None = None
    for weights, block in zip(room.weights, room.plan.block_bytes, strict=True):
        if budget < weights:
            return 0
        if block:
            blocks = (budget - weights) // block
            least = blocks if least is None else min(least, blocks)
    return least


def _room(setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str]) -> Room | None:
    """Computed once for all SKUs that share it; None when the attention backends refuse the server."""
    held = "concurrency" in active
    if held not in server.alike:
        server.alike[held] = _room_of(setting, physics, server, held=held)
    found: Room | None = server.alike[held]
    return found


def _room_of(setting: SolveSetting, physics: LayoutPhysics, server: Server, *, held: bool) -> Room | None:
    gpu, targets = server.sku.gpu, setting.targets
    plan = physics.plan(gpu, server.weights, server.shape)
    if isinstance(plan, Violation):
        return None
    context = targets.mean_context if held else 1
    if held and targets.contexts_in_flight is not None:
        context = min(targets.target_context, int(targets.contexts_in_flight.mean_tokens))
    return Room(
        plan=plan,
        weights=physics.weight_bytes(gpu, server.weights, server.shape),
        load_peak=max(physics.load_peak(gpu, server.weights, server.shape), default=0),
        sequences=physics.plans.sequence_blocks(plan, context),
    )
