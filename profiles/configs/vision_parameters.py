"""Parameters of vision towers and their projectors, and which of them tensor parallelism divides (vLLM 0.33)."""

from collections.abc import Callable
from typing import NamedTuple

from vllm_opt.profiles.configs.reader import ConfigKeys


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
        column(int(width / ratio**2), middle, bias=False),
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


COUNTERS: dict[str, Callable[[ConfigKeys, ConfigKeys, ConfigKeys], TowerParameters]] = {
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
"""Counter by vision-language class."""
