"""Embedding, scoring and speech models: their shapes, against the bytes that vLLM 0.33 builds."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.models import load_model

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("model_id", "runner", "built"),
    [
        ("BAAI/bge-base-en-v1.5", "pooling", 217_887_744),
        ("BAAI/bge-m3", "pooling", 1_133_760_512),
        ("BAAI/bge-reranker-v2-m3", "pooling", 1_137_963_012),
        ("answerdotai/ModernBERT-base", "pooling", 298_028_544),
        ("Qwen/Qwen3-Embedding-0.6B", "pooling", 1_191_575_552),
        ("Qwen/Qwen3-Embedding-8B", "pooling", 15_134_713_856),
        ("Alibaba-NLP/gte-Qwen2-7B-instruct", "pooling", 14_138_485_760),
        ("openai/whisper-large-v3", "transcription", 3_087_226_880),
        ("openai/whisper-large-v3-turbo", "transcription", 1_617_858_560),
        ("openai/whisper-small", "transcription", 483_525_120),
    ],
)
def test_weights_are_what_vllm_builds(model_id: str, runner: str, built: int) -> None:
    model = load_model(model_id)
    assert model.runner == runner
    (found,) = weight_bytes(model, CATALOG.quantization("bf16"), Layout(gpu="h100-sxm"))
    assert found == built
