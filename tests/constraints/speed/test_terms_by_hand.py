"""Terms of the speed model whose signs no fitted accuracy can see, each against a sum written out by hand."""

import numpy as np
import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.model_work import ModelWork, add_experts
from vllm_opt.constraints.speed.traffic import Traffic
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.model import Experts

CATALOG, CONSTANTS = Catalog(), default_latency_constants()


def test_decoders_leave_room_for_the_prompts_that_they_call_for() -> None:
    """D decoders end D / 199 requests a step, each of which brings 1000 prompt tokens: D (1 + 1000 / 199) = 2048."""
    one = np.array([1.0])
    traffic = Traffic.of(1000 * one, 200 * one, 2048 * one, 0 * one, one)
    assert traffic.most_decoders[0] == pytest.approx(2048 / (1 + 1000 / 199), rel=1e-12)
    whole = Traffic.of(1000 * one, 200 * one, 2048 * one, 0 * one, 0 * one)
    assert whole.most_decoders[0] == 2048


@pytest.mark.parametrize("layers", [1, 3, 48])
def test_a_router_has_a_row_for_every_expert(layers: int) -> None:
    work = ModelWork(hidden_size=2048)
    add_experts(work, Experts(num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768), layers, 2048)
    assert work.half_dense == layers * 2048 * 128
    assert work.expert_weights == layers * 128 * 3 * 2048 * 768
    assert work.active_expert_weights == layers * 8 * 3 * 2048 * 768


@pytest.mark.parametrize("model_id", ["Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-8B"])
def test_an_eager_step_launches_every_layer(model_id: str) -> None:
    """48 layers of Qwen3-30B-A3B all route; the 36 of Qwen3-8B do not."""
    model, gpu = CATALOG.model(model_id), CATALOG.gpu("h100")
    layout = Layout(gpu=gpu.id, quantization="bf16", enforce_eager=True)
    found = latency_coefficients(model, CATALOG.quantization("bf16"), layout, gpu, CONSTANTS, calibrated=False)
    shared = CONSTANTS.shared
    layers, routing = model.num_hidden_layers, model.num_hidden_layers if "A3B" in model_id else 0
    launches = layers * shared.eager_layer_s + routing * shared.eager_moe_layer_s + shared.step_s
    host = float(found.frontend_s) / shared.frontend_s
    assert float(found.eager_launch_s) == pytest.approx(host * launches, rel=1e-9)
    assert float(found.wide_launch_s) == pytest.approx(host * shared.compiled_launch_share * launches, rel=1e-9)


def test_a_request_of_one_token_ends_with_its_first() -> None:
    model, gpu = CATALOG.model("Qwen/Qwen3-8B"), CATALOG.gpu("h100")
    layout = Layout(gpu=gpu.id, quantization="bf16")
    found = latency_coefficients(model, CATALOG.quantization("bf16"), layout, gpu, CONSTANTS)
    alone = closed_loop(found, 4, 8, 2048, 500, 1)
    assert float(alone.e2e_ms) == float(alone.ttft_ms)
    two = closed_loop(found, 4, 8, 2048, 500, 2)
    assert float(two.e2e_ms) == pytest.approx(float(two.ttft_ms) + float(two.tpot_ms), rel=1e-12)
