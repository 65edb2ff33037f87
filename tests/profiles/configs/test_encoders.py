"""Embedding, scoring and speech models: their shapes, against the bytes that vLLM 0.33 builds, and their refusal."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.models import load_model
from vllm_opt.profiles.errors import UnknownProfile

CATALOG = Catalog()


@pytest.mark.parametrize(
    ("model_id", "runner", "built", "tolerance"),
    [
        ("BAAI/bge-base-en-v1.5", "pooling", 217_887_744, 0),
        ("BAAI/bge-m3", "pooling", 1_133_760_512, 0),
        ("BAAI/bge-reranker-v2-m3", "pooling", 1_137_963_012, 0),
        ("answerdotai/ModernBERT-base", "pooling", 298_028_544, 0),
        ("Qwen/Qwen3-Embedding-0.6B", "pooling", 1_191_575_552, 0),
        ("Qwen/Qwen3-Embedding-8B", "pooling", 15_134_713_856, 0),
        ("Alibaba-NLP/gte-Qwen2-7B-instruct", "pooling", 14_138_485_760, 0),
        ("openai/whisper-large-v3", "transcription", 3_087_226_880, 1e-4),
        ("openai/whisper-large-v3-turbo", "transcription", 1_617_858_560, 1e-4),
        ("openai/whisper-small", "transcription", 483_525_120, 2e-4),
    ],
)
def test_weights_are_what_vllm_builds(model_id: str, runner: str, built: int, tolerance: float) -> None:
    model = load_model(model_id)
    assert model.runner == runner
    (found,) = weight_bytes(model, CATALOG.quantization("bf16"), Layout(gpu="h100-sxm"))
    assert abs(found - built) <= tolerance * built


@pytest.mark.parametrize(
    ("model_id", "gives"),
    [("BAAI/bge-m3", "vectors or scores of a text"), ("openai/whisper-large-v3", "the text of speech")],
)
def test_a_model_that_does_not_generate_says_so_in_one_sentence(model_id: str, gives: str) -> None:
    with pytest.raises(UnknownProfile) as caught:
        CATALOG.model(model_id)
    assert f"gives {gives} and generates none" in str(caught.value)
    assert "\n" not in str(caught.value)
