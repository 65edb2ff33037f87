"""Deployment: one fully resolved point, as every rule's `check` sees it. Integers in, violations out."""

from dataclasses import dataclass
from functools import cached_property

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.money.bill import Bill, cheapest_bill
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.nouns.quality import Quality
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.nouns.workload import Targets


def over_requests(percentile: float | None) -> str:
    """Which part of the requests a time speaks of; the confidence beside it is the model's."""
    return "" if percentile is None else f" of {percentile:g} % of the requests"


@dataclass(frozen=True)
class PerformanceBound:
    """Predicted speed at the load, at the confidence asked: what the latency rules compare.

    Times are means over requests, or the percentile that the targets name. With random arrivals the rate is what is
    asked, or less where the engines do not keep up.
    """

    ttft_ms: float
    tpot_ms: float | None
    output_tokens_per_s: float


@dataclass(frozen=True)
class Deployment:
    """A configuration with everything its rules need. `confidence` None checks central estimates."""

    model: ModelProfile
    quantization: Quantization
    layout: Layout
    gpu: GpuProfile
    engine: EngineProfile
    flags: EngineFlags
    replicas: int
    targets: Targets
    terms: MemoryTerms
    performance: PerformanceBound | None = None
    offers: tuple[Offer, ...] = ()
    """Machines on which it may run; none for a SKU without a price."""
    quality: Quality | None = None
    """Of weights and KV cache together; None: not judged."""
    quality_accepted: bool = True
    """Whether it meets the floor at the confidence asked, or is named."""
    confidence: float | None = None

    @property
    def certainty(self) -> str:
        """How sure the bounds are, in words: 'at 90 % confidence'."""
        return "at the confidence asked" if self.confidence is None else f"at {self.confidence * 100:.3g} % confidence"

    @property
    def gpu_count(self) -> int:
        """GPUs in all: replicas x DP x TP x PP."""
        return self.replicas * self.layout.gpus_per_server

    @cached_property
    def bill(self) -> Bill | None:
        """The cheapest whole machines that hold it; None without a price, or when none on offer does."""
        return cheapest_bill(self.offers, self.replicas, self.layout.gpus_per_server, self.layout.nodes)

    @property
    def engines(self) -> int:
        """Engines that each hold a KV pool of their own: replicas x DP."""
        return self.replicas * self.layout.data_parallel_size

    @property
    def num_gpu_blocks(self) -> int:
        """KV blocks of one engine."""
        return self.terms.num_gpu_blocks(self.flags, self.confidence)
