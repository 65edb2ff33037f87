"""The vision encoder in the profile run: vLLM encodes as many of the largest items as its token budget holds, at once.

    budget = max(T, tokens of the largest item)
    items  = max(1, min(budget // item tokens, S' * items per prompt))       S' = S, or min(S, T // item) without chunks
    peak   = items * item tokens * (patches per token * (6 h + 2 i / TP) * 2 + pixels)

with h and i the tower's widths: the residual stream, the norm, q, k, v and the MLP's inner tensor twice. It is a floor
of the activation peak, not a part of it: the encoder has finished when the language model runs. V0 gives every
sequence of its profile run one item, shortened to the step where it is longer: max(1, min(S, T // item tokens)) items.
Source: vLLM 0.33 `multimodal/encoder_budget.py`, `v1/core/encoder_cache_manager.py:compute_mm_encoder_budget`,
`v1/worker/gpu/model_runner.py:profile_run`; the widths are checked against published logs of Qwen3.5 and Qwen3.6.
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import Layout, MediaItems
from vllm_opt.profiles.nouns.model import ModelProfile, VisionTower

HALF_BYTES = 2
MOST_ITEMS_PER_PROMPT = 999
"""vLLM's own limit per modality where --limit-mm-per-prompt is silent (`config/multimodal.py`)."""


@dataclass(frozen=True)
class EncoderPeak:
    """Bytes of the encoder at its highest, on the first pipeline stage, as a function of the flags."""

    item_tokens: int
    items_per_prompt: int
    bytes_per_token: int
    chunked_prefill: bool
    one_each: bool = False
    """One item per sequence, no longer than the step (V0, `inputs/registry.py:dummy_data_for_profiling`)."""

    def budget_tokens(self, max_num_batched_tokens: int) -> int:
        """Encoder tokens of one step, and of the encoder cache."""
        return max(max_num_batched_tokens, self.item_tokens)

    def items(self, max_num_batched_tokens: int, max_num_seqs: int) -> int:
        """Largest items that the profile run encodes at once."""
        if self.one_each:
            return max(1, min(max_num_seqs, max_num_batched_tokens // self.item_tokens))
        sequences = max_num_seqs
        if not self.chunked_prefill:
            sequences = min(sequences, max_num_batched_tokens // self.item_tokens)
        held = self.budget_tokens(max_num_batched_tokens) // self.item_tokens
        return max(1, min(held, sequences * self.items_per_prompt))

    def bytes(self, max_num_batched_tokens: int, max_num_seqs: int) -> int:
        """Peak of one rank."""
        item = min(self.item_tokens, max_num_batched_tokens) if self.one_each else self.item_tokens
        return self.items(max_num_batched_tokens, max_num_seqs) * item * self.bytes_per_token


def encoder_peak(model: ModelProfile, layout: Layout, *, one_each: bool = False) -> EncoderPeak | None:
    """Return the encoder's peak; None where nothing is encoded, or nothing is known of the tower."""
    tower, media = model.vision, layout.media
    if tower is None or media is None or not tower.hidden_size:
        return None
    ranks = layout.tensor_parallel_size if tower.sharded_by_tensor_parallel else 1
    inner = -(-tower.intermediate_size // ranks)
    width = HALF_BYTES * (6 * tower.hidden_size + 2 * inner)
    return EncoderPeak(
        item_tokens=media.item_tokens,
        items_per_prompt=media.items_per_prompt,
        bytes_per_token=tower.patches_per_token * width + tower.pixel_bytes_per_token,
        chunked_prefill=layout.enable_chunked_prefill,
        one_each=one_each,
    )


def media_items(tower: VisionTower | None, max_model_len: int, limits: dict[str, int]) -> MediaItems | None:
    """Return the largest item of the modalities that are on, and how many of it one prompt may hold.

    `limits`: items per prompt by modality, as --limit-mm-per-prompt gives them; 0 switches one off.
    """
    if tower is None or tower.max_encoder_tokens is None:
        return None
    sizes = {"image": tower.max_encoder_tokens, "video": longest_video(tower, max_model_len)}
    on = {name: size for name, size in sizes.items() if size and limits.get(name, MOST_ITEMS_PER_PROMPT) > 0}
    if not on:
        return None
    name = max(on, key=lambda modality: (on[modality], modality))
    limit = limits.get(name, MOST_ITEMS_PER_PROMPT)
    return MediaItems(item_tokens=on[name], items_per_prompt=max(1, min(limit, max_model_len // on[name])))


def longest_video(tower: VisionTower, max_model_len: int) -> int:
    """Encoder tokens of the longest video within a context."""
    if tower.video_step_tokens:
        return max(1, max_model_len // tower.video_step_tokens) * tower.video_step_tokens
    return tower.max_video_tokens
