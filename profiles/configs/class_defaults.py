"""What a Hugging Face class takes for a key that a config leaves out, where the key changes what memory holds.

`save_pretrained` writes a nested `text_config` as the difference from its class, so a saved-again checkpoint may lack a
key that the published one states. Values: class attributes of `transformers` 5.20.2,
https://github.com/huggingface/transformers/tree/v5.20.2/src/transformers/models (`configuration_<model_type>.py`).
None means that the class has no value either: the key then counts as off, and the model says so.
"""

from collections.abc import Mapping

from vllm_opt.profiles.configs.reader import ConfigKeys

Default = int | bool | str | tuple[int, ...] | None

_GEMMA4: dict[str, Default] = {
    "num_key_value_heads": 4,
    "attention_k_eq_v": False,
    "num_global_key_value_heads": None,
}
_QWEN3_5: dict[str, Default] = {"head_dim": 256, "mamba_ssm_dtype": None}
_QWEN_VISION: dict[str, Default] = {"temporal_patch_size": 2, "spatial_merge_size": 2}

CLASS_DEFAULTS: Mapping[str, Mapping[str, Default]] = {
    "deepseek_v3": {"q_lora_rank": 1536, "topk_method": None},
    "deepseek_v32": {"q_lora_rank": 1536, "topk_method": None},
    "exaone4": {"sliding_window": 4096},
    "gemma2": {"num_key_value_heads": 4},
    "gemma3_text": {"num_key_value_heads": 4},
    "gemma4_text": {
        **_GEMMA4,
        "hidden_size_per_layer_input": 256,
        "num_kv_shared_layers": 0,
        "use_double_wide_mlp": False,
        "use_bidirectional_attention": None,
    },
    "gemma4_unified_text": _GEMMA4,
    "glm4_moe": {"num_key_value_heads": 8, "attention_bias": False, "use_qk_norm": False},
    "glm4_moe_lite": {"q_lora_rank": 768, "topk_method": None},
    "glm4v_moe_text": {"head_dim": 128, "num_key_value_heads": 8, "attention_bias": True},
    "glm4v_text": {"num_key_value_heads": 2},
    "glm_moe_dsa": {"q_lora_rank": 2048, "topk_method": None},
    "gpt_oss": {"head_dim": 64, "num_key_value_heads": 8},
    "hunyuan": {"use_mixed_mlp_moe": False, "use_qk_norm": False},
    "kimi_k2": {"q_lora_rank": 1536, "topk_method": None},
    "kimi_linear": {"q_lora_rank": None},
    "llama4_text": {"head_dim": 128, "num_key_value_heads": 8, "attention_chunk_size": 8192},
    "longcat_flash": {"q_lora_rank": 1536},
    "mimo_v2_flash": {
        "head_dim": 192,
        "num_key_value_heads": 4,
        "topk_method": None,
        "add_swa_attention_sink_bias": False,
        "add_full_attention_sink_bias": False,
    },
    "minimax_m2": {"head_dim": 128, "num_key_value_heads": 8},
    "ministral3": {"head_dim": 128, "num_key_value_heads": 8},
    "mistral": {"num_key_value_heads": 8},
    "mistral4": {"q_lora_rank": 1024},
    "nemotron_h": {"head_dim": 128, "num_key_value_heads": 8},
    "phi3": {"sliding_window": None},
    "phi4mm": {"sliding_window": None},
    "qwen2_moe": {"shared_expert_intermediate_size": 5632},
    "qwen3": {"head_dim": 128},
    "qwen3_5_moe_text": _QWEN3_5
    | {"num_key_value_heads": 2, "num_experts": 256, "shared_expert_intermediate_size": 512},
    "qwen3_5_text": _QWEN3_5 | {"num_key_value_heads": 4},
    "qwen3_moe": {"num_key_value_heads": 4},
    "qwen3_next": {
        "head_dim": 256,
        "num_key_value_heads": 2,
        "num_experts": 512,
        "shared_expert_intermediate_size": 512,
    },
    "qwen3_vl_moe_text": {"num_key_value_heads": 16},
    "qwen3_vl_text": {"head_dim": 128},
    "seed_oss": {"head_dim": 128, "num_key_value_heads": 8, "attention_bias": True, "attention_out_bias": False},
    "starcoder2": {"num_key_value_heads": 2, "sliding_window": None},
}
"""`model_type` of the text part -> key -> value."""

VISION_DEFAULTS: Mapping[str, Mapping[str, Default]] = {
    "Qwen2_5_VLForConditionalGeneration": _QWEN_VISION,
    "Qwen3VLForConditionalGeneration": _QWEN_VISION | {"deepstack_visual_indexes": (8, 16, 24)},
    "Qwen3VLMoeForConditionalGeneration": _QWEN_VISION | {"deepstack_visual_indexes": (8, 16, 24)},
    "Qwen3OmniMoeForConditionalGeneration": _QWEN_VISION | {"deepstack_visual_indexes": (8, 16, 24)},
    "Glm4vForConditionalGeneration": _QWEN_VISION,
    "Glm4vMoeForConditionalGeneration": _QWEN_VISION,
    "Qwen3_5ForConditionalGeneration": _QWEN_VISION,
    "Qwen3_5MoeForConditionalGeneration": _QWEN_VISION,
}
"""Vision-language class -> key of its `vision_config` -> value."""

HEAD_DIM_IS_STATED = frozenset(
    {"qwen3_moe", "qwen3_vl_moe_text", "minimax_m1", "mistral", "mixtral", "granite", "phi3", "hy_v3"}
)
"""Types whose class divides hidden_size by the heads although many published configs state another head_dim."""

USUAL_HEAD_DIMS = frozenset({64, 128, 256})


def take_class_defaults(keys: ConfigKeys, defaults: Mapping[str, Default]) -> None:
    """Give `keys` the class's value for every key of `defaults` that it lacks, and note each; null stays null."""
    missing = {key: value for key, value in defaults.items() if key not in keys.values}
    for key, value in missing.items():
        keys.take(key, _shown(value), "the default of its Hugging Face class")
    filled = {key: list(value) if isinstance(value, tuple) else value for key, value in missing.items()}
    keys.values = {**filled, **keys.values}


def _shown(value: Default) -> str:
    if value is None:
        return "none"
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower()


def note_divided_head_dim(keys: ConfigKeys, head_dim: int) -> None:
    """Note that hidden_size / num_attention_heads stands for an absent `head_dim` where that may be a loss."""
    stated_elsewhere = keys.text("model_type") in HEAD_DIM_IS_STATED
    if (stated_elsewhere and not (head_dim in USUAL_HEAD_DIMS and head_dim >= 128)) or head_dim not in USUAL_HEAD_DIMS:
        keys.take("head_dim", head_dim, "hidden_size / num_attention_heads, the default of its Hugging Face class")
