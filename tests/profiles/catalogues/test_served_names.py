"""The names in public serve lines and files mean a model, or are refused with the reason that is true."""

import pytest

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

CATALOG = Catalog()
SERVED = (
    "deepseek-ai/DeepSeek-R1",
    "deepseek-ai/DeepSeek-R1-0528",
    "deepseek-ai/DeepSeek-V3.2",
    "google/gemma-4-31B-it",
    "google/gemma-4-31b-it-qat-w4a16-ct",
    "google/gemma-4-E4B-it",
    "google/gemma-7b-it",
    "HuggingFaceTB/SmolLM3-3B",
    "meta-llama/Llama-3.1-405B-Instruct",
    "meta-llama/Llama-3.1-70B-Instruct",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.3-70B-Instruct",
    "meta-llama/Llama-4-Scout-17B-16E-Instruct",
    "meta-llama/Meta-Llama-3.1-8B-Instruct",
    "MiniMaxAI/MiniMax-M2.7",
    "mistralai/Ministral-3-8B-Instruct-2512",
    "mistralai/Mistral-7B-v0.1",
    "moonshotai/Kimi-K2-Instruct",
    "neuralmagic/Meta-Llama-3.1-70B-Instruct-FP8",
    "NousResearch/Meta-Llama-3.1-8B-Instruct",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
    "nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-NVFP4",
    "openai/gpt-oss-120b",
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-VL-32B-Instruct-AWQ",
    "Qwen/Qwen2.5-VL-7B-Instruct",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-235B-A22B",
    "Qwen/Qwen3-4B",
    "Qwen/Qwen3-8B",
    "Qwen/Qwen3-VL-235B-A22B-Instruct",
    "Qwen/Qwen3-VL-235B-A22B-Instruct-FP8",
    "Qwen/Qwen3-VL-30B-A3B-Instruct",
    "Qwen/Qwen3.5-27B",
    "Qwen/Qwen3.5-35B-A3B",
    "Qwen/Qwen3.5-397B-A17B-FP8",
    "stepfun-ai/Step-3.7-Flash",
    "stepfun-ai/Step-3.7-Flash-FP8",
    "zai-org/GLM-4.5V-FP8",
    "zai-org/GLM-5-FP8",
)
"""As people wrote them, letter case included."""

REFUSED = {
    "unsloth/Qwen3-0.6B-GGUF": "GGUF file, which vLLM has not loaded without vllm-gguf-plugin since 0.27.1",
    "llava-hf/llava-1.5-7b-hf": "known and cannot be sized: its config is not in the catalogue",
    "moonshotai/Kimi-K2.5-Instruct": "did you mean 'moonshotai/Kimi-K2.5'",
    "nvidia/Llama-3.3-70B-Instruct-": "did you mean 'meta-llama/Llama-3.3-70B-Instruct'",
    "meta-llama/Llama-3.2-11B-Vision-Instruct": "vLLM dropped it after 0.10.2",
}


@pytest.mark.parametrize("name", SERVED)
def test_a_served_name_is_a_model_by_that_name(name: str) -> None:
    assert CATALOG.model(name).id.lower() == name.lower()


@pytest.mark.parametrize(("name", "reason"), REFUSED.items())
def test_what_is_refused_says_why(name: str, reason: str) -> None:
    with pytest.raises(VllmOptError) as refused:
        CATALOG.model(name)
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)
