"""What a search found, and what ruled out the rest."""

from collections import Counter
from dataclasses import dataclass, field

from vllm_opt.optimizer.space.points import Candidate


@dataclass
class SearchResult:
    """What the search found. `dropped` counts, per SKU and rule, the servers that this rule ruled out first."""

    candidates: list[Candidate] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    layouts_considered: int = 0
    layouts_evaluated: int = 0
    complete: bool = True
    open_bounds: tuple[int, ...] = ()
    """When time ran out: a lower bound on each objective over everything that was not visited."""

    def drop(self, sku: str, rule: str) -> None:
        """Count one server that `rule` ruled out."""
        if sku not in self.dropped:
            self.dropped[sku] = Counter()
        self.dropped[sku][rule] += 1
