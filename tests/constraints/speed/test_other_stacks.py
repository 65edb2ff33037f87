"""Old engines by their parts, ranks that wait for the busiest, and sizes that nobody published."""

import numpy as np
import pytest

from tests.constraints.speed.test_latency import CATALOG, HALF
from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.model_work import model_work, stored_bytes_per_weight
from vllm_opt.constraints.speed.step_time import experts_hit
from vllm_opt.profiles.nouns.latency_constants import ReleaseFactor, default_latency_constants

CONSTANTS = default_latency_constants()


def test_an_old_engine_is_slow_in_its_parts() -> None:
    gpu = CATALOG.gpu("mi300x")
    ranges = (ReleaseFactor(first="0", compute=3.0, sequence=2.0, link=4.0), ReleaseFactor(first="0.8"))
    constants = CONSTANTS.model_copy(update={"releases": {"amd": ranges}, "cells": ()})
    model, layout = CATALOG.model("Qwen/Qwen2.5-7B"), Layout(gpu=gpu.id, tensor_parallel_size=2)
    old, new = (latency_coefficients(model, HALF, layout, gpu, constants, release=one) for one in ("0.5", "0.9"))
    assert old.dense_compute_s_per_token == pytest.approx(3 * float(new.dense_compute_s_per_token))
    assert old.sequence_s == pytest.approx(2 * float(new.sequence_s))
    alpha = constants.collective(gpu, 2).alpha_us[0] * 1e-6 * constants.shared.collective_latency_factor
    assert float(old.fixed_s) - float(new.fixed_s) == pytest.approx(3 * 2 * model.num_hidden_layers * alpha)
    # FP8 products were tuned from the start: only 16-bit ones are slower.
    fp8 = CATALOG.quantization("fp8")
    old, new = (latency_coefficients(model, fp8, layout, gpu, constants, release=one) for one in ("0.5", "0.9"))
    assert old.dense_compute_s_per_token == pytest.approx(float(new.dense_compute_s_per_token))


def test_the_busiest_rank_of_expert_parallelism_reads_more_experts() -> None:
    gpu, model = CATALOG.gpu("h200-sxm"), CATALOG.model("Qwen/Qwen3-30B-A3B")
    layouts = (Layout(gpu=gpu.id, tensor_parallel_size=8, expert_parallel=sharded) for sharded in (False, True))
    even, sharded = (latency_coefficients(model, HALF, layout, gpu, CONSTANTS) for layout in layouts)
    assert even.expert_imbalance == 0.0
    # 8 ranks of 16 experts: the largest of 8 draws is 1.4236 deviations up, each 0.25 per root of hit (1 - hit).
    assert sharded.expert_imbalance == pytest.approx(1.4236 * 0.25)
    # One token reaches 8 of 128 experts: a sixteenth, and 1.4236 x 0.25 x sqrt(15) / 16 more on the busiest.
    assert experts_hit(even, 1.0) == pytest.approx(1 / 16)
    assert experts_hit(sharded, 1.0) == pytest.approx(1 / 16 + 1.4236 * 0.25 * 15**0.5 / 16)
    tokens = np.geomspace(1, 4096, 500)
    reached = experts_hit(sharded, tokens)
    assert np.all(np.diff(reached) >= 0.0)
    assert reached[-1] == 1.0


def test_a_margin_for_unknown_sizes_is_no_part_of_the_speed() -> None:
    model = CATALOG.model("QuantTrio/Qwen3-Coder-30B-A3B-Instruct-AWQ")
    assert model.native_quantization is not None
    assert model.native_quantization.stored_bytes is None
    assert model.native_quantization.size_margin > 0.2
    quantization = CATALOG.quantization("awq")
    work = model_work(model, quantization)
    assert work.bytes_per_quantized_weight == stored_bytes_per_weight(quantization)
