"""Features of a server in `estimate`: what each changes, and that bad input is refused in one sentence."""

import pytest
from pydantic import ValidationError

from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
YARN = '{"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768%s}%s}'


def _run(**fields: object) -> Estimate:
    return estimate(EstimateRequest(**{"gpu": "h100", "max_model_len": 8192, **fields}), CATALOG)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fields",
    [
        {"hf_overrides": "[1]"},
        {"hf_overrides": "{"},
        {"hf_overrides": '{"rope_parameters": 3}'},
        {"hf_overrides": '{"rope_parameters": {"rope_type": "spiral", "factor": 2}}'},
        {"hf_overrides": '{"rope_parameters": {"rope_type": "yarn", "factor": -2}}'},
        {"hf_overrides": '{"max_position_embeddings": "many"}'},
        {"compilation_config": '{"cudagraph_capture_sizes": [1, -2]}'},
        {"compilation_config": '{"cudagraph_mode": 4000}'},
        {"kv_transfer_config": "connector"},
        {"kv_events_config": "1"},
        {"enable_eplb": True, "eplb_config": '{"num_redundant_experts": -1}'},
        {"limit_mm_per_prompt": '{"image": -1}'},
        {"limit_mm_per_prompt": '{"image": "two"}'},
        {"speculative_config": '{"method": "mtp"}', "acceptance": 1.5},
        {"speculative_config": '{"method": "telepathy", "num_speculative_tokens": 2}'},
        {"speculative_config": '{"method": "ngram", "num_speculative_tokens": 0}'},
        {"enable_lora": True, "max_lora_rank": 0},
        {"enable_lora": True, "lora_dtype": "float64"},
        {"enable_lora": True, "lora_target_modules": ("",)},
        {"enable_lora": True, "lora_target_modules": 3},
        {"enable_lora": True, "enable_moe_shared_loras": "perhaps"},
        {"enable_lora": True, "lora_target_modules": ("q_proj",), "vllm_version": "0.18"},
        {"enable_lora": True, "enable_mixed_moe_lora_format": True, "vllm_version": "0.21"},
        {"enable_lora": True, "enable_moe_shared_loras": True, "vllm_version": "0.25"},
        {"runner": "marathon"},
    ],
)  # fmt: skip
def test_bad_input_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises((InvalidRequest, ValidationError)):
        _run(**fields)


def test_adapters_take_memory_from_the_cache() -> None:
    plain, adapted = _run(), _run(enable_lora=True, max_loras=4, max_lora_rank=64)
    assert adapted.memory.lora_bytes > 0 == plain.memory.lora_bytes
    assert adapted.memory.num_gpu_blocks < plain.memory.num_gpu_blocks


def test_adapters_on_some_modules_are_vllms_bytes() -> None:
    """Rows B-H100-19, -50 and -52 of vLLM 0.33."""
    base = {"enable_lora": True, "vllm_version": "0.33"}
    attention = _run(**base, lora_target_modules=("q_proj", "v_proj"), lora_dtype="float16")
    assert attention.memory.lora_bytes == 18_874_368
    shared = {"model": "Qwen/Qwen3-30B-A3B", "tensor_parallel_size": 2, "max_loras": 2}
    assert _run(**base, **shared, enable_moe_shared_loras=True).memory.lora_bytes == 537_575_424
    mixed = {"model": "openai/gpt-oss-20b", "max_loras": 2}
    assert _run(**base, **mixed).memory.lora_bytes == 772_423_680
    assert _run(**base, **mixed, enable_mixed_moe_lora_format=True).memory.lora_bytes == 923_418_624


def test_targets_and_switches_without_effect_are_named() -> None:
    base = {"enable_lora": True, "vllm_version": "0.33", "enable_moe_shared_loras": True}
    notes = _run(**base, lora_target_modules=("model.layers.0.self_attn.q_proj", "query_key_value")).notes
    assert any("has no module query_key_value" in note for note in notes)
    assert any("name with dots" in note for note in notes)
    assert any("has no experts" in note for note in notes)


def test_drafts_take_memory() -> None:
    config = '{"method": "draft_model", "model": "Qwen/Qwen2.5-7B-Instruct", "num_speculative_tokens": 3}'
    plain = _run(model="Qwen/Qwen2.5-72B-Instruct", tensor_parallel_size=4)
    drafted = _run(model="Qwen/Qwen2.5-72B-Instruct", tensor_parallel_size=4, speculative_config=config)
    assert drafted.memory.draft_bytes > 0 == plain.memory.draft_bytes
    assert drafted.memory.kv_block_bytes > plain.memory.kv_block_bytes


def test_ngrams_take_no_weights() -> None:
    drafted = _run(speculative_config='{"method": "ngram", "num_speculative_tokens": 4}')
    assert drafted.memory.draft_bytes == 0
    assert drafted.memory.weights_bytes == _run().memory.weights_bytes


def test_a_tower_that_no_request_uses_is_not_loaded() -> None:
    model = {"model": "Qwen/Qwen3-VL-8B-Instruct", "vllm_version": "0.33"}
    seen, unseen = _run(**model), _run(language_model_only=True, **model)
    assert seen.memory.encoder_peak_bytes > 0 == unseen.memory.encoder_peak_bytes
    assert unseen.memory.weights_bytes < seen.memory.weights_bytes
    none = _run(limit_mm_per_prompt='{"image": 0, "video": 0}', **model)
    assert none.memory.weights_bytes == unseen.memory.weights_bytes


def test_images_lengthen_the_prompt() -> None:
    model = {"model": "Qwen/Qwen3-VL-8B-Instruct", "vllm_version": "0.33", "input_tokens": 256, "output_tokens": 64}
    plain, seen = _run(**model).performance, _run(images_per_request=2, **model).performance
    assert plain is not None
    assert seen is not None
    assert seen.ttft_ms > plain.ttft_ms


def test_yarn_lengthens_the_context_as_the_release_derives_it() -> None:
    """Until 0.28 and from 0.33 the factor counts differently: each form gives 131,072 in its own release."""
    model = {"model": "Qwen/Qwen2.5-7B-Instruct", "max_model_len": 131_072}
    assert _run(vllm_version="0.20", hf_overrides=YARN % ("", ""), **model).fits
    assert not _run(vllm_version="0.33", hf_overrides=YARN % ("", ""), **model).fits
    assert _run(vllm_version="0.33", hf_overrides=YARN % ("", ', "max_position_embeddings": 131072'), **model).fits
    refused = _run(vllm_version="0.33", **model)
    assert [item.rule for item in refused.violations] == ["context_length"]


def test_kv_events_cost_a_windowed_model_its_windows_in_old_releases() -> None:
    model = {"model": "google/gemma-3-27b-it", "tensor_parallel_size": 2, "max_model_len": 65_536}
    events = '{"enable_kv_cache_events": true}'
    old, kept = (_run(vllm_version="0.19", kv_events_config=given, **model) for given in (events, None))
    assert old.memory.running_concurrency < kept.memory.running_concurrency
    new, same = (_run(vllm_version="0.33", kv_events_config=given, **model) for given in (events, None))
    assert new.memory.running_concurrency == same.memory.running_concurrency
