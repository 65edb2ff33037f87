"""What a search remembers is what it would compute anew, in whatever order layouts are asked."""

import random

import pytest

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.kv_plan import plan_kv_cache
from vllm_opt.constraints.layouts import compatibility
from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.space.layouts import layout_of, shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
FAMILIES = (
    "nvidia/Llama-3.1-70B-Instruct-FP8",
    "nvidia/Gemma-4-26B-A4B-NVFP4",
    "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-NVFP4",
    "deepseek-ai/DeepSeek-V3",
    "openai/gpt-oss-20b",
    "google/gemma-4-E4B-it",
    "Qwen/Qwen3-30B-A3B",
)
RELEASES = ("0.33", "0.11", "0.8.5")
SAMPLES = 120


def setting_of(model: str, release: str) -> SolveSetting:
    request = SolveRequest(
        model=model, vllm_version=release, gpu=tuple(gpu.id for gpu in CATALOG.gpus), max_gpus=8, min_quality=0.0,
        target_context=4000,
    )  # fmt: skip
    return resolve_solve(request, CATALOG)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("model", FAMILIES)
def test_every_remembered_part_equals_the_one_computed_alone(model: str, release: str) -> None:
    setting = setting_of(model, release)
    physics, draw = LayoutPhysics(setting), random.Random(f"{model}{release}")
    constants = default_latency_constants()
    asked = 0
    while asked < SAMPLES:
        sku, weights = draw.choice(setting.gpus), draw.choice(setting.formats)
        shape = draw.choice(shapes(setting, sku.gpu.gpus_per_node, 8))
        gpu, layout = sku.gpu, layout_of(setting, sku.gpu, weights, shape)
        arguments = weights.model, weights.quantization, layout, setting.engine, gpu
        assert physics.incompatible(gpu, weights, shape) == compatibility.choice_violations(*arguments)
        found = physics.plan(gpu, weights, shape)
        sizes = physics.block_sizes(gpu, weights, shape)
        assert sizes == LayoutPhysics(setting).block_sizes(gpu, weights, shape)
        asked += 1
        if isinstance(found, Violation):
            assert found == LayoutPhysics(setting).plan(gpu, weights, shape)
            continue
        assert found == plan_kv_cache(weights.model, layout, setting.engine, gpu)
        if physics.indivisible(gpu, weights, shape) or physics.incompatible(gpu, weights, shape):
            continue
        facts, alone = physics.facts(sku, weights, shape), memory_terms(*arguments)
        assert facts.terms == alone
        eager = layout.model_copy(update={"enforce_eager": True})
        assert physics.eager_facts(facts).terms == memory_terms(
            weights.model, weights.quantization, eager, setting.engine, gpu
        )
        assert physics.coefficients(sku, weights, shape) == latency_coefficients(
            weights.model,
            weights.quantization,
            layout,
            gpu,
            constants,
            calibrated=setting.request.calibration,
            release=setting.engine.version,
        )


def test_cards_on_which_layers_cache_the_same_share_one_plan() -> None:
    setting = setting_of("Qwen/Qwen3-30B-A3B", "0.33")
    physics, cards = LayoutPhysics(setting), {sku.gpu.id: sku.gpu for sku in setting.gpus}
    weights, shape = setting.formats[0], shapes(setting, 8, 8)[0]
    assert cards["l40s"].compute_capability != cards["a100-sxm4-80gb"].compute_capability
    assert physics.plan(cards["l40s"], weights, shape) is physics.plan(cards["a100-sxm4-80gb"], weights, shape)
