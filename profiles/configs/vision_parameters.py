"""Parameters of vision towers and their projectors, and which of them tensor parallelism divides (vLLM 0.33)."""

from collections.abc import Callable
from typing import NamedTuple

from vllm_opt.profiles.configs.reader import ConfigKeys

LEAST_RATIO = 0.01
"""Pixels are joined two to a side in every published model; a hundred are refused as a mistake."""


class TowerParameters(NamedTuple):
    """Parameters that tensor parallelism divides, and those that every rank holds whole."""

    divided: int
    whole: int

    def and_also(self, *others: "TowerParameters") -> "TowerParameters":
        """Add other parts."""
        parts = (self, *others)
        return TowerParameters(sum(part.divided for part in parts), sum(part.whole for part in parts))

    def times(self, count: int) -> "TowerParameters":
        """Return `count` such parts."""
        return TowerParameters(self.divided * count, self.whole * count)

    @property
    def undivided(self) -> "TowerParameters":
        """The same parameters, all of them whole on every rank."""
        return TowerParameters(0, self.divided + self.whole)


def whole(parameters: int) -> TowerParameters:
    """Norms, embeddings and other parameters that are not divided."""
    return TowerParameters(0, parameters)


def column(inputs: int, outputs: int, *, bias: bool = True) -> TowerParameters:
    """A column-parallel linear layer: weight and bias are divided."""
    return TowerParameters(inputs * outputs + (outputs if bias else 0), 0)


def row(inputs: int, outputs: int, *, bias: bool = True) -> TowerParameters:
    """A row-parallel linear layer: the weight is divided, the bias is not."""
    return TowerParameters(inputs * outputs, outputs if bias else 0)


def block(width: int, inner: int, *, norm: int, bias: bool = True, gated: bool = False) -> TowerParameters:
    """One encoder layer: two norms of `norm` parameters per element, q, k, v, o, and a (gated) MLP."""
    up = column(width, inner, bias=bias).times(2 if gated else 1)
    return whole(2 * norm * width).and_also(
        column(width, 3 * width, bias=bias), row(width, width, bias=bias), up, row(inner, width, bias=bias)
    )


def _patches(vision: ConfigKeys) -> int:
    """Inputs of the patch embedding: channels x patch_size^2 (x temporal_patch_size)."""
    channels = vision.optional_integer("in_channels", "in_chans", "num_channels") or 3
    frames = vision.optional_integer("temporal_patch_size") or 1
    return int(channels * frames * vision.integer("patch_size") ** 2)


def _qwen2_5(vision: ConfigKeys, _text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    width = vision.integer("hidden_size")
    merged = width * vision.integer("spatial_merge_size", default=2) ** 2
    layer = block(width, vision.integer("intermediate_size"), norm=1, gated=True)
    merger = column(merged, merged).and_also(row(merged, vision.integer("out_hidden_size")))
    return whole((_patches(vision) + 1) * width).and_also(layer.times(vision.integer("depth")), merger)


def _qwen3(vision: ConfigKeys, _text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    width = vision.integer("hidden_size")
    merged = width * vision.integer("spatial_merge_size", default=2) ** 2
    layers = block(width, vision.integer("intermediate_size"), norm=2).times(vision.integer("depth"))
    merger = column(merged, merged).and_also(row(merged, vision.integer("out_hidden_size")))
    deep = whole(2 * merged).and_also(merger).times(len(vision.integers("deepstack_visual_indexes") or []))
    rows = _patches(vision) + 1 + vision.integer("num_position_embeddings") + 2
    return whole(rows * width).and_also(layers, merger, deep)


def _siglip(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    width = vision.integer("hidden_size")
    grid = vision.integer("image_size") // vision.integer("patch_size")
    layers = block(width, vision.integer("intermediate_size"), norm=2).times(vision.integer("num_hidden_layers"))
    embeddings = (_patches(vision) + 1 + grid * grid + 2) * width
    projector = width + width * text.integer("hidden_size")
    return whole(embeddings + projector).and_also(layers)


LEAST_SHUFFLE = 1 / 64
"""The tower's patches are merged by the inverse of the ratio, squared: no published one is below a half."""


def _pixtral(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    width = vision.integer("hidden_size")
    target = text.integer("hidden_size")
    merged = width * outer.integer("spatial_merge_size", default=2) ** 2
    layer = block(width, vision.integer("intermediate_size"), norm=1, bias=False, gated=True)
    bias = outer.flag("multimodal_projector_bias")
    projector = column(width, target, bias=bias).and_also(row(target, target, bias=bias))
    undivided = (_patches(vision) + 1 + 1 + merged) * width
    return whole(undivided).and_also(layer.times(vision.integer("num_hidden_layers")), projector)


def _llama4(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    grid = vision.integer("image_size") // vision.integer("patch_size")
    middle, out = vision.integer("projector_input_dim"), vision.integer("projector_output_dim")
    ratio = vision.number("pixel_shuffle_ratio", 0.5)
    if not LEAST_SHUFFLE <= ratio <= 1:
        vision.refuse(f"has pixel_shuffle_ratio = {ratio!r}, outside {LEAST_SHUFFLE} to 1")
    return whole((grid * grid + 2 + 4) * width).and_also(
        column(_patches(vision), width, bias=False),
        block(width, inner, norm=2).times(vision.integer("num_hidden_layers")),
        column(_scaled(width, ratio), middle, bias=False),
        row(middle, out, bias=False),
        column(vision.integer("vision_output_dim"), text.integer("hidden_size"), bias=False),
    )


def _moonvit(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    width = vision.integer("vt_hidden_size", "hidden_size")
    height, across = vision.integer("init_pos_emb_height"), vision.integer("init_pos_emb_width")
    inner = vision.integer("vt_intermediate_size", "intermediate_size")
    layers = block(width, inner, norm=2).times(vision.integer("vt_num_hidden_layers", "num_hidden_layers"))
    kernel = vision.integers("merge_kernel_size", minimum=1) or [2, 2]
    merged = width * kernel[0] * kernel[-1]
    target = vision.optional_integer("text_hidden_size") or text.integer("hidden_size")
    projector = column(merged, merged).and_also(column(merged, target))
    embeddings = (_patches(vision) + 1 + height * across + 2 + 2) * width
    return whole(embeddings).and_also(layers, projector.undivided)


def _gemma4(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    """Every rank holds the whole tower."""
    width, inner = vision.integer("hidden_size"), vision.integer("intermediate_size")
    norms = whole(2 * vision.integer("head_dim"))
    layer = block(width, inner, norm=2, bias=False, gated=True).and_also(norms)
    embeddings = (_patches(vision) + 2 * vision.integer("position_embedding_size")) * width
    projector = width * text.integer("hidden_size")
    return whole(embeddings + projector).and_also(layer.times(vision.integer("num_hidden_layers"))).undivided


def _gemma4_unified(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    """Gemma 4 without encoders: linear projections of patches and of audio frames (`models/gemma4_unified.py`).

    A scalar per layer of the text part is counted here as well: none of it is divided.
    """
    width = text.integer("hidden_size")
    pixels = 3 * (vision.integer("patch_size") * vision.integer("pooling_kernel_size", default=3)) ** 2
    norms = 2 * pixels + 2 * 2 * width
    positions = 2 * vision.integer("position_embedding_size") * width
    audio = outer.child("audio_config")
    frames = 0 if audio is None else audio.integer("audio_embed_dim") * width
    return whole((pixels + 1) * width + norms + positions + width * width + frames + text.integer("num_hidden_layers"))


def _qwen3_omni(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    """The thinker of Qwen3-Omni: Qwen3-VL's tower and an audio encoder (`models/qwen3_omni_moe_thinker.py`)."""
    audio = outer.child("audio_config")
    if audio is None:
        return _qwen3(vision, text, outer)
    width, middle = audio.integer("d_model"), audio.integer("downsample_hidden_size")
    layers = block(width, audio.integer("encoder_ffn_dim"), norm=2).times(audio.integer("encoder_layers"))
    convolutions = 10 * middle + 2 * (9 * middle + 1) * middle
    bins = -(-audio.integer("num_mel_bins") // 8)
    target = audio.integer("output_dim")
    ends = convolutions + middle * bins * width + 2 * width + (width + 1) * width + (width + 1) * target
    return _qwen3(vision, text, outer).and_also(layers, whole(ends))


def _moonvit3(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    """Kimi K3: no biases, one norm weight each, attention narrower than the stream; every rank holds all of it."""
    width, inner = vision.integer("vt_hidden_size"), vision.integer("vt_intermediate_size")
    queries = vision.integer("qkv_hidden_size")
    layer = 2 * width + 2 * width * inner + 4 * width * queries
    kernel = vision.integers("merge_kernel_size", minimum=1) or [2, 2]
    merged = width * kernel[0] * kernel[-1]
    target = vision.optional_integer("text_hidden_size") or text.integer("hidden_size")
    height, across = vision.integer("init_pos_emb_height"), vision.integer("init_pos_emb_width")
    embeddings = (_patches(vision) + height * across + 1) * width
    return whole(embeddings + layer * vision.integer("vt_num_hidden_layers") + merged * merged + (merged + 1) * target)


def _minimax_m3(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    width, target = vision.integer("hidden_size"), text.integer("hidden_size")
    layers = block(width, vision.integer("intermediate_size"), norm=2).times(vision.integer("num_hidden_layers"))
    compression = vision.child("img_token_compression_config") or vision
    frames = compression.optional_integer("temporal_patch_size") or 1
    merge = compression.integer("spatial_merge_size", default=2) ** 2
    middle = outer.optional_integer("projector_hidden_size") or target
    embeddings = whole((_patches(vision) * frames + 2) * width)
    projector = column(width, middle).and_also(row(middle, target))
    merger = column(middle * merge, middle).and_also(row(middle, target))
    return embeddings.and_also(layers, projector, merger)


def _perception_encoder(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    """Step 3.7: layer scales and norms of the Perception Encoder, two strided convolutions of 3 x 3."""
    for key in ("mlp_ratio", "ls_init_value", "use_ln_pre"):
        if key not in vision.values:
            vision.take(key, "none" if key == "ls_init_value" else "the default", "of vLLM's perception encoder")
    width = vision.integer("width")
    inner = int(width * vision.number("mlp_ratio", 4.0))
    grid = vision.integer("image_size") // vision.integer("patch_size")
    scales = whole(2 * width) if vision.values.get("ls_init_value") is not None else whole(0)
    layers = block(width, inner, norm=2).and_also(scales).times(vision.integer("layers"))
    position = grid * grid if vision.flag("use_abs_posemb", default=True) else 0
    embeddings = (_patches(vision) + position + (2 if vision.flag("use_ln_pre") else 0)) * width
    halves = 2 * width * (9 * width + 1) + 4 * width * (9 * 2 * width + 1)
    projector = column(4 * width, text.integer("hidden_size"), bias=outer.flag("projector_bias"))
    return whole(embeddings + halves).and_also(layers, projector)


def _glm4v(vision: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    """GLM-4.1V and 4.5V: no biases in the blocks, a strided downsampling convolution, a gated merger."""
    width = vision.integer("hidden_size")
    out = vision.optional_integer("out_hidden_size") or text.integer("hidden_size")
    merge = vision.integer("spatial_merge_size", default=2) ** 2
    grid = vision.integer("image_size") // vision.integer("patch_size")
    layers = block(width, out, norm=1, bias=False, gated=True).times(vision.integer("depth"))
    embeddings = (_patches(vision) + 1 + grid * grid + 2) * width + merge * width * out + out
    inner = vision.integer("intermediate_size")
    merger = column(out, out, bias=False).and_also(
        whole(2 * out), column(out, inner, bias=False).times(2), row(inner, out, bias=False)
    )
    return whole(embeddings).and_also(layers, merger)


def _intern_vit(vision: ConfigKeys, text: ConfigKeys, outer: ConfigKeys) -> TowerParameters:
    """InternVL: layer scales, biased blocks, pixels shuffled by `downsample_ratio`, a two-layer projector."""
    width, target = vision.integer("hidden_size"), text.integer("hidden_size")
    sides = [
        (vision.integers(key, minimum=1) or [1])[0] if isinstance(vision.values.get(key), list) else vision.integer(key)
        for key in ("image_size", "patch_size")
    ]
    grid, patch = (sides[0] // sides[1]) ** 2, 3 * sides[1] ** 2
    layers = block(width, vision.integer("intermediate_size"), norm=2).and_also(whole(2 * width))
    ratio = outer.number("downsample_ratio", 0.5, minimum=LEAST_RATIO)
    merged = _scaled(width, ratio)
    projector = whole(2 * merged).and_also(column(merged, target), row(target, target))
    embeddings = (patch + 1 + grid + 1 + 1) * width
    return whole(embeddings).and_also(layers.times(vision.integer("num_hidden_layers")), projector)


def _whisper_encoder(audio: ConfigKeys, text: ConfigKeys, _outer: ConfigKeys) -> TowerParameters:
    """Voxtral: Whisper's encoder (no bias on k), four frames joined, a two-layer projector without biases."""
    width, target = audio.integer("hidden_size"), text.integer("hidden_size")
    inner = audio.integer("intermediate_size")
    layers = block(width, inner, norm=2).times(audio.integer("num_hidden_layers"))
    convolutions = width * (3 * audio.integer("num_mel_bins") + 1) + width * (3 * width + 1)
    embeddings = convolutions + audio.integer("max_source_positions") * width + 2 * width
    projector = column(inner, target, bias=False).and_also(row(target, target, bias=False))
    return whole(embeddings).and_also(layers, projector)


def _scaled(width: int, ratio: float) -> int:
    """Width after pixels are joined by `ratio` per side, which published configs give as 0.5."""
    return int(width / ratio**2)


COUNTERS: dict[str, Callable[[ConfigKeys, ConfigKeys, ConfigKeys], TowerParameters]] = {
    "Qwen2_5_VLForConditionalGeneration": _qwen2_5,
    "Qwen3VLForConditionalGeneration": _qwen3,
    "Qwen3VLMoeForConditionalGeneration": _qwen3,
    "Qwen3OmniMoeForConditionalGeneration": _qwen3_omni,
    "Qwen3_5ForConditionalGeneration": _qwen3,
    "Qwen3_5MoeForConditionalGeneration": _qwen3,
    "Gemma3ForConditionalGeneration": _siglip,
    "Gemma4ForConditionalGeneration": _gemma4,
    "Gemma4UnifiedForConditionalGeneration": _gemma4_unified,
    "Mistral3ForConditionalGeneration": _pixtral,
    "Llama4ForConditionalGeneration": _llama4,
    "KimiK25ForConditionalGeneration": _moonvit,
    "KimiK3ForConditionalGeneration": _moonvit3,
    "MiniMaxM3SparseForConditionalGeneration": _minimax_m3,
    "Step3p7ForConditionalGeneration": _perception_encoder,
    "Glm4vForConditionalGeneration": _glm4v,
    "Glm4vMoeForConditionalGeneration": _glm4v,
    "InternVLForConditionalGeneration": _intern_vit,
    "VoxtralForConditionalGeneration": _whisper_encoder,
}
"""Counter by vision-language class."""
