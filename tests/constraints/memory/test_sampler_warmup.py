"""What the V2 runner takes after its profile, by vLLM's buffers and by published starts."""

import math

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.memory.sampler_warmup import REDUNDANCY_BYTES, SamplerWarmup, outside_at
from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.normal import normal_quantile

CATALOG = Catalog()
GIB = 1 << 30


def terms(model: str, gpu: str, version: str, **more: object) -> MemoryTerms:
    engine, _ = CATALOG.engine(version)
    layout = Layout(gpu=gpu, quantization="bf16", **more)
    return memory_terms(CATALOG.model(model), CATALOG.quantization("bf16"), layout, engine, CATALOG.gpu(gpu))


def started(model: str, gpu: str, version: str, **more: object) -> Estimate:
    return estimate(EstimateRequest(model=model, gpu=gpu, vllm_version=version, **more), CATALOG)


def test_four_gib_were_too_few_for_a_thousand_sequences() -> None:
    """vLLM pull 48601: four ranks, 248,320 words, 1,024 sequences: 4.29 GiB were free when the warm-up ran out."""
    warmup = SamplerWarmup((14 + 4) * 248_320)
    assert warmup.bytes(8192, 1024) == REDUNDANCY_BYTES + 18 * 248_320 * 1024
    assert warmup.bytes(8192, 1024) > 4.29 * GIB
    assert warmup.bytes(1000, 1024) == REDUNDANCY_BYTES + 18 * 248_320 * 500, "prompts of two tokens fill the step"
    assert warmup.bytes(1, 1) == REDUNDANCY_BYTES + 18 * 248_320


def test_what_the_profile_freed_serves_the_warm_up() -> None:
    warmup = SamplerWarmup(1_000_000)
    central = warmup.outside_bytes(500_000_000, 0, 2048, 100)
    assert central == math.ceil(1.24 * (500_000_000 + REDUNDANCY_BYTES + 100_000_000))
    assert warmup.outside_bytes(500_000_000, GIB, 2048, 100) == 620_000_000
    assert outside_at(None, 1000) == 1000
    assert outside_at(0.5, 1000) == 1000
    assert outside_at(0.9, 1000) == math.ceil(1000 * (1 + normal_quantile(0.9) * 0.42))


@pytest.mark.parametrize(
    ("model", "version", "eager", "per_sequence"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "0.27.1", False, 14 * 152_064),
        ("Qwen/Qwen2.5-7B-Instruct", "0.27.1", True, None),
        ("Qwen/Qwen2.5-7B-Instruct", "0.24.0", False, None),  # not listed for the V2 runner
        ("Qwen/Qwen3-8B", "0.22.0", False, 6 * 151_936),  # before FlashInfer samples there
        ("Qwen/Qwen2.5-7B-Instruct", "0.29.0", False, None),  # graphs are estimated
        ("Qwen/Qwen3-30B-A3B", "0.26.0", False, None),  # experts stay on V1
        ("Qwen/Qwen3-Embedding-8B", "0.27.1", False, None),  # samples nothing
    ],
)
def test_where_the_warm_up_is_not_profiled(model: str, version: str, per_sequence: int | None, *, eager: bool) -> None:
    warmup = terms(model, "l40s", version, enforce_eager=eager).warmup
    assert (warmup.bytes_per_sequence if warmup else None) == per_sequence


def test_ranks_gather_their_logits() -> None:
    warmup = terms("Qwen/Qwen3-8B", "l40s", "0.27.1", tensor_parallel_size=2).warmup
    assert warmup == SamplerWarmup(18 * 151_936)


def test_published_starts_that_ran_out_and_that_held() -> None:
    """A 7B on an L4 with 0.27.1 died in its warm-up; two RTX 3090 at 0.85 and a pair of RTX 4090 (issue 54383) held."""
    died = started("Qwen/Qwen2.5-7B-Instruct", "l4", "0.27.1", max_model_len=4096, confidence=0.5)
    assert died.starts is not None
    assert died.starts.probability < 0.5
    assert not died.fits
    assert [violation.rule for violation in died.violations] == ["startup_headroom"]
    assert died.startup_log[0].startswith("Available KV cache memory: 3.7"), "the pool was printed before"
    eager = started("Qwen/Qwen2.5-7B-Instruct", "l4", "0.27.1", max_model_len=4096, enforce_eager=True)
    assert eager.fits
    for model, gpu, version, more in (
        ("Qwen/Qwen2.5-3B-Instruct", "rtx-3090", "0.27.0", {}),
        ("google/gemma-4-E4B-it", "rtx-3090", "0.27.1", {}),
        ("Qwen/Qwen3-32B-AWQ", "rtx-4090", "0.28", {"tensor_parallel_size": 2, "max_model_len": 8192}),
    ):
        held = started(model, gpu, version, gpu_memory_utilization=0.85, **more)
        assert held.starts is not None
        assert held.starts.probability > 0.5
