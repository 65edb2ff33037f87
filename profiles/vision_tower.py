"""Weights of the encoder and projector of a vision-language model, counted from its `vision_config`."""

from collections.abc import Callable

from vllm_opt.profiles.config_reader import ConfigKeys
from vllm_opt.profiles.model import VisionTower


def vision_tower(keys: ConfigKeys, architecture: str) -> VisionTower | None:
    """Return the tower of a vision-language class; None for a text-only one or where no `vision_config` is given.

    A vision-language class without a `vision_config`, or with a tower that has no rule, is noted as not counted.
    """
    counter = _COUNTERS.get(architecture)
    if counter is None:
        return None
    vision = keys.child("vision_config")
    if vision is None or not vision.values:
        keys.assumptions.append("vision_config is absent: the vision tower is not counted")
        return None
    text = keys.child("text_config") or keys
    return VisionTower(parameters=counter(vision, text, keys), pixel_bytes_per_token=_pixel_bytes(vision, keys))


def linear(inputs: int, outputs: int, *, bias: bool = True) -> int:
    """Parameters of one linear layer."""
    return inputs * outputs + (outputs if bias else 0)


def block(width: int, inner: int, *, norm: int, bias: bool = True, gated: bool = False) -> int:
    """One encoder layer: two norms of `norm` parameters per element, q, k, v, o, and a (gated) MLP."""
    attention = linear(width, 3 * width, bias=bias) + linear(width, width, bias=bias)
    mlp = (2 if gated else 1) * linear(width, inner, bias=bias) + linear(inner, width, bias=bias)
    return 2 * norm * width + attention + mlp


def _pixel_bytes(vision: ConfigKeys, outer: ConfigKeys) -> int:
    """16-bit pixels behind one encoder token: the image over its tokens, or a merged patch; 0 where neither is known.

    Patches are merged in squares of `spatial_merge_size`; a pixel shuffle joins two per side.
    """
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


def _patches(vision: ConfigKeys, channels_key: str = "in_channels") -> int:
    """Inputs of the patch embedding: channels x patch_size^2 (x temporal_patch_size)."""
    channels = vision.optional_integer(channels_key, "in_chans", "in_channels", "num_channels") or 3
    frames = vision.optional_integer("temporal_patch_size") or 1
    return int(channels * frames * vision.integer("patch_size") ** 2)


def _qwen2_5(vision: ConfigKeys, _text: ConfigKeys, _outer: ConfigKeys) -> int:
    width = vision.integer("hidden_size")
    merged = width * vision.integer("spatial_merge_size", default=2) ** 2
    blocks = vision.integer("depth") * block(width, vision.integer("intermediate_size"), norm=1, gated=True)
    merger = width + linear(merged, merged) + linear(merged, vision.integer("out_hidden_size"))
    return linear(_patches(vision), width, bias=False) + blocks + merger


def _qwen3(vision: ConfigKeys, _text: ConfigKeys, _outer: ConfigKeys) -> int:
    width = vision.integer("hidden_size")
    merged = width * vision.integer("spatial_merge_size", default=2) ** 2
    blocks = vision.integer("depth") * block(width, vision.integer("intermediate_size"), norm=2)
    mlp = linear(merged, merged) + linear(merged, vision.integer("out_hidden_size"))
    deep = len(vision.integers("deepstack_visual_indexes") or []) * (2 * merged + mlp)
    embeddings = linear(_patches(vision), width) + vision.integer("num_position_embeddings") * width
    return embeddings + blocks + 2 * width + mlp + deep


def _siglip(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> int:
    width = vision.integer("hidden_size")
    grid = vision.integer("image_size") // vision.integer("patch_size")
    blocks = vision.integer("num_hidden_layers") * block(width, vision.integer("intermediate_size"), norm=2)
    embeddings = linear(_patches(vision), width) + grid * grid * width
    projector = width + width * text.integer("hidden_size")
    return embeddings + blocks + 2 * width + projector


def _pixtral(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> int:
    width = vision.integer("hidden_size")
    target = text.integer("hidden_size")
    merged = width * outer.integer("spatial_merge_size", default=2) ** 2
    layer = block(width, vision.integer("intermediate_size"), norm=1, bias=False, gated=True)
    blocks = vision.integer("num_hidden_layers") * layer
    bias = outer.flag("multimodal_projector_bias")
    projector = width + merged * width + linear(width, target, bias=bias) + linear(target, target, bias=bias)
    return linear(_patches(vision), width, bias=False) + width + blocks + projector


def _llama4(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> int:
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    grid = vision.integer("image_size") // vision.integer("patch_size")
    blocks = vision.integer("num_hidden_layers") * block(width, inner, norm=2)
    middle, out = vision.integer("projector_input_dim"), vision.integer("projector_output_dim")
    ratio = vision.number("pixel_shuffle_ratio", 0.5)
    adapter = linear(int(width / ratio**2), middle, bias=False) + linear(middle, out, bias=False)
    projector = linear(vision.integer("vision_output_dim"), text.integer("hidden_size"), bias=False)
    embeddings = linear(_patches(vision), width, bias=False) + (grid * grid + 2) * width
    return embeddings + 4 * width + blocks + adapter + projector


def _moonvit(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> int:
    width = vision.integer("vt_hidden_size", "hidden_size")
    height, across = vision.integer("init_pos_emb_height"), vision.integer("init_pos_emb_width")
    inner = vision.integer("vt_intermediate_size", "intermediate_size")
    blocks = vision.integer("vt_num_hidden_layers", "num_hidden_layers") * block(width, inner, norm=2)
    kernel = vision.integers("merge_kernel_size", minimum=1) or [2, 2]
    merged = width * kernel[0] * kernel[-1]
    target = vision.optional_integer("text_hidden_size") or text.integer("hidden_size")
    projector = 2 * width + linear(merged, merged) + linear(merged, target)
    return linear(_patches(vision), width) + height * across * width + blocks + 2 * width + projector


def _gemma4(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> int:
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    head = vision.integer("head_dim")
    layer = block(width, inner, norm=2, bias=False, gated=True) + 2 * head
    blocks = vision.integer("num_hidden_layers") * layer
    positions = 2 * vision.integer("position_embedding_size") * width
    projector = linear(width, text.integer("hidden_size"), bias=False)
    return linear(_patches(vision), width, bias=False) + positions + blocks + projector


_COUNTERS: dict[str, Callable[[ConfigKeys, ConfigKeys, ConfigKeys], int]] = {
    "Qwen2_5_VLForConditionalGeneration": _qwen2_5,
    "Qwen3VLForConditionalGeneration": _qwen3,
    "Qwen3VLMoeForConditionalGeneration": _qwen3,
    "Qwen3_5ForConditionalGeneration": _qwen3,
    "Qwen3_5MoeForConditionalGeneration": _qwen3,
    "Gemma3ForConditionalGeneration": _siglip,
    "Gemma4ForConditionalGeneration": _gemma4,
    "Mistral3ForConditionalGeneration": _pixtral,
    "Llama4ForConditionalGeneration": _llama4,
    "KimiK25ForConditionalGeneration": _moonvit,
}
