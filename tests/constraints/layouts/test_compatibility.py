"""Weight format, KV dtype, block size and release on one SKU: what goes together and what does not."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.compatibility import violations
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"


def _messages(
    name: str = LLAMA, quantization: str = "bf16", gpu: str = "h100-sxm", version: str = "0.33", **layout: object
) -> list[str]:
    sku, model = CATALOG.gpu(gpu), CATALOG.model(name)
    engine, _ = CATALOG.engine(version)
    asked = Layout(gpu=sku.id, quantization=quantization, **layout)  # type: ignore[arg-type]
    found = violations(model, CATALOG.quantization(quantization), asked, engine, sku)
    assert all(violation.rule == "compatibility" for violation in found)
    return [violation.message for violation in found]


@pytest.mark.parametrize(
    ("quantization", "gpu", "layout"),
    [
        ("bf16", "h100-sxm", {}),
        ("bf16", "t4", {}),
        ("awq", "t4", {}),
        ("fp8", "h100-sxm", {"kv_cache_dtype": "fp8"}),
        ("bf16", "l40s", {"kv_cache_dtype": "fp8"}),
        ("bf16", "b200", {"kv_cache_dtype": "nvfp4"}),
        ("bf16", "h100-sxm", {"block_size": 48}),
        ("bf16", "h100-sxm", {"kv_cache_dtype": "bfloat16"}),
    ],
)
def test_goes_together(quantization: str, gpu: str, layout: dict[str, object]) -> None:
    assert _messages(quantization=quantization, gpu=gpu, **layout) == []


def test_capability_of_the_weight_format() -> None:
    assert _messages("openai/gpt-oss-20b", "mxfp4", gpu="t4") == [
        "The quantization method gpt_oss_mxfp4 is not supported for the current GPU. Minimum capability: 80. "
        "Current capability: 75.",
        "torch.float16 is not supported for quantization method gpt_oss_mxfp4. Supported dtypes: [torch.bfloat16]",
    ]


def test_formats_of_other_vendors() -> None:
    (message,) = _messages(quantization="nvfp4", gpu="mi300x")
    assert "no kernels in vLLM for amd GPUs" in message


def test_formats_that_releases_do_not_know() -> None:
    assert _messages(quantization="nvfp4", version="0.6.6") != []
    (message,) = _messages(quantization="bitsandbytes", version="0.33")
    assert "without a plugin" in message
    assert _messages(quantization="bitsandbytes", version="0.19") == []


def test_kv_dtype_of_the_release() -> None:
    (message,) = _messages(version="0.8.5", kv_cache_dtype="nvfp4")
    assert message.startswith("--kv-cache-dtype: invalid choice: 'nvfp4' (choose from auto, fp8")


def test_sixteen_bit_name_must_be_the_models() -> None:
    assert _messages(kv_cache_dtype="float16") == [
        'kv_cache_dtype="float16" is incompatible with dtype="bfloat16". '
        "Please set `--kv-cache-dtype` to `auto` or `bfloat16`."
    ]
    assert _messages(gpu="t4", kv_cache_dtype="float16") == []


def test_nvfp4_keys_need_ordinary_attention_and_blackwell() -> None:
    (message,) = _messages("deepseek-ai/DeepSeek-V2-Lite", gpu="b200", kv_cache_dtype="nvfp4")
    assert message.startswith("nvfp4 KV cache is not supported with MLA")
    (message,) = _messages(kv_cache_dtype="nvfp4")
    assert message.startswith("No valid attention backend found for cuda")


def test_fp8_keys_on_turing() -> None:
    (message,) = _messages(gpu="t4", kv_cache_dtype="fp8")
    assert message.startswith("FP8 KV cache is not supported by the Triton attention backend on")
    assert message.endswith("Re-run with --kv-cache-dtype float16.")


def test_e5m2_keys_with_fp8_checkpoints() -> None:
    (message,) = _messages("Qwen/Qwen3-32B-FP8", "fp8_block", kv_cache_dtype="fp8_e5m2")
    assert message == "fp8_e5m2 kv-cache is not supported with fp8 checkpoints."


def test_block_size_choices_of_the_release() -> None:
    assert _messages(version="0.8.5", block_size=48) == [
        "--block-size: invalid choice: 48 (choose from 1, 8, 16, 32, 64, 128)."
    ]
    (message,) = _messages(block_size=8)
    assert "block_size not supported" in message


def test_shared_caches_stay_on_their_stage() -> None:
    (message,) = _messages("google/gemma-4-E2B-it", pipeline_parallel_size=2)
    assert message.startswith("Specified KV sharing target layer for model.layers.")
    assert _messages("google/gemma-4-E2B-it") == []


def test_more_stages_than_layers_is_left_to_divisibility() -> None:
    assert _messages("Qwen/Qwen3-0.6B", pipeline_parallel_size=64) == []
