"""One published serving measurement in the product's vocabulary."""

import hashlib
from dataclasses import dataclass, field
from typing import Literal

from vllm_opt.constraints.speed.first_token import Pattern

Kind = Literal["closed", "burst", "offline", "open"]
CONTROLLED_SOURCES = ("inferencex", "nvidia-aic-silicon")
"""Sources whose load generator, image and flags are published: the accuracy targets are stated on them."""


@dataclass(frozen=True)
class Observation:
    """One measurement, in the product's vocabulary; times in milliseconds, rates per second and engine."""

    model: str
    gpu: str
    quantization: str
    kv_cache_dtype: str
    tensor_parallel_size: int
    data_parallel_size: int
    expert_parallel: bool
    enforce_eager: bool
    kind: Kind
    load: float
    """Users, prompts, or requests/s of one engine."""
    max_num_seqs: float
    max_num_batched_tokens: float
    input_tokens: float
    output_tokens: float
    source: str
    release: str
    """vLLM's first two version numbers."""
    trust: float
    """Weight of the row in the fit: 1 for controlled sources, less for stacks that are badly known."""
    prefix_hit_share: float
    memory_bound_load: bool
    """The number of users was not stated or exceeds the pool: the KV cache limits how many run."""
    host_release: str = ""
    """The release whose host speed it had, where flags made that another than its own; empty: its own."""
    checkpoint: str = ""
    """Catalogue id of the published checkpoint that ran, where its own layers are known; empty: as `model`."""
    prompts_per_user: float = float("inf")
    """Requests that each user sent; the first of each met those of all others."""
    arrival_s: float = 0.0
    """Time over which the requests of a burst were sent, where the row states a rate; 0: all at once."""
    squared_lengths: float = 1.0
    """Mean square of the prompts' lengths over the square of their mean: what attention between them costs more."""
    largest_capture: float = 512.0
    """Tokens of the widest step that a CUDA graph held."""
    mean_ttft: bool = False
    """The measured TTFT is a mean, not a median."""
    burstiness: float = 1.0
    """Shape of the gamma law between random arrivals, where the row states one."""
    length_range: float = 0.0
    """Random arrivals whose lengths are drawn evenly from 1 - this to 1 + this times the mean ones."""
    measured: dict[str, float] = field(hash=False, default_factory=dict)
    """ttft, tpot, e2e in ms; throughput in output tokens/s of one engine."""

    @property
    def pattern(self) -> Pattern:
        """How the clients sent."""
        if self.kind == "open":
            return "poisson"
        if self.kind == "burst":
            return "burst"
        return "single" if self.load <= 1 and self.kind == "closed" else "closed"

    @property
    def configuration(self) -> str:
        """What repeats of one measurement share; the split into halves hashes it."""
        sizes = f"{self.tensor_parallel_size}/{self.data_parallel_size}/{self.expert_parallel}"
        lengths = f"{self.input_tokens:.0f}/{self.output_tokens:.0f}/{self.load:g}/{self.kind}"
        return f"{self.model}|{self.gpu}|{self.quantization}|{sizes}|{lengths}"

    @property
    def stored_as(self) -> str:
        """Catalogue id whose layers and bytes were read."""
        return self.checkpoint or self.model

    @property
    def kept_back(self) -> bool:
        """A quarter of the other sources, chosen by hash: never looked at while formulas and spreads were chosen."""
        digest = hashlib.sha256(self.source.encode()).hexdigest()
        return self.source not in CONTROLLED_SOURCES and int(digest[:8], 16) % 4 == 0

    @property
    def held_out(self) -> bool:
        """A third of the configurations, chosen by hash, is never fitted while accuracy is measured."""
        return int(hashlib.sha256(self.configuration.encode()).hexdigest()[:8], 16) % 3 == 0
