"""A closed loop lies between its bounds, whatever the model, the layout, the load and the flags."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.bracket import closed_loop_bracket
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.constraints.speed.step_time import stack
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
CASES = (
    ("Qwen/Qwen3-8B", "l4", "bf16", {}),
    ("Qwen/Qwen3-32B", "h100-sxm", "fp8", {"tensor_parallel_size": 4}),
    ("meta-llama/Llama-3.1-70B-Instruct", "a100-pcie-80gb", "bf16", {"pipeline_parallel_size": 4}),
    ("Qwen/Qwen3-30B-A3B", "h200-sxm", "bf16", {"tensor_parallel_size": 2, "expert_parallel": True}),
    ("deepseek-ai/DeepSeek-V3", "b200", "fp8", {"data_parallel_size": 8, "expert_parallel": True}),
    ("ai21labs/Jamba-v0.1", "a100-sxm4-80gb", "bf16", {"tensor_parallel_size": 2}),
    ("google/gemma-2-9b-it", "l40s", "bf16", {}),
)
ALL = stack(
    [
        latency_coefficients(
            CATALOG.model(model), CATALOG.quantization(kind), Layout(gpu=gpu, quantization=kind, **sizes),
            CATALOG.gpu(gpu), default_latency_constants(),
        )
        for model, gpu, kind, sizes in CASES
    ]
)  # fmt: skip
POINTS = 64


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1), st.integers(1, 100_000), st.integers(2, 16_000), st.sampled_from((0.0, 8.0)),
    st.booleans(),
)  # fmt: skip
def test_it_encloses_the_prediction(seed: int, inputs: int, outputs: int, digits: float, eager: bool) -> None:
    rng = np.random.default_rng(seed)
    c = ALL.take(rng.integers(0, len(CASES), POINTS))
    if eager:
        c = replace(c, eager=np.ones(POINTS))
    users = (
        np.ceil(np.exp(rng.uniform(0, 8, POINTS))) / rng.integers(1, 5, POINTS) / 10 ** rng.uniform(0, digits, POINTS)
    )
    slots = np.maximum(1.0, np.ceil(users * rng.choice((0.3, 1.0, 1.1), POINTS)))
    widths, chunked = 2.0 ** rng.integers(6, 16, POINTS), (rng.random(POINTS) < 0.8).astype(np.float64)
    hit = np.where(rng.random(POINTS) < 0.5, 0.0, rng.random(POINTS))
    load = closed_loop(
        c, users, slots, widths, float(inputs), float(outputs), chunked_prefill=chunked, prefix_hit_share=hit
    )
    bracket = closed_loop_bracket(c, users, slots, widths, (inputs, outputs), chunked, hit)
    assert (bracket.least_ttft_s * 1e3 <= load.ttft_ms).all()
    assert (load.ttft_ms <= bracket.most_ttft_s * 1e3).all()
    assert (bracket.least_tpot_s * 1e3 <= load.tpot_ms).all()
    assert (load.tpot_ms <= bracket.most_tpot_s * 1e3).all()
    assert (load.requests_per_s <= bracket.most_requests_per_s).all()


def test_it_is_tight_where_prompts_are_short_beside_answers() -> None:
    one, users = ALL.take(slice(0, 1)), np.array([16.0])
    bracket = closed_loop_bracket(one, users, users, np.array([2048.0]), (128, 1024), np.ones(1), np.zeros(1))
    assert bracket.most_tpot_s[0] <= 1.05 * bracket.least_tpot_s[0]
    assert bracket.most_ttft_s[0] <= 1.05 * bracket.least_ttft_s[0]
