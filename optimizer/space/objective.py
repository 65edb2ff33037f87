"""The objectives, as exact integers that are minimised: one value per operating point.

| name | integer | shown as |
|---|---|---|
| cost | millionths of USD per hour of whole machines; without a price GPUs, after every price | USD/hour, GPUs |
| throughput | - thousandths of an output token per second, all replicas | tokens/s |
| concurrency | - min(max_num_seqs, floor(running_concurrency)) x engines | sequences |
| gpus | GPUs | GPUs |
| latency | end-to-end microseconds of the typical request, rounded up | ms |
| efficiency | - thousandths of an output token per USD; by GPU where machines are owned or have no price | tokens/USD |

SKUs without a price stand behind all others on cost and efficiency, and owned machines, which cost nothing, before all
others: each of the three kinds is ordered among itself (`WITHOUT_PRICE`, `TIER`). All integers stay below 2^53.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.money.bill import MICRO, Bill
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.width_memory import WidthMemory

SECONDS_PER_HOUR = 3600
WITHOUT_PRICE = 1 << 50
"""What a SKU without a price costs before its GPUs are counted: above every price."""
TIER = 1 << 51
"""Above every efficiency."""
EAGER_LAST_US = 10**12
"""Beyond every TTFT: eleven days."""
Integers = NDArray[np.int64]
Amount = TypeVar("Amount", int, Integers)


@dataclass(frozen=True)
class Objective:
    """How one objective is shown: value = sign x integer / scale."""

    name: str
    unit: str
    scale: int
    sign: int

    def shown(self, integer: float) -> float:
        """The value that a user reads."""
        return self.sign * integer / self.scale if integer else 0.0


OBJECTIVES: dict[str, Objective] = {
    "cost": Objective("cost", "USD/hour", MICRO, 1),
    "throughput": Objective("throughput", "tokens/s", 1000, -1),
    "concurrency": Objective("concurrency", "sequences", 1, -1),
    "gpus": Objective("gpus", "GPUs", 1, 1),
    "latency": Objective("latency", "ms", 1000, 1),
    "efficiency": Objective("efficiency", "tokens/USD", 1000, -1),
}


def first_token_turn_us(milliseconds: NDArray[np.float64], *, enforce_eager: bool) -> NDArray[np.int64]:
    """What the turn of TTFT compares: microseconds, rounded up; eager mode after every layout with CUDA graphs.

    Eager mode is there for its memory: nobody gives up graphs for a few milliseconds before the first token.
    """
    return np.ceil(milliseconds * 1000).astype(np.int64) + EAGER_LAST_US * enforce_eager


def cost_integer(bill: Bill | None, gpu_count: int) -> int:
    """What a bill costs per hour; without one, one 'dollar' per GPU above every price."""
    return WITHOUT_PRICE + MICRO * gpu_count if bill is None else bill.microusd_per_hour


def unit_cost_microusd(unit: Unit) -> int:
    """What a unit costs per hour (`cost_integer`)."""
    return cost_integer(unit.bill, unit.gpu_count)


def efficiency_integer(millitokens: Amount, cost: int, gpu_count: int) -> Amount:
    """Efficiency to minimise, from tokens per second and `cost_integer`: exact, never rising in tokens per second."""
    if cost == 0:
        return -(TIER + millitokens // gpu_count)
    hourly = millitokens * SECONDS_PER_HOUR
    if cost >= WITHOUT_PRICE:
        return TIER - _at_most(hourly // gpu_count, TIER)
    return -_at_most(hourly // cost * MICRO + hourly % cost * MICRO // cost, TIER - 1)


def _at_most(values: Amount, most: int) -> Amount:
    return min(values, most) if isinstance(values, int) else np.minimum(values, most)


def shown_value(name: str, integer: int) -> tuple[float, str]:
    """The value that a user reads, with its unit."""
    objective = OBJECTIVES[name]
    if name == "cost" and integer >= WITHOUT_PRICE:
        return (integer - WITHOUT_PRICE) / MICRO, "GPUs"
    if name == "efficiency" and integer <= -TIER:
        return (-integer - TIER) / objective.scale, "tokens/s per GPU"
    if name == "efficiency" and integer > 0:
        return (TIER - integer) / objective.scale, "tokens/GPU-hour"
    return objective.shown(integer), objective.unit


def tier_of(name: str, integer: float) -> int:
    """What an integer holds beside the amount that is shown: the place of its kind before or behind prices."""
    if name == "cost" and integer >= WITHOUT_PRICE:
        return WITHOUT_PRICE
    if name == "efficiency" and (integer <= -TIER or integer > 0):
        return -TIER if integer < 0 else TIER
    return 0


def worst_within(name: str, best: float, share: float) -> float:
    """The worst integer whose amount is within `share` of that of a best one; smaller is better."""
    return best + int(abs(best - tier_of(name, best)) * share)


def relative(name: str, value: int, best: int) -> float:
    """By how much of a best amount another is worse or better."""
    return abs(value - best) / max(1, abs(best - tier_of(name, best)))


def millitokens_per_s(candidate: Candidate) -> Integers:
    """Throughput of all engines in thousandths of a token per second; rounded down per engine.

    Rounded so, twice the engines give exactly twice the tokens, and efficiency does not depend on the replicas.
    """
    return np.floor(candidate.engine_tokens_per_s * 1000).astype(np.int64) * candidate.unit.engines


def concurrency_of(candidate: Candidate, max_model_len: int) -> Integers:
    """min(max_num_seqs, floor(running_concurrency)) x engines per point.

    At the highest utilisation that keeps the headroom. The pool is the central estimate, as the plan reports it; the
    headroom holds at the confidence asked.
    """
    unit, tokens = candidate.unit, candidate.max_num_batched_tokens
    kv = unit.facts.terms.kv
    memory = WidthMemory(unit.facts, tokens, None)
    found = []
    for sequences in candidate.sequences.tolist():
        blocks = max(0, memory.blocks(sequences)) if any(kv.block_bytes) else 0
        found.append(min(sequences, whole_requests(kv, blocks, max_model_len)) * unit.engines)
    return np.array(found, dtype=np.int64)


def whole_requests(kv: KvPlan, blocks: int, context: int) -> int:
    """floor(running_concurrency): requests of `context` tokens that decode at once, in integers."""
    return int(kv.running_concurrency(blocks, context))


def objective_values(name: str, candidate: Candidate, *, max_model_len: int) -> Integers:
    """The integers of one objective at every point of a candidate; smaller is better."""
    ones = np.ones(len(candidate.sequences), dtype=np.int64)
    if name == "cost":
        return ones * unit_cost_microusd(candidate.unit)
    if name == "gpus":
        return ones * candidate.unit.gpu_count
    if name == "throughput":
        return -millitokens_per_s(candidate)
    if name == "latency":
        return np.ceil(candidate.e2e_ms * 1000).astype(np.int64)
    if name == "concurrency":
        return -concurrency_of(candidate, max_model_len)
    unit = candidate.unit
    return efficiency_integer(millitokens_per_s(candidate), unit_cost_microusd(unit), unit.gpu_count)
