"""Plans of one replica: by SKU and size the one that serves the most, and of a shared GPU by part of time and memory.

The candidates are those of `solve`: every weight format, parallel shape, KV dtype, block size, width of a step and
batch. Of plans that take the same GPUs only the one with the largest capacity can matter. Of plans that share a GPU the
ones that matter are not dominated in bytes and capacity, for each number of servers that may compute at once.

**Interference.** Without MPS, processes on one GPU take turns of equal length (NVIDIA, CUDA time-slicing:
https://docs.nvidia.com/datacenter/cloud-native/gpu-operator/latest/gpu-sharing.html), so of n servers with work each
gets at least 1/n of the time. A plan for n servers meets its limits at n times the step time of a GPU of its own, and
its capacity is 1/n: the worst case, in which all others always have work. The best case is the speed of a GPU of its
own, in which none has; both ends are shown.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from vllm_opt.optimizer.placement.settings import ServiceSetting
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.procurement.columns import MICRO, ColumnSearch, Entries, Kind
from vllm_opt.optimizer.procurement.sharing import cut_setting
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.search.units import pieces_of
from vllm_opt.optimizer.space.latency_limits import feasible_part
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import SolveSetting

TURNS = (2, 3, 4)
"""servers that may compute on one GPU at once"""
LARGEST_PART = Fraction(3, 4)
"""of a GPU's memory that one of several servers has at most"""
SERVERS_TRIED = 4
"""weight formats and shapes of one GPU that are sized for sharing, best first"""
LOWEST_STEP = 0.005
LEAST_SHARED_BYTES = 16 << 30
"""memory below which a GPU is not shared: contexts and activations of several servers would leave little for weights"""


@dataclass(frozen=True, eq=False)
class PlacePlan:
    """One way to run one replica."""

    service: int
    setting: SolveSetting
    choice: Choice
    capacity: int
    """millionths of a request per second, or sequences"""
    turns: int = 1
    """servers that may compute on its GPU at once, itself included"""
    sleeps: bool = False

    @property
    def gpu(self) -> str:
        """SKU."""
        return self.choice.unit.facts.sku.gpu.id

    @property
    def outside_bytes(self) -> int:
        """What stands outside the memory budget of each GPU."""
        return self.choice.unit.facts.terms.headroom_needed_bytes(
            self.choice.max_num_batched_tokens, self.choice.max_num_seqs, self.setting.request.confidence
        )

    @property
    def bytes_per_gpu(self) -> int:
        """Budget and what stands outside it."""
        terms = self.choice.unit.facts.terms
        return terms.budget_bytes(self.choice.gpu_memory_utilization) + self.outside_bytes

    @property
    def asleep_bytes(self) -> int:
        """What stays on the GPU while it sleeps: context, what libraries took, CUDA graphs."""
        terms, confidence = self.choice.unit.facts.terms, self.setting.request.confidence
        graphs = terms.graph_bytes(self.choice.max_num_batched_tokens, self.choice.max_num_seqs, confidence)
        return self.outside_bytes + terms.non_torch.at(confidence) + graphs

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights over all GPUs of a replica: what its checkpoint takes on a disk, rounded up."""
        terms, layout = self.choice.unit.facts.terms, self.choice.unit.facts.layout
        return sum(terms.weights) * layout.tensor_parallel_size


class Sizes(ColumnSearch):
    """The plans of whole GPUs; groups stay within the islands, and a larger size must beat one replica of a smaller."""

    def __init__(self, of: ServiceSetting, setting: SolveSetting, islands: dict[str, int]) -> None:
        self.islands = islands
        super().__init__(setting, by_rate=of.by_rate, sharing=False, shared=of.shared[setting.model.id])

    def _classed(self, sharing: bool) -> Entries:
        kept: Entries = {}
        for kind, entries in super()._classed(sharing).items():
            mine = [entry for entry in entries if entry[1].shape.tensor <= self.islands.get(kind.gpu, 0)]
            if mine:
                kept[kind] = mine
                self.open[kind] = mine[0][0]
            else:
                self.open.pop(kind, None)
        return kept

    def _replaced(self, kind: Kind) -> int:
        smaller = (p.capacity[0] for k, p in self.plans.items() if k.gpu == kind.gpu and k.gpus < kind.gpus)
        return max(smaller, default=0)


def whole_plans(
    of: ServiceSetting, setting: SolveSetting, islands: dict[str, int], deadline: float
) -> tuple[list[PlacePlan], Search]:
    """The best plan of every size on every SKU, up to the size that serves enough; beyond it nothing can matter."""
    sizes = Sizes(of, setting, islands)
    for gpus in sorted({kind.gpus for kind in sizes.open}):
        enough = {kind.gpu for kind, plan in sizes.plans.items() if plan.capacity[0] >= of.enough}
        wanted = [k for k in sizes.open if k.gpus == gpus and k.gpu not in enough and _is_usual(gpus, islands[k.gpu])]
        if wanted and (not sizes.plans or time.monotonic() < deadline):
            sizes.close(wanted, deadline)
    plans = [
        PlacePlan(of.service, setting, plan.choice(1), plan.capacity[0]) for _, plan in sorted(sizes.plans.items())
    ]
    return plans, sizes.search


def whole_kinds(
    of: ServiceSetting, setting: SolveSetting, islands: dict[str, int], gpus: int, nodes: int
) -> list[PlacePlan]:
    """The best plan of one size."""
    sizes = Sizes(of, setting, islands)
    sizes.close([kind for kind in sizes.open if (kind.gpus, kind.nodes) == (gpus, nodes)])
    return [PlacePlan(of.service, setting, plan.choice(1), plan.capacity[0]) for plan in sizes.plans.values()]


def in_turns(of: ServiceSetting, setting: SolveSetting, turns: int) -> list[PlacePlan]:
    """Plans on one GPU that is shared in turns, bytes and capacity ascending."""
    search = Search(setting, shared=of.shared.get(setting.model.id))
    servers = [server for sku in setting.gpus for server in search.servers.of(sku) if server.shape.gpus == 1]
    lightest = sorted(servers, key=lambda server: _least_weights(search, server))[:SERVERS_TRIED]
    return _in_turns(of, setting, _candidates(setting, search, lightest), turns)


def _is_usual(gpus: int, island: int) -> bool:
    """Powers of two, and whole islands and their multiples: odd sizes leave odd holes."""
    return gpus & (gpus - 1) == 0 or gpus % island == 0


def shared_plans(of: ServiceSetting, setting: SolveSetting, search: Search) -> list[PlacePlan]:
    """Plans on a part of one GPU, for every SKU and number of servers in turns; dominated ones left out."""
    found: list[PlacePlan] = []
    for sku in setting.gpus:
        alone = [server for server in search.servers.of(sku) if server.shape.gpus == 1]
        lightest = sorted(alone, key=lambda server: _least_weights(search, server))[:SERVERS_TRIED]
        if lightest and sku.gpu.memory_bytes >= LEAST_SHARED_BYTES:
            mine: list[PlacePlan] = []
            candidates = _candidates(setting, search, lightest)
            for turns in reversed(TURNS):
                chosen = _chosen(of, _in_turns(of, setting, candidates, turns))
                mine += [plan for plan in chosen if not any(_replaces(of, other, plan) for other in mine)]
            found += mine
    return found


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


def _in_turns(
    of: ServiceSetting, setting: SolveSetting, candidates: Iterable[Candidate], turns: int
) -> list[PlacePlan]:
    """The plans that meet the limits at 1/n of the speed, bytes and capacity ascending."""
    cut = cut_setting(setting, turns)
    kept = [one for each in candidates if (one := feasible_part(cut, each, ALL_RULES)[0]) is not None]
    return _undominated([plan for each in kept for plan in _points(of, setting, each, turns)])


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
