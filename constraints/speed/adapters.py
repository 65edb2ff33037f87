"""What LoRA adapters cost a step: more kernels in every layer, their own weights, and one more pass over activations.

    fixed     layers * 50 us         a shrink and an expand kernel beside each of four fused projections
    per step  max_loras * 2 r w h L  bytes of weights, w = 20: inputs and outputs of a layer's projections
    per token 90 p h L               bytes: inputs read, float32 products, outputs read and written; p = 2, early 15
              2 r w h L              FLOP

Published comparisons span 8 to 36 % of throughput: an A100 with Llama 2 7B, 34 % offline
(github.com/vllm-project/vllm/pull/11267, December 2024: 88 us per token, which early p restates) and 20 %
(github.com/vllm-project/vllm/issues/10062, 28 s to 35 s at rank 64); eight A100s, 35 % (issues/10898); 8 to 24 % with
the rewritten kernels on other hardware (pull/15655). The 50 us and p = 2 are our reading of them. Eager mode is far
slower: 17.6 to 6.5 tokens/s (issues/13204).
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Adapters

LAYER_S = 50e-6
WIDTHS = 20
"""Inputs and outputs of one layer's projections, in hidden sizes: 20.0 of Llama 3.1 8B by vLLM's own slots."""
ACTIVATION_BYTES = 90
PASSES, EARLY_PASSES = 2, 15
REWRITTEN_SINCE = (0, 8)
HALF_BYTES = 2


@dataclass(frozen=True)
class AdapterCost:
    """Seconds of every step, bytes that it reads, bytes and FLOP of every token; on all ranks together."""

    fixed_s: float = 0.0
    bytes: float = 0.0
    bytes_per_token: float = 0.0
    flop_per_token: float = 0.0


def adapter_cost(adapters: Adapters | None, hidden_size: int, layers: float, release: str | None) -> AdapterCost:
    """Cost in a release, None for the newest; nothing without adapters."""
    if adapters is None:
        return AdapterCost()
    elements = adapters.max_lora_rank * WIDTHS * hidden_size * layers
    parts = tuple(int(part) for part in (release or "99").split(".")[:2] if part.isdigit())
    passes = EARLY_PASSES if parts < REWRITTEN_SINCE else PASSES
    return AdapterCost(
        fixed_s=layers * LAYER_S,
        bytes=adapters.max_loras * HALF_BYTES * elements,
        bytes_per_token=ACTIVATION_BYTES * passes * hidden_size * layers,
        flop_per_token=2.0 * elements,
    )
