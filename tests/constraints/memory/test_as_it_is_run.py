"""What a release does with this model at start-up: its model runner, its engine, its first compile."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.memory.cold_compile import compile_kept_bytes, compile_peak_bytes
from vllm_opt.constraints.memory.ledger import GIB
from vllm_opt.constraints.memory.model_runner import engine_as_run, runs_on_v2
from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.optimizer.estimation.releases import release_of
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
BF16 = CATALOG.quantization("bf16")


def estimated(model: str, gpu: str, version: str, **more: object) -> Estimate:
    return estimate(EstimateRequest(model=model, gpu=gpu, vllm_version=version, **more))


@pytest.mark.parametrize(
    ("model", "version", "counted"),
    [
        ("Qwen/Qwen3-8B", "0.21.0", True),
        ("Qwen/Qwen3-8B", "0.22.0", False),  # listed for the V2 runner, which answers 0
        ("Qwen/Qwen3-30B-A3B", "0.26.0", True),  # experts stay on V1
        ("Qwen/Qwen2.5-7B-Instruct", "0.24.0", True),
        ("Qwen/Qwen2.5-7B-Instruct", "0.27.1", False),
        ("Qwen/Qwen2.5-7B-Instruct", "0.28.0", False),
        ("Qwen/Qwen2.5-7B-Instruct", "0.29.0", True),
    ],
)
def test_whether_graphs_are_in_the_budget(model: str, version: str, counted: bool) -> None:
    """vLLM 0.22 to 0.28 `v1/worker/gpu/model_runner.py:profile_cudagraph_memory` returns 0; 0.29 estimates."""
    engine, _ = CATALOG.engine(version)
    assert engine_as_run(CATALOG.model(model), BF16, engine).graphs_in_budget is counted


def test_the_v1_runner_of_the_same_release_counts_them() -> None:
    engine, _ = CATALOG.engine("0.27.1")
    hybrid = CATALOG.model("Qwen/Qwen3.5-27B")
    assert not runs_on_v2(hybrid, BF16, engine)
    assert engine_as_run(hybrid, BF16, engine) is engine


def test_a_first_compile_times_the_embedding() -> None:
    """0.27.0, Qwen2.5-3B, RTX 3090 at 0.85: published 12.71 GiB of cache compiled and 13.72 in eager mode."""
    model, (engine, _) = CATALOG.model("Qwen/Qwen2.5-3B-Instruct"), CATALOG.engine("0.27.0")
    layout = Layout(gpu="rtx-3090", quantization="bf16")
    table = 151_936 * 2048 * 2
    assert compile_peak_bytes(model, BF16, layout, engine) == table
    assert compile_kept_bytes(model, BF16, layout, engine) == table
    halved = layout.model_copy(update={"tensor_parallel_size": 2})
    assert compile_peak_bytes(model, BF16, halved, engine) == table // 2
    eager = layout.model_copy(update={"enforce_eager": True})
    assert compile_peak_bytes(model, BF16, eager, engine) == 0
    settings = {"gpu_memory_utilization": 0.85, "max_model_len": 32768, "gpu_memory_gib": 23.54}
    for without_graphs, measured in ((True, 13.72), (False, 12.71)):
        found = estimated(model.id, "rtx-3090", "0.27.0", enforce_eager=without_graphs, **settings)
        assert found.memory.kv_cache_bytes / GIB == pytest.approx(measured, rel=0.01)


def test_later_releases_keep_nothing_of_it_and_images_bring_their_embeddings() -> None:
    layout = Layout(gpu="rtx-3090", quantization="bf16")
    newer, _ = CATALOG.engine("0.28.0")
    newest, _ = CATALOG.engine("0.33")
    model = CATALOG.model("Qwen/Qwen3-8B")
    assert compile_peak_bytes(model, BF16, layout, newer) == 151_936 * 4096 * 2
    assert compile_kept_bytes(model, BF16, layout, newer) == 0
    assert compile_peak_bytes(model, BF16, layout, newest) == 0, "no first start of it is published"
    older, _ = CATALOG.engine("0.27.1")
    assert compile_peak_bytes(CATALOG.model("google/gemma-4-E4B-it"), BF16, layout, older) == 0


def test_v1_needs_its_graphs_beside_the_peak() -> None:
    """0.8.3, Nemotron Super 49B in 4 bits on an L40S: starts on V0, and runs out of memory on V1 (issue 15664)."""
    settings = {"quantization": "gptq", "max_model_len": 32768}
    name = "nvidia/Llama-3_3-Nemotron-Super-49B-v1"
    assert estimated(name, "l40s", "0.8.3", engine="v1", **settings).starts.probability < 0.5
    assert estimated(name, "l40s", "0.8.3", engine="v0", **settings).starts.probability > 0.5


@pytest.mark.parametrize(
    ("version", "gpu", "model", "engine"),
    [
        ("0.10.1", "l40s", "nvidia/NVIDIA-Nemotron-Nano-9B-v2", "v0"),
        ("0.10.2", "l40s", "nvidia/NVIDIA-Nemotron-Nano-9B-v2", "v1"),
        ("0.10.1", "l40s", "Qwen/Qwen3-8B", "v1"),
        ("0.9.2", "t4", "Qwen/Qwen3-8B", "v0"),
        ("0.10.2", "t4", "Qwen/Qwen3-8B", "v1"),
    ],
)
def test_what_a_v1_release_leaves_to_v0(version: str, gpu: str, model: str, engine: str) -> None:
    """vLLM 0.9.2 and 0.10.1 `engine/arg_utils.py:_is_v1_supported_oracle`; 0.10.2 has neither condition."""
    found, note, _ = release_of(CATALOG.model(model), CATALOG, version, None, CATALOG.gpu(gpu))
    assert found.engine == engine
    assert ("on its V0 engine" in (note or "")) is (engine == "v0")
    asked, _, _ = release_of(CATALOG.model(model), CATALOG, version, "v1", CATALOG.gpu(gpu))
    assert asked.engine == "v1"


def test_v0_allocates_a_state_per_sequence_in_its_profile() -> None:
    """A published 0.10.1 log fails to allocate 33.75 GiB: 27 layers x 256 sequences x 128 x 80 x 128 float32."""
    found = estimated("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "l40s", "0.10.1")
    assert 27 * 256 * 128 * 80 * 128 * 4 / GIB == 33.75
    assert found.memory.activation_peak_bytes > 33.75 * GIB
    assert not found.fits
    assert found.starts.probability < 0.5
    fewer = estimated("nvidia/NVIDIA-Nemotron-Nano-9B-v2", "l40s", "0.10.1", max_num_seqs=64)
    assert fewer.fits
