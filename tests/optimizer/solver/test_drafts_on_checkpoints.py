"""Drafts beside a published checkpoint: the plan and the estimate of its command price a pass of the drafter alike."""

import json
from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.estimation.pasted_line import fields_of_line
from vllm_opt.optimizer.solver.solve import solve

EAGLE3 = {"method": "eagle3", "model": "yuhuili/EAGLE3-LLaMA3.3-Instruct-70B", "num_speculative_tokens": 3}


@pytest.mark.parametrize(
    "fields",
    [
        {
            "model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": ["h100"], "quantization": ["w4a16"],
            "speculative_config": json.dumps(EAGLE3),
        },
        {
            "model": "deepseek-ai/DeepSeek-V3", "gpu": ["h200"], "quantization": ["awq"],
            "speculative_config": json.dumps({"method": "mtp", "num_speculative_tokens": 1}),
        },
    ],
)  # fmt: skip
def test_the_speed_with_drafts_is_that_of_the_checkpoint_that_is_served(fields: dict[str, Any]) -> None:
    plan = solve(SolveRequest(**fields, workload="chat", concurrency=16)).plan
    assert plan is not None
    assert plan.checkpoint != plan.model
    line, _ = fields_of_line(plan.command)
    found = estimate(EstimateRequest(**line, gpu=plan.gpu, replicas=plan.replicas, workload="chat", concurrency=16))
    assert found.performance is not None
    assert found.performance.tpot_ms == pytest.approx(plan.performance.tpot_ms, rel=1e-9)
    assert found.performance.output_tokens_per_s == pytest.approx(plan.performance.output_tokens_per_s, rel=1e-9)
