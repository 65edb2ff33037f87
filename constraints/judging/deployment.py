"""Deployment: one fully resolved point, as every rule's `check` sees it. Integers in, violations out."""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.nouns.workload import Targets


@dataclass(frozen=True)
class PerformanceBound:
    """Predicted speed at full admitted load, at the confidence asked: what the latency rules compare."""

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
    usd_per_gpu_hour: float | None = None
    quality: float | None = None
    quality_accepted: bool = True
    confidence: float | None = None

    @property
    def certainty(self) -> str:
        """How sure the bounds are, in words: 'at 90 % confidence'."""
        return "at the confidence asked" if self.confidence is None else f"at {self.confidence * 100:.3g} % confidence"

    @property
    def gpu_count(self) -> int:
        """GPUs in all: replicas x DP x TP x PP."""
        return self.replicas * self.layout.gpus_per_server

    @property
    def engines(self) -> int:
        """Engines that each hold a KV pool of their own: replicas x DP."""
        return self.replicas * self.layout.data_parallel_size

    @property
    def num_gpu_blocks(self) -> int:
        """KV blocks of one engine."""
        return self.terms.num_gpu_blocks(self.flags, self.confidence)
