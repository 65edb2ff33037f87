"""The objectives, as exact integers that are minimised: one value per operating point.

| name | integer | shown as |
|---|---|---|
| cost | millionths of USD per hour (GPUs when a SKU has no price) | USD/hour |
| throughput | - thousandths of an output token per second, all replicas | tokens/s |
| concurrency | - min(max_num_seqs, floor(running_concurrency)) x engines | sequences |
| gpus | GPUs | GPUs |
| latency | end-to-end microseconds of the typical request, rounded up | ms |
| efficiency | - thousandths of an output token per USD | tokens/USD |
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.rules.budget import MICRO, microusd
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.width_memory import WidthMemory

SECONDS_PER_HOUR = 3600
Integers = NDArray[np.int64]


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


def unit_cost_microusd(unit: Unit, *, priced: bool) -> int:
    """What a unit costs per hour; one 'dollar' per GPU when prices are not known for every SKU."""
    price = unit.facts.sku.price
    if not priced or price is None:
        return MICRO * unit.gpu_count
    return microusd(price.usd_per_gpu_hour) * unit.gpu_count


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


def objective_values(name: str, candidate: Candidate, *, priced: bool, max_model_len: int) -> Integers:
    """The integers of one objective at every point of a candidate; smaller is better."""
    ones = np.ones(len(candidate.sequences), dtype=np.int64)
    if name == "cost":
        return ones * unit_cost_microusd(candidate.unit, priced=priced)
    if name == "gpus":
        return ones * candidate.unit.gpu_count
    if name == "throughput":
        return -millitokens_per_s(candidate)
    if name == "latency":
        return np.ceil(candidate.e2e_ms * 1000).astype(np.int64)
    if name == "concurrency":
        return -concurrency_of(candidate, max_model_len)
    cost = unit_cost_microusd(candidate.unit, priced=priced)
    return -(millitokens_per_s(candidate) * SECONDS_PER_HOUR * MICRO // max(1, cost))
