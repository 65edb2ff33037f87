"""What decides, in which order, and how much of each may be conceded for what comes after it.

    first objective              least, then anything within `tolerance` of it (relative)
    publisher of the weights     as published, official, vendor, made at load, community, to be made
    second objective             best, then anything within SECOND_SLACK of it
    further objectives           best
    TTFT                         least; eager mode after every layout with CUDA graphs
    preference                   fewest GPUs, the better weights, the simpler flags

Where cost is no objective it comes right after the objectives that are: within the tolerance nobody pays more for
nothing; cost or GPUs alone are followed by throughput. With tolerance 0 the order is strict: the objectives, then
preference, whose first places are the fewest GPUs and the publisher.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from vllm_opt.optimizer.space.objective import worst_within
from vllm_opt.optimizer.space.weights import WeightFormat

SECOND_SLACK = 0.02
Key = tuple[float, ...]


def capped_quality(weights: WeightFormat) -> float:
    """Recovery against 16 bit; a score above it is chance, and unknown counts as nothing."""
    return weights.quality.recovery or 0.0


@dataclass(frozen=True)
class Order:
    """The order of one request. `names`: the objectives that decide, those that nobody named appended."""

    names: tuple[str, ...]
    tolerance: float

    @classmethod
    def of(cls, objectives: Sequence[str], tolerance: float) -> "Order":
        """The order of these objectives."""
        names = tuple(objectives)
        if tolerance > 0 and not {"cost", "gpus", "efficiency"} & set(names):
            names = (*names, "cost")
        if tolerance > 0 and len(names) < 2:
            names = (*names, "throughput")
        return cls(names, tolerance)

    def slack(self, position: int) -> float:
        """How much of the objective at this position may be conceded, relative."""
        if self.strict or position > 1:
            return 0.0
        return self.tolerance if position == 0 else SECOND_SLACK

    @property
    def strict(self) -> bool:
        """Whether nothing is conceded."""
        return self.tolerance == 0

    def key(self, values: Sequence[float], gpu_count: int, weights: WeightFormat) -> Key:
        """What decides of a point or of a server's bounds: first objective, publisher or not, the rest, likings."""
        return self.keys()(values, gpu_count, weights)

    def keys(self) -> Callable[[Sequence[float], int, WeightFormat], Key]:
        """`key` for many servers, few of whose weight formats differ."""
        known: dict[int, tuple[WeightFormat, int, float]] = {}
        strict = self.strict

        def key(values: Sequence[float], gpu_count: int, weights: WeightFormat) -> Key:
            liked = known.get(id(weights))
            if liked is None:
                liked = known[id(weights)] = weights, weights.publisher_rank, -capped_quality(weights)
            _, rank, quality = liked
            if strict:
                return *values, gpu_count, rank, quality
            first, *rest = values
            return first, rank, *rest, gpu_count, rank, quality

        return key

    def ranked(
        self, values: Sequence[Sequence[int]], gpu_counts: Sequence[int], weights: Sequence[WeightFormat]
    ) -> list[int]:
        """The places of many servers, ascending by what `keys` makes of them; of equal ones the earlier first."""
        names = [id(one) for one in weights]
        formats = dict(zip(names, weights, strict=True))
        numbers = {name: number for number, name in enumerate(formats)}
        place = np.array([numbers[name] for name in names])
        ranks = np.array([one.publisher_rank for one in formats.values()])[place]
        quality = np.array([-capped_quality(one) for one in formats.values()])[place]
        first, *rest = np.array(values, dtype=np.int64).T
        leading = (first, *rest) if self.strict else (first, ranks, *rest)
        found: list[int] = np.lexsort((quality, ranks, np.array(gpu_counts), *reversed(leading))).tolist()
        return found

    def window(self, best: float) -> float:
        """The worst first objective that can still win beside a `best` one."""
        return worst_within(self.names[0], best, self.tolerance)

    def worst(self, position: int, best: float) -> float:
        """The worst integer of the objective at this position that later turns may still concede."""
        return worst_within(self.names[position], best, self.slack(position))

    def surely_better(self, key: Key, bound: Key) -> bool:
        """Whether a point beats everything that a bound allows, both inside the window of the first objective."""
        if self.strict:
            return key < bound
        if key[1] != bound[1]:
            return key[1] < bound[1]
        return worst_within(self.names[1], key[2], SECOND_SLACK) < bound[2]
