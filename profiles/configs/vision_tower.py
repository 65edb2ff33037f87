"""Weights of the encoder and projector of a vision-language model, counted from its `vision_config`."""

from vllm_opt.profiles.configs.class_defaults import VISION_DEFAULTS, take_class_defaults
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.configs.vision_items import vision_items
from vllm_opt.profiles.configs.vision_parameters import COUNTERS
from vllm_opt.profiles.nouns.model import VisionTower


def vision_tower(keys: ConfigKeys, architecture: str) -> VisionTower | None:
    """Return the tower of a vision-language class; None for a text-only one or where no `vision_config` is given.

    A vision-language class without a `vision_config`, or with a tower that has no rule, is noted as not counted.
    """
    counter = COUNTERS.get(architecture)
    if counter is None:
        return None
    vision = keys.child("audio_config" if architecture == "VoxtralForConditionalGeneration" else "vision_config")
    if vision is None or not vision.values:
        keys.assumptions.append("vision_config is absent: the vision tower is not counted")
        return None
    take_class_defaults(vision, VISION_DEFAULTS.get(architecture, {}))
    text = keys.child("text_config") or keys
    tower = counter(vision, text, keys)
    items = vision_items(vision, keys, architecture)
    sizes: dict[str, int] = {}
    if items is not None:
        sizes = {
            "max_encoder_tokens": items.image_tokens,
            "usual_image_tokens": items.usual_image_tokens,
            "max_video_tokens": items.video_tokens,
            "video_step_tokens": items.video_step,
            "patches_per_token": items.patches_per_token,
        }
    # Gemma 4 encodes image by image: a published start-up log shows no peak of its tower above the language step.
    if items is not None and not architecture.startswith("Gemma4"):
        sizes["hidden_size"] = vision.integer("hidden_size")
        sizes["intermediate_size"] = vision.integer("intermediate_size")
    return VisionTower(
        **sizes,
        parameters=tower.divided + tower.whole,
        replicated_parameters=tower.whole,
        pixel_bytes_per_token=_pixel_bytes(vision, keys),
        divisible_widths=_divisible_widths(vision, architecture),
    )


def _divisible_widths(vision: ConfigKeys, architecture: str) -> tuple[int, ...]:
    """What TP must divide in the towers whose build was seen to fail otherwise (vLLM 0.33)."""
    if architecture == "MiniMaxM3SparseForConditionalGeneration":
        return (vision.integer("num_attention_heads"),)
    if architecture == "KimiK3ForConditionalGeneration":
        return (4 * vision.integer("vt_hidden_size"),)
    return ()


def _pixel_bytes(vision: ConfigKeys, outer: ConfigKeys) -> int:
    """16-bit pixels behind one encoder token: the image over its tokens, or a merged patch; 0 where neither is known.

    Patches are merged in squares of `spatial_merge_size`; a pixel shuffle joins two per side.
    """
    if isinstance(vision.values.get("image_size"), list) or isinstance(vision.values.get("patch_size"), list):
        return 0
    channels, side = 3, vision.optional_integer("image_size")
    tokens = outer.optional_integer("mm_tokens_per_image")
    if tokens and side:
        return int(2 * channels * side**2 // tokens)
    patch = vision.optional_integer("patch_size")
    if patch is None:
        return 0
    merge = vision.optional_integer("spatial_merge_size") or outer.optional_integer("spatial_merge_size")
    if merge is None:
        merge = 2 if "pixel_shuffle_ratio" in vision.values else 1
    return int(2 * channels * (patch * merge) ** 2 * (vision.optional_integer("temporal_patch_size") or 1))
