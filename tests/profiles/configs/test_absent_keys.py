"""A key that changes bytes and is absent is said in the model's assumptions, or its absence is refused by name."""

import json
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.configs.huggingface import model_from_config
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.model import Attention, ModelProfile
from vllm_opt.profiles.reading.data_files import DATA

CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
GPU = CATALOG.gpu("h200-sxm")
NOT_A_SIZE = frozenset({"text_config", "vision_config", "audio_config", "quantization_config", "architectures"})
"""Sections, and the name of the class; an absent quantization_config means 16-bit weights."""


@cache
def _configs() -> tuple[tuple[str, str], ...]:
    """One config of each kind in the catalogue, as text."""
    found: dict[tuple[object, ...], tuple[str, str]] = {}
    for path in sorted((DATA / "models").glob("*.json")):
        entry = json.loads(path.read_text())
        config = entry.get("config")
        if not config or "refused" in entry:
            continue
        text = config.get("text_config") or {}
        kind = (tuple(config["architectures"]), config.get("model_type"), text.get("model_type"))
        found.setdefault(kind, (entry["id"], json.dumps(config)))
    return tuple(found.values())


def _sizes(model: ModelProfile) -> tuple[object, ...]:
    native = model.native_quantization
    quantization = native.quantization if native else "bf16"
    layout = Layout(gpu=GPU.id, quantization=quantization)
    weights = weight_bytes(model, CATALOG.quantization(quantization), layout)
    try:
        plan = plan_kv_cache(model, layout, ENGINE, GPU)
    except VllmOptError:
        return (weights,)
    return (weights, plan.block_bytes, plan.block_size, plan.blocks_per_request(8192, 8192))


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_deleting_a_key_that_changes_bytes_is_said_or_refused(data: st.DataObject) -> None:
    name, text = data.draw(st.sampled_from(_configs()))
    config: dict[str, Any] = json.loads(text)
    before = model_from_config(config, name)
    sections = [config, *(config[key] for key in ("text_config", "vision_config") if isinstance(config.get(key), dict))]
    section = data.draw(st.sampled_from(sections))
    key = data.draw(st.sampled_from(sorted(set(section) - NOT_A_SIZE)))
    del section[key]
    try:
        after = model_from_config(config, name)
    except VllmOptError:
        return
    said = set(after.assumptions) - set(before.assumptions)
    assert said or _sizes(after) == _sizes(before), f"{name}: {key}"


def test_a_text_part_saved_as_a_difference_takes_the_head_size_of_its_class() -> None:
    """`save_pretrained` drops head_dim 128 from the text part of Qwen3-VL, whose class has it as default."""
    entry = json.loads((DATA / "models" / "Qwen--Qwen3-VL-4B-Instruct.json").read_text())
    whole = model_from_config(entry["config"], "m")
    del entry["config"]["text_config"]["head_dim"]
    saved = model_from_config(entry["config"], "m")
    assert saved.layer_kinds == whole.layer_kinds
    assert "text_config.head_dim is absent: 128 taken, the default of its Hugging Face class" in saved.assumptions


def test_a_head_size_by_division_is_said_where_published_configs_state_another() -> None:
    entry = json.loads((DATA / "models" / "Qwen--Qwen3-30B-A3B.json").read_text())
    del entry["config"]["head_dim"]
    model = model_from_config(entry["config"], "m")
    assert isinstance(model.layer_kinds[0].mixer, Attention)
    assert model.layer_kinds[0].mixer.head_dim == 64
    assert any(note.startswith("head_dim is absent: 64 taken") for note in model.assumptions)


@pytest.mark.parametrize(
    ("name", "key", "taken"),
    [
        ("google--gemma-4-31B-it", "hidden_size_per_layer_input", "256"),
        ("google--gemma-4-E2B-it", "num_kv_shared_layers", "0"),
        ("google--gemma-4-E2B-it", "use_double_wide_mlp", "false"),
        ("nvidia--NVIDIA-Nemotron-3-Super-120B-A12B-FP8", "moe_latent_size", "none"),
    ],
)
def test_an_absent_key_has_the_value_of_its_class_and_is_said(name: str, key: str, taken: str) -> None:
    config: dict[str, Any] = json.loads((DATA / "models" / f"{name}.json").read_text())["config"]
    section = config.get("text_config", config)
    del section[key]
    left_out = model_from_config(config, "m")
    section[key] = json.loads(taken.replace("none", "null"))
    assert _sizes(left_out) == _sizes(model_from_config(config, "m"))
    assert any(note.endswith(f"{key} is absent: {taken} taken, the default of its Hugging Face class")
               for note in left_out.assumptions)  # fmt: skip


@pytest.mark.parametrize("key", ["attn_res_block_size", "routed_expert_hidden_size", "mla_use_output_gate"])
def test_a_key_without_any_known_default_is_refused_by_name(key: str) -> None:
    config = json.loads((DATA / "models" / "moonshotai--Kimi-K3.json").read_text())["config"]
    del config["text_config"][key]
    with pytest.raises(VllmOptError, match=f"lacks {key}, without which it cannot be sized"):
        model_from_config(config, "m")


HOSTILE: list[tuple[str, tuple[str, ...], object, str]] = [
    ("tencent--Hunyuan-A13B-Instruct", ("moe_topk",), [0, 8], "moe_topk = 0, outside 1"),
    (
        "meta-llama--Llama-4-Scout-17B-16E-Instruct",
        ("vision_config", "pixel_shuffle_ratio"),
        5e-324,
        "pixel_shuffle_ratio = 5e-324, outside 0.015625 to 1",
    ),
    ("deepseek-ai--DeepSeek-V4-Flash", ("compress_ratios",), [3] * 44, "the compress ratio 3"),
    ("deepseek-ai--DeepSeek-V4-Flash", ("compress_ratios",), [4], "lacks compress_ratios"),
    ("deepseek-ai--DeepSeek-V4-Flash", ("expert_dtype",), "int3", "expert_dtype 'int3'"),
    ("deepseek-ai--DeepSeek-V4-Flash", ("o_groups",), 7, "o_groups = 7 does not divide"),
    ("moonshotai--Kimi-K3", ("text_config", "linear_attn_config", "kda_layers"), [1], "each of its 93 layers once"),
    ("MiniMaxAI--MiniMax-M3", ("text_config", "moe_layer_freq"), [1, 0], "2 entries in moe_layer_freq for 60 layers"),
    ("stepfun-ai--Step-3.7-Flash", ("text_config", "moe_layers_enum"), "3,x", "moe_layers_enum = '3,x'"),
    ("openai--whisper-small", ("encoder_layers",), 10**9, "encoder_layers = 1000000000, more than 1000"),
    ("meituan-longcat--LongCat-Flash-Chat", ("num_layers",), 10**9, "num_layers = 1000000000, more than 1000"),
    ("poolside--Laguna-XS.2", ("num_attention_heads_per_layer",), [48], "1 entries in num_attention_heads_per_layer"),
]


@pytest.mark.parametrize(("file", "path", "value", "sentence"), HOSTILE)
def test_a_value_that_no_model_has_is_one_sentence(
    file: str, path: tuple[str, ...], value: object, sentence: str
) -> None:
    config = json.loads((DATA / "models" / f"{file}.json").read_text())["config"]
    section = config
    for part in path[:-1]:
        section = section[part]
    section[path[-1]] = value
    with pytest.raises(VllmOptError) as caught:
        model_from_config(config, "m")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"hidden_size": 2_000_000_000, "intermediate_size": 2_000_000_000}, "parameters, more than 1e+15"),
        ({"num_hidden_layers": 10_000, "hidden_size": 10**9, "head_dim": 128}, "parameters, more than 1e+15"),
        ({"vocab_size": 2_000_000_000, "hidden_size": 2_000_000, "head_dim": 128}, "parameters, more than 1e+15"),
        ({"max_position_embeddings": 2_000_000_000, "rope_parameters": None}, "a context of 2000000000 tokens"),
    ],
)
def test_a_model_too_large_to_be_is_one_sentence(changes: dict[str, object], sentence: str) -> None:
    config = json.loads((DATA / "models" / "Qwen--Qwen3-8B.json").read_text())["config"] | changes
    with pytest.raises(VllmOptError) as caught:
        model_from_config(config, "m")
    assert sentence in str(caught.value)
