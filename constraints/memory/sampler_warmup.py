"""What the V2 runner of 0.22 to 0.28 takes after its profile: CUDA graphs that it never estimated, and its warm-up.

    after the profile = 1.24 * (graphs(S, T) + max(0, warm-up(S, T) - peak(T, S)))
    warm-up = 150 MiB + (c + gathered) * vocab * min(S, T // 2)

Its profile samples without parameters (the NOTE in `v1/worker/gpu/model_runner.py:_dummy_sampler_run`); after the cache
is allocated and graphs are captured, `v1/worker/gpu/warmup.py:warmup_kernels` prefills min(S, T // 2) prompts of two
tokens and samples with every parameter. c is 6 bytes before FlashInfer samples in 0.24 (16-bit logits and their 32-bit
copy), 14 since (besides, what top-k masks and its softmax, 32 bits each); several ranks gather the logits and copy what
they gathered (4 bytes). The 150 MiB are vLLM's own `redundancy_buffer_memory`. 0.33 profiles the same parameters. The
activations of the profile are free again by then. Sources: vllm-project/vllm pulls 48601 (four H100, a vocabulary of
248,320, S = 1024: 4.3 GiB were free and did not do) and 57926 (L4, 151,936, S = 256: 0.26 GiB were missing).

The factor 1.24 and its spread 0.42 are the likeliest log-normal of six published starts: of the plain sum, three ran
out with more than 1.08, 1.17 and 1.55 times as much (an L4 with 0.27.1, pull 48601, issue 49224), one held with 1.51
times (two RTX 4090, issue 54383), and two print graphs that make it 0.80 and 0.85 (RTX 3090, 0.27.1 and 0.27.0).
"""

import math
from dataclasses import dataclass

from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile

FACTOR = 1.24
RELATIVE_SPREAD = 0.42
REDUNDANCY_BYTES = 150 << 20
GATHERED_BYTES_PER_LOGIT = 4
PROMPT_TOKENS = 2


@dataclass(frozen=True)
class SamplerWarmup:
    """The warm-up of one rank, as a function of the flags."""

    bytes_per_sequence: int

    def bytes(self, tokens: int, sequences: int) -> int:
        """Central estimate, for T = `tokens` and S = `sequences`."""
        return REDUNDANCY_BYTES + self.bytes_per_sequence * max(1, min(sequences, tokens // PROMPT_TOKENS))

    def outside_bytes(self, graph_bytes: int, freed_bytes: int, tokens: int, sequences: int) -> int:
        """Central estimate of all that comes after the profile, with `freed_bytes` of activations free again."""
        return math.ceil(FACTOR * (graph_bytes + max(0, self.bytes(tokens, sequences) - freed_bytes)))


def outside_at(confidence: float | None, central: int) -> int:
    """Upper end of what comes after the profile; None gives the central estimate."""
    if confidence is None:
        return central
    return math.ceil(central * (1.0 + max(0.0, normal_quantile(confidence)) * RELATIVE_SPREAD))


def sampler_warmup(model: ModelProfile, ranks: int, engine: EngineProfile) -> SamplerWarmup | None:
    """The warm-up of an engine as it is run; None where its graphs are estimated or V1 runs the model."""
    if engine.graphs_in_budget or engine.model_runner_v2_estimates_graphs or model.runner != "generate":
        return None
    each = engine.sampler_warmup_bytes_per_logit + (GATHERED_BYTES_PER_LOGIT if ranks > 1 else 0)
    return SamplerWarmup(each * model.vocab_size)
