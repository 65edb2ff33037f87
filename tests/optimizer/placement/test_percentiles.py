"""Limits at a percentile over requests: what one replica is asked for, alone and in turns with others."""

from typing import Any

import pytest

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.procurement.columns import PercentileTarget
from vllm_opt.profiles.errors import InvalidRequest


def asked(**changes: Any) -> PlaceRequest:
    service = {
        "name": "chat", "model": "Qwen/Qwen3-8B", "input_tokens": 2000, "output_tokens": 300, "max_ttft_ms": 1000,
        "max_tpot_ms": 45, "requests_per_s": 1.2,
    }  # fmt: skip
    nodes = [{"name": "n", "gpu": "l40s", "gpus": 4}]
    return PlaceRequest(nodes=nodes, services=[{**service, **changes}], utilization_cap=1, sharing=False)


def test_a_replica_is_asked_for_what_holds_its_limits_at_the_percentile() -> None:
    mean, bursts = place(asked()), place(asked(ttft_percentile=95, burstiness=0.3))
    assert bursts.servers[0].capacity < 0.95 * mean.servers[0].capacity
    assert any("percentiles" in note for note in bursts.notes)
    assert not any("percentiles" in note for note in mean.notes)


def test_in_turns_the_limits_are_those_of_a_clock_that_runs_slower() -> None:
    target = PercentileTarget(1000.0, None, 95.0, None, 1.0, 0.1, 0.85)
    assert target.in_turns(4) == PercentileTarget(250.0, None, 95.0, None, 1.0, 0.1, 0.85)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ttft_percentile": 95, "max_ttft_ms": None}, "ttft_percentile needs max_ttft_ms"),
        ({"ttft_percentile": 95, "requests_per_s": None, "concurrency": 8}, "percentiles need requests_per_s"),
        ({"ttft_percentile": 101}, "ttft_percentile"),
        ({"burstiness": -1}, "burstiness"),
    ],
)
def test_percentiles_that_cannot_be_meant_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        asked(**changes)
