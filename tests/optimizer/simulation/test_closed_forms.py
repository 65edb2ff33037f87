"""Closed forms beside the event simulation, one case of each kind that was far off (more: benchmarks/queueing.py)."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.simulation import SimulateRequest
from vllm_opt.optimizer.simulation.simulate import simulate
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
H100: dict[str, Any] = {"model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": "h100-sxm", "max_model_len": 16384}
L4 = H100 | {"gpu": "l4"}
KINDS: dict[str, dict[str, Any]] = {
    "slots nearly taken": H100
    | {
        "requests_per_s": 17.0, "input_tokens": 600, "output_tokens": 120, "max_num_batched_tokens": 1024,
        "max_num_seqs": 32, "num_requests": 5000,
    },
    "clumps of prompts of several steps": H100
    | {
        "requests_per_s": 2.5, "burstiness": 0.35, "input_tokens": 4000, "output_tokens": 120,
        "max_num_batched_tokens": 1024, "max_num_seqs": 32, "num_requests": 4000,
    },
    "users whose long prompts nearly fill the steps": H100
    | {
        "arrivals": "closed", "concurrency": 21, "think_time_s": 1.92, "input_tokens": 6989, "output_tokens": 190,
        "max_num_batched_tokens": 8192, "max_num_seqs": 32, "num_requests": 4000,
    },
    "a pool of few sequences": L4
    | {
        "requests_per_s": 0.2, "input_tokens": 3324, "output_tokens": 226, "max_num_batched_tokens": 8192,
        "max_num_seqs": 64, "num_requests": 16000,
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_were_off_are_close(kind: str) -> None:
    found = simulate(SimulateRequest(**KINDS[kind], seed=7), CATALOG)
    assert found.played is not None
    assert found.closed_form is not None
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        played, forms = found.played.times[name], found.closed_form.percentiles[name]
        assert getattr(found.closed_form, name) == pytest.approx(played["mean"], rel=0.1)
        assert forms["p50"] == pytest.approx(played["p50"], rel=0.12)
        assert forms["p95"] == pytest.approx(played["p95"], rel=0.15)
