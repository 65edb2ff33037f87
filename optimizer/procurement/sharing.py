"""Servers that share a GPU: each has one part of its memory, its CUDA context included, and of its time."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES
from vllm_opt.optimizer.search.units import Pieces, pieces_of
from vllm_opt.optimizer.space.latency_limits import feasible_part, refined_pieces
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import SolveSetting

SHARES = (2, 4)
"""a shared GPU is cut in two or four"""
CONTEXT_RESERVE_BYTES = 2 << 30
"""what one server keeps outside its memory budget at most: CUDA context and graphs before 0.20; checked exactly"""


def cut_setting(setting: SolveSetting, cut: int) -> SolveSetting:
    """Limits on latency as the whole GPU must meet them when the server gets one part of its time."""
    targets = setting.targets
    changed = {
        name: value / cut for name in ("max_ttft_ms", "max_tpot_ms") if (value := getattr(targets, name)) is not None
    }
    return replace(setting, targets=targets.model_copy(update=changed))


def may_hold(physics: LayoutPhysics, server: Server, cut: int) -> bool:
    """Whether one part of the memory may hold the weights of a server."""
    weights = physics.weight_bytes(server.sku.gpu, server.weights, server.shape)
    return max(weights) < server.sku.gpu.memory_bytes // cut - CONTEXT_RESERVE_BYTES


def cut_units(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], cut: int) -> Pieces:
    """What one part of the memory admits, with CUDA graphs and in eager mode."""
    pieces: Pieces = []
    for server in servers:
        captured = physics.facts(server.sku, server.weights, server.shape)
        for facts in (captured, physics.eager_facts(captured)):
            unit = _cut_unit(Unit(facts, server.shape, 1), cut)
            pieces += [] if unit is None else pieces_of(setting, unit, ALL_RULES)
    return pieces


def points_in_parts(setting: SolveSetting, physics: LayoutPhysics, servers: list[Server], cut: int) -> list[Candidate]:
    """The points of servers that have one part of a GPU each."""
    setting = cut_setting(setting, cut)
    found = evaluate(setting, cut_units(setting, physics, servers, cut), asked=False)
    found += evaluate(setting, refined_pieces(setting, found, ALL_RULES), asked=False)
    return [kept for one in found if (kept := feasible_part(setting, one, ALL_RULES)[0]) is not None]


def _cut_unit(unit: Unit, cut: int) -> Unit | None:
    """The unit with one part of its GPU's memory; None when its weights leave no room."""
    facts = unit.facts
    total = facts.terms.total_bytes
    ceiling = total // cut - CONTEXT_RESERVE_BYTES
    rounding = math.ceil if facts.setting.engine.budget_rounding == "ceil" else math.floor
    steps = [step for step in (i * 0.005 for i in range(1, 200)) if rounding(total * step) <= ceiling]
    if not steps or max((*facts.terms.weights, *facts.terms.load_peak)) >= ceiling:
        return None
    steps = [round(step, 3) for step in steps]
    budgets = tuple(rounding(total * step) for step in steps)
    return replace(unit, facts=replace(facts, utilizations=tuple(steps), budgets=budgets))


def leaves_context_room(candidate: Candidate) -> NDArray[np.bool_]:
    """Which points leave what stands outside the budget within its reserve."""
    facts, width = candidate.unit.facts, candidate.max_num_batched_tokens
    outside = [
        facts.terms.headroom_needed_bytes(width, sequences, facts.confidence)
        for sequences in candidate.sequences.tolist()
    ]
    return np.array(outside) <= CONTEXT_RESERVE_BYTES
