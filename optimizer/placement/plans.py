"""Plans of one replica: by SKU and size the one that serves the most, and of a shared GPU by part of time and memory.

The candidates are those of `solve`: every weight format, parallel shape, KV dtype, block size, width of a step and
batch. Of plans that take the same GPUs only the one with the largest capacity can matter. Of plans that share a GPU the
ones that matter are not dominated in bytes and capacity, for each number of servers that may compute at once.
"""

import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from vllm_opt.optimizer.placement.settings import ServiceSetting
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.procurement.columns import ColumnSearch, Entries, Kind
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting


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
    """The plans of whole GPUs; groups stay within the islands.

    A larger size must beat replicas of a smaller one on the same GPUs: they are no harder to place, fail one by one and
    need no link. Where the number of replicas is limited or they are spread, it must beat one replica.
    """

    def __init__(
        self, of: ServiceSetting, setting: SolveSetting, islands: dict[str, int], disks: dict[str, int] | None = None
    ) -> None:
        self.islands, self.disks = islands, disks or {}
        self.many = replicates(of)
        super().__init__(
            setting, by_rate=of.by_rate, sharing=False, shared=of.shared[setting.model.id], target=of.target
        )

    def _classed(self, sharing: bool) -> Entries:
        kept: Entries = {}
        for kind, entries in super()._classed(sharing).items():
            mine = [entry for entry in entries if entry[1].shape.tensor <= self.islands.get(kind.gpu, 0)]
            mine = self._on_disk(kind.gpu, mine)
            if mine:
                kept[kind] = mine
                self.open[kind] = mine[0][0]
            else:
                self.open.pop(kind, None)
        return kept

    def _on_disk(self, gpu: str, entries: list[tuple[int, Server]]) -> list[tuple[int, Server]]:
        """Servers whose checkpoint a disk of its SKU holds; where none does, the lightest, to be explained."""
        if gpu not in self.disks or not entries:
            return entries
        sizes = [checkpoint_bytes(self.search, server) for _, server in entries]
        most = max(self.disks[gpu], min(sizes))
        return [entry for entry, size in zip(entries, sizes, strict=True) if size <= most]

    def _replaced(self, kind: Kind) -> int:
        smaller = (p.capacity[0] for k, p in self.plans.items() if k.gpu == kind.gpu and k.gpus < kind.gpus)
        one = max(smaller, default=0)
        return max(one, super()._replaced(kind)) if self.many else one


@dataclass
class KnownPlans:
    """What services that ask the same of a server have in common, however much traffic each has."""

    disks: dict[str, int] = field(default_factory=dict)
    """SKU -> the largest disk of a node that has it; without those of which a node has no limit"""
    sizes: dict[Hashable, Sizes] = field(default_factory=dict)
    shared: dict[Hashable, dict[int, list[Candidate]]] = field(default_factory=dict)
    """question and SKU -> turns -> operating points that meet the limits at that part of the speed"""

    @staticmethod
    def question(of: ServiceSetting, setting: SolveSetting) -> Hashable:
        """What a server must do, without how much of it."""
        return (
            setting.model.id, setting.request.model_dump_json(), setting.bends, of.by_rate, of.target, replicates(of)
        )  # fmt: skip

    def sizes_of(self, of: ServiceSetting, setting: SolveSetting, islands: dict[str, int]) -> Sizes:
        """The search over sizes, as far as it went for others."""
        question = self.question(of, setting)
        if question not in self.sizes:
            self.sizes[question] = Sizes(of, setting, islands, self.disks)
        return self.sizes[question]


def replicates(of: ServiceSetting) -> bool:
    """Whether a service may have as many replicas as serve it, wherever they stand."""
    return of.spec.replicas.most is None and not of.spec.spread


def checkpoint_bytes(search: Search, server: Server) -> int:
    """Weights of one server over all of its GPUs."""
    facts = search.physics.facts(server.sku, server.weights, server.shape)
    return sum(facts.terms.weights) * facts.layout.tensor_parallel_size


def whole_plans(
    of: ServiceSetting, setting: SolveSetting, islands: dict[str, int], deadline: float, known: KnownPlans
) -> tuple[list[PlacePlan], Search]:
    """The best plan of every size on every SKU, up to the size that serves enough; beyond it nothing can matter."""
    sizes = known.sizes_of(of, setting, islands)
    found: dict[Kind, PlacePlan] = {}
    enough: set[str] = set()
    for gpus in sorted({kind.gpus for kind in (*sizes.open, *sizes.plans)}):
        wanted = [k for k in sizes.open if k.gpus == gpus and k.gpu not in enough and _is_usual(gpus, islands[k.gpu])]
        if wanted and (not sizes.plans or time.monotonic() < deadline):
            sizes.close(wanted, deadline)
        mine = {kind: plan for kind, plan in sizes.plans.items() if kind.gpus == gpus and kind.gpu not in enough}
        for kind, plan in mine.items():
            found[kind] = PlacePlan(of.service, setting, plan.choice(1), plan.capacity[0])
        enough |= {kind.gpu for kind, plan in mine.items() if plan.capacity[0] >= of.enough}
    return [plan for _, plan in sorted(found.items())], sizes.search


def whole_kinds(
    of: ServiceSetting, setting: SolveSetting, islands: dict[str, int], gpus: int, nodes: int
) -> list[PlacePlan]:
    """The best plan of one size."""
    sizes = Sizes(of, setting, islands)
    sizes.close([kind for kind in sizes.open if (kind.gpus, kind.nodes) == (gpus, nodes)])
    return [PlacePlan(of.service, setting, plan.choice(1), plan.capacity[0]) for plan in sizes.plans.values()]


def _is_usual(gpus: int, island: int) -> bool:
    """Powers of two, and whole islands and their multiples: odd sizes leave odd holes."""
    return gpus & (gpus - 1) == 0 or gpus % island == 0
