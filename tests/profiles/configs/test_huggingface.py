"""A config.json becomes layers, a context limit and a storage format, or is refused in one sentence."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.profiles.configs.huggingface import ARCHITECTURES, model_from_config, model_from_path
from vllm_opt.profiles.configs.reader import read_config
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, VllmOptError
from vllm_opt.profiles.nouns.model import Attention, DenseMlp, Experts, LatentAttention, StateSpace

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MOE = LLAMA | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
    "mlp_only_layers": [0],
}


def test_llama_becomes_identical_layers() -> None:
    model = model_from_config(LLAMA, "meta/llama")
    assert model.num_hidden_layers == 32
    (kind,) = model.layer_kinds
    assert kind.mixer == Attention(num_attention_heads=32, num_key_value_heads=8, head_dim=128, v_head_dim=128)
    assert kind.feed_forward == DenseMlp(intermediate_size=14336)
    assert kind.norm_parameters == 2 * 4096
    assert model.final_norm_parameters == 4096
    assert (model.vocab_size, model.max_model_len, model.dtype) == (128256, 131072, "bfloat16")
    assert model.native_quantization is None
    assert model.assumptions == ()


def test_absent_keys_take_the_class_default_and_are_noted() -> None:
    config = {key: value for key, value in LLAMA.items() if key not in ("tie_word_embeddings", "torch_dtype")}
    model = model_from_config(config, "m")
    assert model.dtype == "bfloat16"
    assert model.tie_word_embeddings is False
    assert [note.split(" is absent")[0] for note in model.assumptions] == ["dtype", "tie_word_embeddings"]
    gemma = config | {"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "head_dim": 256}
    assert model_from_config(gemma, "g").tie_word_embeddings is True


def test_null_key_value_heads_mean_multi_head_attention() -> None:
    mixer = model_from_config(LLAMA | {"num_key_value_heads": None}, "m").layer_kinds[0].mixer
    assert isinstance(mixer, Attention)
    assert mixer.num_key_value_heads == 32


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        (None, 131072),
        ({"rope_type": "llama3", "factor": 8.0}, 131072),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}, 131072),
        ({"type": "linear", "factor": 2.0}, 262144),
        ({"type": "dynamic", "factor": 2.0}, 262144),
        ({"rope_type": "default"}, 131072),
        ({"type": "mrope", "mrope_section": [16, 24, 24]}, 131072),
    ],
)
def test_context_limit_follows_the_rope_type(rope: object, expected: int) -> None:
    """vLLM 0.33 multiplies by `factor` unless the type's max_position_embeddings already includes it."""
    assert model_from_config(LLAMA | {"rope_scaling": rope}, "m").max_model_len == expected


def test_longrope_starts_at_the_original_length() -> None:
    rope = {"type": "longrope", "long_factor": [1.0], "short_factor": [1.0]}
    config = LLAMA | {"architectures": ["Phi3ForCausalLM"], "rope_scaling": rope}
    model = model_from_config(config | {"original_max_position_embeddings": 4096}, "phi")
    assert (model.max_model_len, model.default_max_model_len) == (131072, 4096)


def test_model_max_length_wins_over_position_embeddings() -> None:
    assert model_from_config(LLAMA | {"model_max_length": 4096}, "m").max_model_len == 4096
    assert model_from_config(LLAMA | {"model_max_length": 262144}, "m").max_model_len == 262144


def test_without_any_length_vllm_takes_2048() -> None:
    config = {key: value for key, value in LLAMA.items() if key != "max_position_embeddings"}
    model = model_from_config(config, "m")
    assert model.max_model_len == 2048
    assert any("max_position_embeddings" in note for note in model.assumptions)


def test_mistral_windows_every_layer_unless_null() -> None:
    config = LLAMA | {"architectures": ["MistralForCausalLM"]}
    assert _windows(config | {"sliding_window": None}) == {None}
    assert _windows(config | {"sliding_window": 4096}) == {4096}
    assert _windows(config) == {4096}


def test_gemma3_has_five_sliding_layers_to_a_full_one() -> None:
    config = LLAMA | {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "sliding_window": 512,
        "num_hidden_layers": 26,
        "head_dim": 256,
    }
    model = model_from_config(config, "g")
    full = [index for index, layer in enumerate(model.layers) if _window(layer.mixer) is None]
    assert full == [5, 11, 17, 23]
    assert model.layer_kinds[0].norm_parameters == 4 * 4096


def test_gemma3_rope_factor_is_already_in_the_length() -> None:
    text = {key: value for key, value in LLAMA.items() if key != "max_position_embeddings"} | {
        "model_type": "gemma3_text",
        "sliding_window": 1024,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0},
        "head_dim": 256,
    }
    config = {"architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": text}
    assert model_from_config(config, "g").max_model_len == 131072


def test_qwen_window_needs_use_sliding_window() -> None:
    config = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "sliding_window": 4096, "max_window_layers": 28}
    assert _windows(config | {"use_sliding_window": False}) == {None}
    model = model_from_config(config | {"use_sliding_window": True}, "q")
    assert [_window(layer.mixer) for layer in model.layers] == [None] * 28 + [4096] * 4


def test_qwen_moe_mixes_dense_and_expert_layers() -> None:
    model = model_from_config(MOE, "q")
    assert model.layer_pattern == (0,) + (1,) * 31
    dense, sparse = model.layer_kinds
    assert dense.feed_forward == DenseMlp(intermediate_size=14336)
    assert sparse.feed_forward == Experts(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768)


def test_deepseek_has_latent_attention_and_first_dense_layers() -> None:
    config = LLAMA | {
        "architectures": ["DeepseekV3ForCausalLM"],
        "q_lora_rank": 1536,
        "kv_lora_rank": 512,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "n_routed_experts": 256,
        "n_shared_experts": 1,
        "num_experts_per_tok": 8,
        "moe_intermediate_size": 2048,
        "first_k_dense_replace": 3,
        "topk_method": "noaux_tc",
    }
    model = model_from_config(config, "d")
    assert model.layer_pattern == (0,) * 3 + (1,) * 29
    mixer = model.layer_kinds[0].mixer
    assert isinstance(mixer, LatentAttention)
    assert (mixer.q_lora_rank, mixer.kv_lora_rank, mixer.qk_rope_head_dim) == (1536, 512, 64)
    experts = model.layer_kinds[1].feed_forward
    assert isinstance(experts, Experts)
    assert (experts.num_experts, experts.shared_expert_intermediate_size, experts.router_bias) == (256, 2048, True)


def test_nemotron_h_counts_layers_from_its_pattern() -> None:
    config = LLAMA | {
        "architectures": ["NemotronHForCausalLM"],
        "num_hidden_layers": None,
        "hybrid_override_pattern": "M-M*",
        "mamba_num_heads": 128,
        "mamba_head_dim": 64,
        "ssm_state_size": 128,
        "n_groups": 8,
        "conv_kernel": 4,
    }
    model = model_from_config(config, "n")
    assert model.layer_pattern == (0, 1, 0, 2)
    mamba, mlp, full = model.layer_kinds
    assert isinstance(mamba.mixer, StateSpace)
    assert (mamba.mixer.num_heads, mamba.mixer.head_dim, mamba.mixer.state_size) == (128, 64, 128)
    assert mlp.mixer is None
    assert mlp.feed_forward == DenseMlp(intermediate_size=14336, gated=False)
    assert isinstance(full.mixer, Attention)


@pytest.mark.parametrize(
    ("stored", "quantization", "group_size", "static"),
    [
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8_block", 128, False),
        ({"quant_method": "fp8", "activation_scheme": "static"}, "fp8_per_tensor", None, True),
        ({"quant_method": "awq", "bits": 4, "group_size": 128}, "awq", 128, False),
        ({"quant_method": "gptq", "bits": 4, "group_size": 64}, "gptq", 64, False),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, "gptq_int8", None, False),
        ({"quant_method": "mxfp4"}, "mxfp4", 32, False),
        ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, "nvfp4", 16, False),
        ({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}}, "fp8_per_tensor", None, True),
    ],
)
def test_quantization_config_is_named(stored: object, quantization: str, group_size: int | None, static: bool) -> None:
    native = model_from_config(LLAMA | {"quantization_config": stored}, "m").native_quantization
    assert native is not None
    assert (native.quantization, native.group_size, native.static_activation_scales) == (
        quantization,
        group_size,
        static,
    )


@pytest.mark.parametrize(
    ("weights", "activations", "quantization"),
    [
        ({"num_bits": 8, "type": "float", "strategy": "channel"}, {"num_bits": 8, "dynamic": True}, "fp8"),
        ({"num_bits": 8, "type": "float", "strategy": "tensor"}, {"num_bits": 8, "dynamic": False}, "fp8_per_tensor"),
        ({"num_bits": 8, "type": "int", "strategy": "channel"}, {"num_bits": 8, "dynamic": True}, "int8"),
        ({"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}, None, "w4a16"),
        ({"num_bits": 4, "type": "float", "group_size": 16}, {"num_bits": 4, "dynamic": "local"}, "nvfp4"),
        ({"num_bits": 4, "type": "float", "group_size": 32}, None, "mxfp4"),
    ],
)
def test_compressed_tensors_groups_are_named(weights: object, activations: object, quantization: str) -> None:
    group = {"targets": ["Linear"], "weights": weights, "input_activations": activations}
    stored = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    native = model_from_config(LLAMA | {"quantization_config": stored}, "m").native_quantization
    assert native is not None
    assert native.quantization == quantization


def test_ignored_modules_name_parts_and_layers() -> None:
    stored = {
        "quant_method": "modelopt",
        "quant_algo": "NVFP4",
        "kv_cache_scheme": {"num_bits": 8, "type": "float"},
        "ignore": [
            "lm_head",
            "model.layers.0*",
            *[f"model.layers.{i}.self_attn*" for i in range(1, 32)],
            "model.layers.5.mlp.gate",
            "model.layers.5.input_layernorm",
            "mtp.layers.0*",
        ],
    }
    native = model_from_config(MOE | {"quantization_config": stored}, "m").native_quantization
    assert native is not None
    assert native.kv_cache_dtype == "fp8"
    found = {(entry.part, entry.quantization): entry.layers for entry in native.part_formats}
    assert found[("attention", "bf16")] is None
    assert found[("dense_mlp", "bf16")] == (0,)
    assert ("router", "bf16") not in found
    assert ("lm_head", "bf16") not in found


def test_mixed_checkpoint_keeps_its_narrow_format_as_main() -> None:
    layers = {f"model.layers.{i}.self_attn.q_proj": {"quant_algo": "FP8"} for i in range(32)}
    layers |= {f"model.layers.{i}.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16} for i in range(32)}
    stored = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "quantized_layers": layers}
    native = model_from_config(LLAMA | {"quantization_config": stored}, "m").native_quantization
    assert native is not None
    assert native.quantization == "nvfp4"
    assert {(entry.part, entry.quantization) for entry in native.part_formats} == {
        ("attention", "fp8_per_tensor"),
        ("dense_mlp", "nvfp4"),
    }


@pytest.mark.parametrize("key", ["hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(InvalidRequest, match=key):
        model_from_config({name: value for name, value in LLAMA.items() if name != key}, "m")


@pytest.mark.parametrize("value", ["4096", True, -1, 0, 4096.5, [4096], {"a": 1}, 10**40, float("nan"), float("inf")])
def test_a_wrong_dimension_is_refused_by_name(value: object) -> None:
    with pytest.raises(InvalidRequest, match="hidden_size"):
        model_from_config(LLAMA | {"hidden_size": value}, "m")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"attention_bias": "yes"}, "attention_bias"),
        ({"torch_dtype": "int8"}, "dtype"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "8"}}, "factor"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"hidden_size": 4097}, "head_dim"),
        ({"quantization_config": {"quant_method": "secret"}}, "secret"),
        ({"quantization_config": "fp8"}, "quantization_config"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 3}}, "3 bits"),
        ({"num_hidden_layers": 1_000_000_000}, "layers"),
        ({"architectures": []}, "architectures"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"architectures": [None]}, "architectures"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(change: dict[str, object], named: str) -> None:
    with pytest.raises(InvalidRequest, match=named):
        model_from_config(LLAMA | change, "m")


def test_an_unknown_architecture_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownProfile, match=r"'Qwen9ForCausalLM'.*did you mean 'Qwen"):
        model_from_config(LLAMA | {"architectures": ["Qwen9ForCausalLM"]}, "m")


def test_a_known_architecture_without_rule_says_why() -> None:
    with pytest.raises(UnknownProfile, match=r"vLLM dropped it after 0\.10\.2"):
        model_from_config(LLAMA | {"architectures": ["MllamaForConditionalGeneration"]}, "m")


def test_remote_code_keys_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "modeling.py").write_text("raise SystemExit('executed')")
    config = LLAMA | {"auto_map": {"AutoConfig": "modeling.Config"}, "trust_remote_code": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_from_path(tmp_path).layer_kinds == model_from_config(LLAMA, "m").layer_kinds


def test_hf_quant_config_beside_the_config_is_read(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "hf_quant_config.json").write_text(json.dumps({"quantization": {"quant_algo": "NVFP4"}}))
    native = model_from_path(tmp_path).native_quantization
    assert native is not None
    assert native.quantization == "nvfp4"
    assert model_from_path(tmp_path).id == str(tmp_path)


def test_infinity_is_accepted_where_nothing_depends_on_it(tmp_path: Path) -> None:
    text = json.dumps(LLAMA)[:-1] + ', "time_step_limit": [0.0, Infinity]}'
    (tmp_path / "config.json").write_text(text)
    assert model_from_path(tmp_path / "config.json").hidden_size == 4096


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "not valid JSON"),
        (b'{"hidden_size": 4096', "not valid JSON"),
        (b"[]", "array"),
        (b"null", "null"),
        (b'"text"', "string"),
        (b"[" * 10_000 + b"]" * 10_000, "nested"),
        (b'{"a": ' * 10_000 + b"1" + b"}" * 10_000, "nested"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "digits"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b'{"a": "' + b"x" * (17 << 20) + b'"}', "larger than 16 MiB"),
    ],
)
def test_a_damaged_file_is_one_sentence(tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(InvalidRequest, match=named) as raised:
        read_config(file)
    assert "\n" not in str(raised.value)


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_config(tmp_path / "nothing.json")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_config(tmp_path)
    with pytest.raises(InvalidRequest, match="not a usable path"):
        read_config("config\0.json")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(
    architecture=st.sampled_from(ARCHITECTURES),
    changes=st.dictionaries(
        st.sampled_from(
            [*MOE, "layer_types", "rope_scaling", "quantization_config", "text_config", "vision_config", "head_dim"]
        ),
        JSON_VALUES,
        max_size=3,
    ),
)
def test_any_json_gives_a_model_or_one_sentence(architecture: str, changes: dict[str, object]) -> None:
    config = MOE | {"architectures": [architecture]} | {k: v for k, v in changes.items() if k != "architectures"}
    try:
        model = model_from_config(config, "m")
    except VllmOptError as error:
        assert "\n" not in str(error)  # noqa: PT017
    else:
        assert model.num_hidden_layers == len(model.layers)


def _window(mixer: object) -> int | None:
    assert isinstance(mixer, Attention)
    return mixer.window_tokens


def _windows(config: dict[str, object]) -> set[int | None]:
    return {_window(layer.mixer) for layer in model_from_config(config, "m").layers}
