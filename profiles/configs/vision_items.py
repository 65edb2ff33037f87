"""What an image or video becomes in a vision-language model: most tokens, tokens of a usual image, patches per token.

Largest items as vLLM 0.33's own processors report them (`multimodal/processing`, `get_mm_max_tokens_per_item`) with the
published pre-processor limits, which `config.json` does not hold. A usual image is 1024 x 1024.
"""

from typing import NamedTuple

from vllm_opt.profiles.configs.reader import ConfigKeys

QWEN_LARGEST_IMAGE_TOKENS = 16_384
"""12.8 and 16.8 megapixels over patches of 28 and 32 pixels (Qwen2.5-VL, Qwen3-VL)."""
QWEN3_LARGEST_VIDEO_TOKENS = 12_288
GEMMA4_LARGEST_VIDEO_TOKENS = 2_496
GEMMA4_IMAGE_TOKENS = 280
LLAMA4_LARGEST_IMAGE_TOKENS = 2_448
"""16 tiles and one overview of 144 tokens each."""
USUAL_SIDE = 1024


class VisionItems(NamedTuple):
    """Sizes of one item in encoder tokens. `video_step`: videos are cut to a multiple of this within max_model_len."""

    image_tokens: int
    usual_image_tokens: int
    patches_per_token: int
    video_tokens: int = 0
    video_step: int = 0


def vision_items(vision: ConfigKeys, outer: ConfigKeys, architecture: str) -> VisionItems | None:
    """Return the sizes of a class whose processor is known; None for any other."""
    if architecture == "Qwen2_5_VLForConditionalGeneration":
        usual = round(USUAL_SIDE / 28) ** 2
        return VisionItems(QWEN_LARGEST_IMAGE_TOKENS, usual, 4, video_step=QWEN_LARGEST_IMAGE_TOKENS)
    if architecture.startswith(("Qwen3VL", "Qwen3_5", "Qwen3Omni")):
        return VisionItems(QWEN_LARGEST_IMAGE_TOKENS, (USUAL_SIDE // 32) ** 2, 4, QWEN3_LARGEST_VIDEO_TOKENS)
    if architecture == "Llama4ForConditionalGeneration":
        return VisionItems(LLAMA4_LARGEST_IMAGE_TOKENS, LLAMA4_LARGEST_IMAGE_TOKENS, 4)
    return _sized_by_config(vision, outer, architecture)


def _sized_by_config(vision: ConfigKeys, outer: ConfigKeys, architecture: str) -> VisionItems | None:
    if architecture == "Gemma3ForConditionalGeneration":
        tokens = outer.optional_integer("mm_tokens_per_image") or 256
        grid = vision.integer("image_size") // vision.integer("patch_size")
        return VisionItems(tokens, tokens, max(1, grid**2 // tokens))
    if architecture in ("Gemma4ForConditionalGeneration", "Gemma4UnifiedForConditionalGeneration"):
        tokens = vision.optional_integer("default_output_length") or GEMMA4_IMAGE_TOKENS
        return VisionItems(tokens, tokens, 9, GEMMA4_LARGEST_VIDEO_TOKENS)
    if architecture == "Mistral3ForConditionalGeneration":
        merge = outer.integer("spatial_merge_size", default=2)
        side = vision.integer("patch_size") * merge
        largest, usual = vision.integer("image_size") // side, -(-USUAL_SIDE // side)
        return VisionItems(largest**2, min(largest, usual) ** 2, merge**2)
    return None
