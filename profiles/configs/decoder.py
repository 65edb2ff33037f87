"""Decoder: what a family's reader returns, and the pieces that most families share."""

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from vllm_opt.profiles.configs.class_defaults import note_divided_head_dim
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp


class Decoder(NamedTuple):
    """The text part of a model, as one family's reader understood it."""

    layers: Sequence[DecoderLayer]
    final_norm_parameters: int
    tied_by_default: bool = False
    extra_parameters: int = 0
    divided_parameters: int = 0
    per_layer_embedding_width: int = 0
    notes: tuple[str, ...] = ()
    hyper_connections: int = 0


DecoderReader = Callable[[ConfigKeys], Decoder]


class Shape(NamedTuple):
    """The numbers that every attention decoder states."""

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int


def shape(keys: ConfigKeys) -> Shape:
    """Read the common numbers; `head_dim` is hidden_size / num_attention_heads where it is absent."""
    hidden_size = keys.integer("hidden_size", "n_embed", "n_embd")
    heads = keys.integer("num_attention_heads", "n_head")
    kv_heads = key_value_heads(keys, heads, "num_key_value_heads", "num_kv_heads")
    return Shape(hidden_size, keys.layer_count(), heads, kv_heads, head_dim(keys, hidden_size, heads))


def key_value_heads(keys: ConfigKeys, heads: int, *names: str) -> int:
    """Return the key-value heads; where no key states them there are as many as heads, and the model says so."""
    stated = keys.optional_integer(*names)
    if stated is None:
        keys.take(names[0], heads, "as many as attention heads, the default of its Hugging Face class")
    return stated or heads


def head_dim(keys: ConfigKeys, hidden_size: int, heads: int) -> int:
    """Elements of one head: `head_dim`, else hidden_size / num_attention_heads, which must divide."""
    stated = keys.optional_integer("head_dim", "attention_head_dim")
    if stated is None and hidden_size % heads:
        keys.refuse(f"lacks head_dim, and num_attention_heads {heads} does not divide hidden_size {hidden_size}")
    if stated is None:
        note_divided_head_dim(keys, hidden_size // heads)
    return stated if stated is not None else hidden_size // heads


def attention(common: Shape, **changes: object) -> Attention:
    """Attention of the common shape with `changes` applied."""
    fields: dict[str, object] = {
        "num_attention_heads": common.num_attention_heads,
        "num_key_value_heads": common.num_key_value_heads,
        "head_dim": common.head_dim,
        "v_head_dim": common.head_dim,
    }
    return Attention.model_validate(fields | changes)


def windowed(mixer: Attention, window: int | None) -> Attention:
    """`mixer` with a sliding window of `window` tokens; None leaves full attention."""
    return mixer if window is None else mixer.model_copy(update={"kind": "sliding_window", "window_tokens": window})


def layer_windows(
    keys: ConfigKeys, layers: int, *, default_window: int | None, default_period: int
) -> list[int | None]:
    """Window of each layer from `layer_types`, else every `default_period`-th layer full and the others sliding.

    `sliding_window_pattern` (a number, or Exaone's "LLLG") is the older spelling of the period.
    """
    window = keys.optional_integer("sliding_window", "sliding_window_size")
    if window is None and default_window is not None:
        window = keys.integer("sliding_window", default=default_window)
    kinds = keys.strings("layer_types")
    if kinds is None:
        period = _pattern_period(keys)
        if period is None:
            period = default_period
            keys.take("layer_types", f"one full layer in {period}", "the default of its Hugging Face class")
        kinds = ["full_attention" if (i + 1) % period == 0 else "sliding_attention" for i in range(layers)]
    check_length(keys, "layer_types", len(kinds), layers)
    return [window if layer_kind(keys, kind) == "sliding_attention" else None for kind in kinds]


def _pattern_period(keys: ConfigKeys) -> int | None:
    """Layers from one full layer to the next: a number, or the length of letters such as "LLLG"."""
    pattern = keys.values.get("sliding_window_pattern")
    if not isinstance(pattern, str):
        return keys.optional_integer("sliding_window_pattern")
    if not re.fullmatch("L*G", pattern):
        keys.refuse(f"has sliding_window_pattern = {pattern[:40]!r} where a number or local layers (L) and a G belong")
    return len(pattern)


def layer_kind(keys: ConfigKeys, kind: str) -> str:
    """Return `kind` when it is an attention kind that this project has a rule for; refuse it by name otherwise."""
    if kind not in ("full_attention", "sliding_attention"):
        keys.refuse(f"names the layer type '{kind[:60]}', for which there is no rule yet")
    return kind


def check_length(keys: ConfigKeys, key: str, found: int, layers: int) -> None:
    """Refuse a per-layer list that does not name each layer once."""
    if found != layers:
        keys.refuse(f"has {found} entries in {key} for {layers} layers")


def dense_mlp(keys: ConfigKeys, *, bias: bool = False, gated: bool = True) -> DenseMlp:
    """The dense feed-forward block of `intermediate_size`."""
    return DenseMlp(intermediate_size=keys.integer("intermediate_size"), gated=gated, bias=bias)
