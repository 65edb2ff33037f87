"""What is said where the closed forms of queueing are known to be unsure."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
SERVER: dict[str, Any] = {
    "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100", "max_model_len": 8192, "input_tokens": 1000,
    "output_tokens": 200,
}  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"requests_per_s": 5.0}, None),
        ({"requests_per_s": 25.0}, "upper percentiles of TTFT may be off by a third"),
        ({"requests_per_s": 20.0, "burstiness": 0.3}, "requests in clumps"),
        ({"requests_per_s": 2.0, "burstiness": 0.3}, None),
        ({"concurrency": 20, "think_time_s": 5.0}, None),
        ({"concurrency": 600, "think_time_s": 1.0}, "users who pause"),
        ({"concurrency": 20}, None),
        ({"concurrency": 20, "max_ttft_ms": 500, "ttft_percentile": 95}, "begin apart or together"),
        ({"concurrency": 20, "arrivals": "burst"}, None),
    ],
)
def test_doubt_of_the_wait_is_said_where_it_is_large(asked: dict[str, Any], said: str | None) -> None:
    notes = [note for note in estimate(EstimateRequest(**SERVER, **asked), CATALOG).notes if "may be off by" in note]
    assert len(notes) == (said is not None)
    assert all(said in note and "vllm-opt simulate" in note for note in notes if said)
