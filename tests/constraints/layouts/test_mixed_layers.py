"""Layouts of models whose layers differ: which layer decides, and formats that only a part is stored in."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.divisibility import violations
from vllm_opt.constraints.layouts.quantization_groups import group_violations
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.checkpoint import CheckpointQuantization, PartFormat
from vllm_opt.profiles.nouns.model import Attention, DecoderLayer, DenseMlp, ModelProfile

CATALOG = Catalog()


def model(*mixers: Attention, inner: int = 4096, native: CheckpointQuantization | None = None) -> ModelProfile:
    kinds = tuple(DecoderLayer(mixer=mixer, feed_forward=DenseMlp(intermediate_size=inner)) for mixer in mixers)
    return ModelProfile(
        id="a/b", model_type="llama", architecture="LlamaForCausalLM", hidden_size=2048, vocab_size=32000,
        max_model_len=8192, layer_kinds=kinds, layer_pattern=tuple(range(len(kinds))) * 2, final_norm_parameters=2048,
        native_quantization=native,
    )  # fmt: skip


def attention(kv_heads: int, window: int | None = None) -> Attention:
    return Attention(
        kind="full" if window is None else "sliding_window", num_attention_heads=16, num_key_value_heads=kv_heads,
        head_dim=128, v_head_dim=128, window_tokens=window,
    )  # fmt: skip


@pytest.mark.parametrize("order", ["window first", "window last"])
def test_context_parallelism_asks_the_layer_that_keeps_every_token(order: str) -> None:
    """Two KV heads over four ranks leave room for two contexts; the window's eight heads decide nothing."""
    mixers = [attention(2), attention(8, window=1024)]
    mixed = model(*(reversed(mixers) if order == "window first" else mixers))
    layout = Layout(gpu="h100-sxm", tensor_parallel_size=4, decode_context_parallel_size=2)
    found = violations(mixed, CATALOG.quantization("bf16"), layout, CATALOG.engine("0.33")[0], CATALOG.gpu("h100"))
    assert [violation.message for violation in found] == ["DCP not support sliding window."]


@pytest.mark.parametrize(("inner", "refused"), [(4096, False), (4112, True)])
def test_groups_of_one_part_of_a_checkpoint_count(inner: int, refused: bool) -> None:
    """An 8-bit checkpoint whose MLPs are mxfp8: 4112 / 2 columns hold no whole groups of 32."""
    native = CheckpointQuantization(
        quantization="fp8_per_tensor", method="modelopt",
        part_formats=(PartFormat(part="dense_mlp", quantization="mxfp8"),),
    )  # fmt: skip
    mixed = model(attention(4), inner=inner, native=native)
    layout = Layout(gpu="b200", tensor_parallel_size=2, quantization="fp8_per_tensor")
    assert bool(list(group_violations(mixed, CATALOG.quantization("fp8_per_tensor"), layout))) is refused
