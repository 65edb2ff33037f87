"""Plans of one server among several on one GPU: a part of its memory, and a part of its time.

**Interference.** Without MPS, a GPU gives all processes on it an equal share of time (NVIDIA, GPU Operator, time-
slicing: https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html), so of n servers with
work each gets 1/n of the time, less what switching takes, for which no figure is given. A plan for n servers meets its
limits at n times the step time of a GPU of its own, and its capacity is 1/n: all others always have work. At the other
end none has, and the speed is that of a GPU of its own; both ends are shown.
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from vllm_opt.optimizer.placement.plans import KnownPlans, PlacePlan, checkpoint_bytes
from vllm_opt.optimizer.placement.settings import ServiceSetting
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.procurement.columns import MICRO, PercentileTarget
from vllm_opt.optimizer.procurement.sharing import cut_setting
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.search.units import pieces_of
from vllm_opt.optimizer.space.latency_limits import feasible_part
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting

TURNS = (2, 3, 4)
"""servers that may compute on one GPU at once"""
LARGEST_PART = Fraction(3, 4)
"""of a GPU's memory that one of several servers has at most"""
SERVERS_TRIED = 4
"""weight formats and shapes of one GPU that are sized for sharing, best first"""
LOWEST_STEP = 0.005
LEAST_SHARED_BYTES = 16 << 30
"""memory below which a GPU is not shared: contexts and activations of several servers would leave little for weights"""


def shared_plans(of: ServiceSetting, setting: SolveSetting, search: Search, known: KnownPlans) -> list[PlacePlan]:
    """Plans on a part of one GPU, for every SKU and number of servers in turns; dominated ones left out."""
    found: list[PlacePlan] = []
    for sku in setting.gpus:
        if sku.gpu.memory_bytes >= LEAST_SHARED_BYTES:
            mine: list[PlacePlan] = []
            candidates = _known_candidates(of, setting, search, sku, known)
            for turns in reversed(TURNS):
                chosen = _chosen(of, _in_turns(of, setting, candidates[turns], turns))
                mine += [plan for plan in chosen if not any(_replaces(of, other, plan) for other in mine)]
            found += mine
    return found


def _known_candidates(
    of: ServiceSetting, setting: SolveSetting, search: Search, sku: PricedGpu, known: KnownPlans
) -> dict[int, list[Candidate]]:
    """Turns -> operating points on a part of one GPU, looked for once."""
    key = known.question(of, setting), sku.gpu.id
    if key not in known.shared:
        alone = [server for server in search.servers.of(sku) if server.shape.gpus == 1]
        disk = known.disks.get(sku.gpu.id)
        if disk is not None and alone:
            sizes = [checkpoint_bytes(search, server) for server in alone]
            most = max(disk, min(sizes))
            alone = [server for server, size in zip(alone, sizes, strict=True) if size <= most]
        lightest = sorted(alone, key=lambda server: _least_weights(search, server))[:SERVERS_TRIED]
        found = _candidates(setting, search, lightest) if lightest else []
        known.shared[key] = {turns: _within_limits(setting, found, turns) for turns in TURNS}
    return known.shared[key]


def in_turns(of: ServiceSetting, setting: SolveSetting, turns: int) -> list[PlacePlan]:
    """Plans on one GPU that is shared in turns, bytes and capacity ascending."""
    search = Search(setting, shared=of.shared.get(setting.model.id))
    servers = [server for sku in setting.gpus for server in search.servers.of(sku) if server.shape.gpus == 1]
    lightest = sorted(servers, key=lambda server: _least_weights(search, server))[:SERVERS_TRIED]
    kept = _within_limits(setting, _candidates(setting, search, lightest), turns)
    return _in_turns(of, setting, kept, turns)


def _replaces(of: ServiceSetting, one: PlacePlan, other: PlacePlan) -> bool:
    """Whether a plan for at least as many turns takes no more memory and serves as much, or all that counts."""
    return one.bytes_per_gpu <= other.bytes_per_gpu and one.capacity >= min(other.capacity, of.whole)


def _chosen(of: ServiceSetting, plans: list[PlacePlan]) -> list[PlacePlan]:
    """The lightest that serves enough; else the lightest that serves the demand; else the one that serves most.

    `plans` ascend in bytes and in capacity.
    """
    part = -(-of.demand // of.spec.replicas.least)
    chosen = [next((plan for plan in plans if plan.capacity >= least), None) for least in (of.enough, part)]
    return [plan for plan in chosen if plan is not None][:1] or plans[-1:]


def _least_weights(search: Search, server: Server) -> int:
    return max(search.physics.facts(server.sku, server.weights, server.shape).terms.weights)


def _candidates(setting: SolveSetting, search: Search, servers: Iterable[Server]) -> list[Candidate]:
    """Operating points in the largest part of the memory, with fewer sequences in less of it; speeds of a whole GPU."""
    cut = cut_setting(setting, TURNS[0])
    pieces = []
    for server in servers:
        facts = search.physics.facts(server.sku, server.weights, server.shape)
        unit = part_of(Unit(facts, server.shape, 1), LARGEST_PART)
        pieces += [] if unit is None else pieces_of(cut, unit, ALL_RULES)
    return evaluate(cut, pieces, asked=False)


def _within_limits(setting: SolveSetting, candidates: Iterable[Candidate], turns: int) -> list[Candidate]:
    """What of the operating points meets the limits at 1/n of the speed."""
    cut = cut_setting(setting, turns)
    return [kept for each in candidates if (kept := feasible_part(cut, each, ALL_RULES)[0]) is not None]


def _in_turns(
    of: ServiceSetting, setting: SolveSetting, candidates: Iterable[Candidate], turns: int
) -> list[PlacePlan]:
    """The plans at 1/n of the speed, bytes and capacity ascending."""
    plans = _undominated([plan for each in candidates for plan in _points(of, setting, each, turns)])
    target = None if of.target is None else of.target.in_turns(turns)
    if target is None:
        return plans
    held = [replace(plan, capacity=min(plan.capacity, _held(target, plan) // turns)) for plan in plans]
    return _undominated([plan for plan in held if plan.capacity >= 1])


def _held(target: PercentileTarget, plan: PlacePlan) -> int:
    """What a server on a GPU of its own serves at random arrivals within limits at a percentile."""
    rate = target.rate(plan.choice.unit, plan.choice.max_num_seqs, plan.choice.max_num_batched_tokens)
    return math.floor(rate * MICRO) if math.isfinite(rate) else plan.capacity * plan.turns


def part_of(unit: Unit, part: Fraction) -> Unit | None:
    """The unit with part of its GPU's memory as its budget; None when its weights leave no room."""
    facts = unit.facts
    total = facts.terms.total_bytes
    rounding = math.ceil if facts.setting.engine.budget_rounding == "ceil" else math.floor
    ceiling = math.floor(total * part)
    steps = [round(i * LOWEST_STEP, 3) for i in range(1, 200) if rounding(total * round(i * LOWEST_STEP, 3)) <= ceiling]
    if not steps or max((*facts.terms.weights, *facts.terms.load_peak)) >= ceiling:
        return None
    budgets = tuple(rounding(total * step) for step in steps)
    return replace(unit, facts=replace(facts, utilizations=tuple(steps), budgets=budgets))


def _points(of: ServiceSetting, setting: SolveSetting, candidate: Candidate, turns: int) -> list[PlacePlan]:
    if of.by_rate:
        value = candidate.bound_tokens_per_s / setting.lengths[1] * MICRO / turns
    else:
        value = candidate.sequences.astype(np.float64) * candidate.unit.engines
    best = int(value.argmax())
    part = -(-of.demand // of.spec.replicas.least)
    firsts = (np.flatnonzero(value >= least) for least in (part, of.enough))
    chosen = {best, *(int(first[0]) for first in firsts if len(first))}
    plans = []
    for at in sorted(chosen):
        capacity, sequences = math.floor(value[at]), int(candidate.sequences[at])
        step = least_utilization(setting, candidate, sequences)
        if capacity >= 1 and step is not None:
            choice = Choice(candidate.unit, candidate.max_num_batched_tokens, sequences, step)
            plans.append(PlacePlan(of.service, setting, choice, capacity, turns))
    return plans


def least_utilization(setting: SolveSetting, candidate: Candidate, sequences: int) -> float | None:
    """The lowest gpu_memory_utilization whose budget holds the KV blocks that a point needs."""
    facts, tokens = candidate.unit.facts, candidate.max_num_batched_tokens
    terms = facts.terms
    needed = max(
        terms.kv.startup_blocks(setting.targets.target_context, tokens), facts.blocks_needed(sequences, tokens)
    )
    outside = terms.outside_kv_bytes(tokens, sequences, facts.confidence)
    least = max(rest + needed * block for rest, block in zip(outside, terms.kv.block_bytes, strict=True))
    headroom = terms.headroom_needed_bytes(tokens, sequences, facts.confidence)
    steps = zip(facts.utilizations, facts.budgets, strict=True)
    return next((step for step, budget in steps if least <= budget <= terms.total_bytes - headroom), None)


def _undominated(plans: list[PlacePlan]) -> list[PlacePlan]:
    """Of plans on one SKU for as many turns, those that no other beats in bytes and capacity."""
    kept: list[PlacePlan] = []
    for plan in sorted(plans, key=lambda p: (p.bytes_per_gpu, -p.capacity)):
        if not kept or plan.capacity > kept[-1].capacity:
            kept.append(plan)
    return kept
