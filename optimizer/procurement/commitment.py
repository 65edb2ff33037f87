"""Two stages: what to sign now, and what to take hour by hour, at the least expected cost over weeks and scenarios.

Every workload runs on one SKU, by its plan with the most capacity per GPU; which SKU is decided now. GPUs of a SKU that
are committed (owned or reserved) are paid in every hour, and whatever an hour of a scenario needs beyond them is taken
on demand. With u the GPUs that an hour needs, W its probability and q its price, the n-th committed GPU saves
sum(W q [u >= n]) per hour: GPUs are committed as long as that is more than their rate, which is optimal for given SKUs.
All assignments of SKUs are compared by a lower bound, cheapest first, until no other can win.

Hours may be missed: those whose recourse costs the most are served by the committed GPUs alone, as far as the service
level allows. Savings from that are bounded from above, so the gap that is shown holds.
"""

import math
import time
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.procurement.scenarios import HOURS_PER_WEEK, ServiceLevel

MOST_ASSIGNMENTS = 20_000
SKIP_ROUNDS = 4


@dataclass(frozen=True)
class Choice:
    """One way to serve a workload: a plan on a SKU."""

    gpu: str
    gpus: float
    """of one replica"""
    capacity: float
    """of one replica, in the unit of demand"""
    column: str


@dataclass(frozen=True)
class Tier:
    """GPUs of a SKU that can be committed to at one rate."""

    kind: str
    usd_per_gpu_hour: float
    most: int | None


@dataclass(frozen=True)
class CommitmentProblem:
    """Demand by workload, scenario and hour, and rates."""

    workloads: tuple[str, ...]
    demand: NDArray[np.float64]
    """(workload, scenario, hour)"""
    probability: NDArray[np.float64]
    """of each scenario, summing to 1"""
    choices: tuple[tuple[tuple[Choice, ...], ...], ...]
    """workload -> scenario -> one choice per SKU, in the order of `gpus`; those without are left out"""
    gpus: tuple[str, ...]
    tiers: dict[str, tuple[Tier, ...]]
    """SKU -> tiers, cheapest first"""
    recourse: NDArray[np.float64]
    """(SKU, scenario) -> USD per GPU-hour beyond what is committed"""
    level: ServiceLevel


@dataclass(frozen=True)
class CommitmentOutcome:
    """The best commitment found."""

    assignment: tuple[str, ...]
    """SKU of every workload"""
    committed: dict[str, int]
    """SKU -> GPUs"""
    usd_per_hour: float
    bound: float
    missed: NDArray[np.bool_]
    """(scenario, hour): load beyond the committed GPUs is missed"""
    replicas: NDArray[np.int64]
    """(workload, scenario, hour)"""
    used: dict[str, NDArray[np.int64]]
    """SKU -> GPUs needed, (scenario, hour)"""
    assignments: int
    compared: int

    @property
    def gap(self) -> float:
        """Relative distance of the cost from its bound."""
        return max(0.0, 1 - self.bound / self.usd_per_hour) if self.usd_per_hour else 0.0


def commit(problem: CommitmentProblem, end: float) -> CommitmentOutcome | None:
    """The best commitment; None where a workload has no plan on any SKU in some scenario."""
    able = _assignments(problem)
    if not able:
        return None
    search = _Search(problem)
    ranked = sorted((search.bound(gpus), gpus) for gpus in able)
    best: CommitmentOutcome | None = None
    compared = 0
    for bound, gpus in ranked:
        if best is not None and (bound >= best.usd_per_hour or time.monotonic() > end):
            break
        compared += 1
        found = search.decided(gpus)
        if best is None or found.usd_per_hour < best.usd_per_hour:
            best = found
    assert best is not None
    least = min(ranked[0][0], best.usd_per_hour)
    return CommitmentOutcome(
        best.assignment, best.committed, best.usd_per_hour, least, best.missed, best.replicas, best.used, len(able),
        compared,
    )  # fmt: skip


def _assignments(problem: CommitmentProblem) -> list[tuple[str, ...]]:
    """Every way to give each workload one SKU on which it has a plan in all scenarios; the cheapest where too many."""
    options = []
    for w in range(len(problem.workloads)):
        mine = set(problem.gpus)
        for choices in problem.choices[w]:
            mine &= {choice.gpu for choice in choices}
        options.append(sorted(mine, key=lambda gpu: (_price_of(problem, w, gpu), gpu)))
    while math.prod(len(each) for each in options) > MOST_ASSIGNMENTS:
        longest = max(range(len(options)), key=lambda w: len(options[w]))
        options[longest] = options[longest][:-1]
    return list(product(*options))


def _price_of(problem: CommitmentProblem, w: int, gpu: str) -> float:
    """Rate per unit of capacity in the first scenario: what is left out first."""
    choice = next(choice for choice in problem.choices[w][0] if choice.gpu == gpu)
    return float(problem.recourse[problem.gpus.index(gpu), 0]) * choice.gpus / choice.capacity


class _Search:
    """What assignments of SKUs have in common."""

    def __init__(self, problem: CommitmentProblem) -> None:
        self.problem = problem
        self.weight = np.repeat(problem.probability[:, None] / HOURS_PER_WEEK, HOURS_PER_WEEK, axis=1)
        self.replicas = {
            (w, gpu): self._replicas(w, gpu)
            for w in range(len(problem.workloads))
            for gpu in problem.gpus
            if all(any(choice.gpu == gpu for choice in choices) for choices in problem.choices[w])
        }

    def _replicas(self, w: int, gpu: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Replicas and GPUs of a workload on a SKU, (scenario, hour)."""
        chosen = [next(c for c in choices if c.gpu == gpu) for choices in self.problem.choices[w]]
        capacity = np.array([choice.capacity for choice in chosen])[:, None]
        counts = np.ceil(self.problem.demand[w] / capacity - 1e-9).astype(np.int64)
        return counts, counts * np.array([choice.gpus for choice in chosen])[:, None]

    def used(self, gpus: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """SKU -> whole GPUs that every hour of every scenario needs."""
        found: dict[str, NDArray[np.float64]] = {}
        for w, gpu in enumerate(gpus):
            needed = self.replicas[w, gpu][1]
            found[gpu] = found[gpu] + needed if gpu in found else needed
        return {gpu: np.ceil(needed - 1e-9).astype(np.int64) for gpu, needed in found.items()}

    def _committed(
        self, gpu: str, used: NDArray[np.int64], weight: NDArray[np.float64], price: NDArray[np.float64]
    ) -> tuple[int, float]:
        """GPUs of one SKU to commit to, and what they and the rest cost per hour."""
        saved = np.bincount(used.ravel(), weights=(weight * price[:, None]).ravel())
        saved = np.cumsum(saved[::-1])[::-1][1:]  # entry n - 1: sum of W q over hours that need at least n
        done, cost = 0, 0.0
        for tier in self.problem.tiers.get(gpu, ()):
            more = int(np.searchsorted(-saved, -tier.usd_per_gpu_hour, side="left"))
            upto = min(more, done + tier.most) if tier.most is not None else more
            if upto > done:
                cost += tier.usd_per_gpu_hour * (upto - done)
                done = upto
        return done, cost + float(saved[done:].sum())

    def bound(self, gpus: tuple[str, ...]) -> float:
        """What no commitment with these SKUs costs less than, whichever hours are missed."""
        level, total = self.problem.level, 0.0
        used = self.used(gpus)
        for gpu, needed in used.items():
            price = self.problem.recourse[self.problem.gpus.index(gpu)]
            if level.missed_hours:
                total += self._least_with_misses(gpu, needed, price, level.missed_hours)
            else:
                total += self._committed(gpu, needed, self.weight, price)[1]
        if level.cvar is not None:
            most = float(sum(needed for needed in used.values()).max())  # type: ignore[union-attr]
            total -= float(self.problem.recourse.max()) * level.cvar * level.tail * most
        return max(0.0, total)

    def _least_with_misses(
        self, gpu: str, needed: NDArray[np.int64], price: NDArray[np.float64], share: float
    ) -> float:
        """The least cost of one SKU if it might miss the hours that cost it the most; of the last one a part."""
        tiers = self.problem.tiers.get(gpu, ())
        offered = sum(tier.most for tier in tiers if tier.most is not None)
        most = int(needed.max()) if any(tier.most is None for tier in tiers) else min(int(needed.max()), offered)
        width = int(needed.max()) + 1
        mass = np.bincount(
            (np.arange(len(price))[:, None] * width + needed).ravel(), weights=self.weight.ravel()
        )  # fmt: skip
        places = np.flatnonzero(mass)
        weight, prices, counts = mass[places], price[places // width], places % width
        least = math.inf
        for committed in range(most + 1):
            beyond = prices * np.maximum(0, counts - committed)
            order = np.argsort(-beyond, kind="stable")
            sorted_weight = weight[order]
            before = np.cumsum(sorted_weight) - sorted_weight
            kept = sorted_weight - np.clip(share - before, 0.0, sorted_weight)
            least = min(least, rate_of(tiers, committed) + float((beyond[order] * kept).sum()))
        return least

    def decided(self, gpus: tuple[str, ...]) -> CommitmentOutcome:
        """Commit, miss the dearest hours that may be missed, and commit anew to what is left, a few times over."""
        problem, used = self.problem, self.used(gpus)
        missed = np.zeros(self.weight.shape, dtype=bool)
        best: tuple[float, dict[str, int], NDArray[np.bool_]] | None = None
        for _ in range(SKIP_ROUNDS):
            weight = np.where(missed, 0.0, self.weight)
            committed = {
                gpu: self._committed(gpu, needed, weight, problem.recourse[problem.gpus.index(gpu)])[0]
                for gpu, needed in used.items()
            }
            missed = self._missed(used, committed)
            cost = self._cost(used, committed, missed)
            if best is None or cost < best[0] - 1e-12:
                best = cost, committed, missed
            else:
                break
        assert best is not None
        replicas = np.stack([self.replicas[w, gpu][0] for w, gpu in enumerate(gpus)])
        return CommitmentOutcome(gpus, best[1], best[0], 0.0, best[2], replicas, used, 0, 0)

    def _beyond(self, used: dict[str, NDArray[np.int64]], committed: dict[str, int]) -> NDArray[np.float64]:
        """USD of every hour beyond what is committed."""
        cost = np.zeros(self.weight.shape)
        for gpu, needed in used.items():
            price = self.problem.recourse[self.problem.gpus.index(gpu)][:, None]
            cost += price * np.maximum(0, needed - committed[gpu])
        return cost

    def _missed(self, used: dict[str, NDArray[np.int64]], committed: dict[str, int]) -> NDArray[np.bool_]:
        """The hours that save the most for what missing them takes of the service level."""
        level, beyond = self.problem.level, self._beyond(used, committed)
        taken, room = self.weight, level.missed_hours
        if level.cvar is not None:
            whole = np.maximum(1, sum(used.values()))
            lacking = sum(np.maximum(0, needed - committed[gpu]) for gpu, needed in used.items())
            taken, room = self.weight * lacking / whole / level.tail, level.cvar
        worth = np.where(beyond > 0, beyond * self.weight / np.maximum(taken, 1e-300), 0.0)
        order = np.argsort(-worth, axis=None, kind="stable")
        sums = np.cumsum(taken.ravel()[order])
        missed = np.zeros(self.weight.size, dtype=bool)
        missed[order[(sums <= room + 1e-12) & (worth.ravel()[order] > 0)]] = True
        return missed.reshape(self.weight.shape)

    def _cost(self, used: dict[str, NDArray[np.int64]], committed: dict[str, int], missed: NDArray[np.bool_]) -> float:
        """Expected USD per hour, added up anew."""
        fixed = sum(rate_of(self.problem.tiers.get(gpu, ()), count) for gpu, count in committed.items())
        return fixed + float((np.where(missed, 0.0, self._beyond(used, committed)) * self.weight).sum())


def rate_of(tiers: tuple[Tier, ...], count: int) -> float:
    """USD per hour of so many committed GPUs, cheapest tiers first."""
    return sum(tier.usd_per_gpu_hour * taken for tier, taken in tier_counts(tiers, count))


def tier_counts(tiers: tuple[Tier, ...], count: int) -> list[tuple[Tier, int]]:
    """How many of the committed GPUs come from each tier."""
    found = []
    for tier in tiers:
        taken = count if tier.most is None else min(count, tier.most)
        if taken:
            found.append((tier, taken))
        count -= taken
    return found
