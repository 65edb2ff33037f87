"""What vLLM takes after its profile, and hits in a line's KV offload tier, as the linter sees them."""

from typing import Any

import pytest

from vllm_opt.optimizer import LintRequest, lint
from vllm_opt.optimizer.linter.subject.report import CommandReport
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
L4 = {"gpu": "l4", "vllm_version": "0.27.1"}
DENSE = "vllm serve Qwen/Qwen2.5-7B-Instruct --max-model-len 4096"
TIER = "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-model-len 16384 --kv-offloading-size 64"


def _lint(command: str, **fields: Any) -> CommandReport:
    (report,) = lint(LintRequest(command=command, optimum=False, **fields), CATALOG).commands
    return report


def test_a_warm_up_without_room_is_an_error_and_one_with_little_a_warning() -> None:
    refused = _lint(DENSE, **L4)
    assert [finding.rule for finding in refused.findings] == ["startup_headroom", "startup_margin"]
    assert "--gpu-memory-utilization 0.91" in str(refused.fixed_command)
    (close,) = _lint(f"{DENSE} --gpu-memory-utilization 0.91", **L4).findings
    assert (close.rule, close.level, close.to) == ("startup_margin", "warning", 0.87)
    assert "the warm-up after them may take 2.8" in close.message
    assert not _lint(f"{DENSE} --gpu-memory-utilization 0.87", **L4).findings
    assert not _lint(DENSE, gpu="l4", vllm_version="0.29").findings


def test_hits_of_the_tier_speed_the_line_up() -> None:
    load = {"gpu": "h100-sxm", "input_tokens": 8000, "output_tokens": 200, "concurrency": 16}
    speeds = []
    for hits in ({}, {"offload_hit_share": 0.6}, {"prefix_hit_share": 0.6}):
        performance = _lint(TIER, **load, **hits).performance
        assert performance is not None
        speeds.append(performance.output_tokens_per_s)
    assert speeds[0] < speeds[1] < speeds[2]


def test_a_line_without_a_tier_has_no_hits_there() -> None:
    plain = TIER.removesuffix(" --kv-offloading-size 64")
    load = {"gpu": "h100-sxm", "input_tokens": 8000, "output_tokens": 200, "concurrency": 16}
    assert _lint(plain, **load, offload_hit_share=0.6).performance == _lint(plain, **load).performance


@pytest.mark.parametrize("share", [1, 0.7, -0.1, "many", float("nan")])
def test_bad_shares_are_one_sentence(share: Any) -> None:
    with pytest.raises(InvalidRequest, match="offload_hit_share"):
        LintRequest(command=TIER, prefix_hit_share=0.4, offload_hit_share=share)
