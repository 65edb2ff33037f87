"""The searches behind one workload's columns, and what their plans serve of each of its bars."""

from dataclasses import dataclass, field, replace

from vllm_opt.optimizer.procurement.bar_columns import BarSearch
from vllm_opt.optimizer.procurement.buckets import bucket_capacities
from vllm_opt.optimizer.procurement.columns import ColumnSearch, ReplicaPlan
from vllm_opt.optimizer.procurement.request import WorkloadDemand

Bars = tuple[int, ...]
Alone = tuple[tuple["WorkloadColumns", Bars], ...]
"""The columns of the workloads of a pool, each with the numbers of its bars in the pool's histogram."""
Members = dict[str, Alone]
"""By the name of the pool."""


@dataclass(frozen=True)
class WorkloadColumns:
    """One workload's searches; `own` says of those that serve some of its bars only which these are."""

    workload: WorkloadDemand
    searches: tuple[ColumnSearch | BarSearch, ...]
    own: dict[int, Bars] = field(default_factory=dict)
    bounded: bool = True
    """whether the searches bound every plan that may serve it, alone or shared"""

    @property
    def routed(self) -> bool:
        """Whether its requests are routed by length over a few plans that are tuned for typical ones."""
        return len(self.workload.buckets) > 1 and not self.by_bar

    @property
    def by_bar(self) -> bool:
        """Whether its requests are routed by length over every plan."""
        return any(isinstance(search, BarSearch) for search in self.searches)

    def served_by(self, search: int, plan: ReplicaPlan) -> tuple[int, ...]:
        """What a plan of one of the searches serves of every bar, alone."""
        if self.routed:
            limits = self.workload.max_ttft_ms, self.workload.max_tpot_ms
            return bucket_capacities(plan, self.workload.buckets, limits)
        return self._spread(search, plan.capacity)

    def ceilings(self, search: int, ceiling: int | tuple[int, ...]) -> tuple[int, ...]:
        """What no plan of an open class exceeds, for every bar."""
        return self._spread(search, ceiling if isinstance(ceiling, tuple) else (ceiling,))

    def _spread(self, search: int, vector: tuple[int, ...]) -> tuple[int, ...]:
        if search not in self.own:
            return vector
        of_bar = dict(zip(self.own[search], vector, strict=True))
        return tuple(of_bar.get(bar, 0) for bar in range(len(self.workload.buckets)))


def with_members(pool: WorkloadColumns, alone: Alone, spares: int) -> WorkloadColumns:
    """A pool with the replicas that each of its workloads would have alone: they serve nothing else.

    Spares are counted per plan where lengths are routed, and over all plans where they are not: with `spares` a pool
    does not hold what its workloads have alone.
    """
    pool = replace(pool, bounded=not pool.routed and all(item.bounded for item, _ in alone))
    if not alone or not pool.by_bar:
        return replace(pool, bounded=pool.bounded and len({bars for _, bars in alone}) <= 1)
    searches, own = list(pool.searches), {}
    for item, bars in alone:
        for search in item.searches if not item.routed else ():
            own[len(searches)] = bars
            searches.append(search)
    return replace(pool, searches=tuple(searches), own=own, bounded=pool.bounded and not spares)
