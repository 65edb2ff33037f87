"""What bounds say of the limits is what predictions say, rule by rule."""

import numpy as np
import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.search.stacked import stacked
from vllm_opt.optimizer.space.judged import judged
from vllm_opt.optimizer.space.latency_limits import limits_kept
from vllm_opt.optimizer.space.points import Asked, speeds_at
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

RULES = frozenset(("ttft", "tpot", "throughput"))


def search_of(**fields: object) -> Search:
    """Over servers of two kinds of cards, with experts of which some are spread."""
    asked = SolveRequest(
        model="Qwen/Qwen3-30B-A3B", gpu=("l40s", "h100-sxm"), concurrency=37, max_gpus=8, target_context=4096, **fields
    )
    return Search(resolve_solve(asked, Catalog()))


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize(
    "limits",
    [
        {"max_tpot_ms": 14.0}, {"max_ttft_ms": 400.0}, {"min_output_tokens_per_s": 1500.0},
        {"max_tpot_ms": 20.0, "max_ttft_ms": 250.0, "min_output_tokens_per_s": 900.0},
    ],
)  # fmt: skip
def test_what_is_decided_is_right_and_most_is_decided(limits: dict[str, float], asked: bool) -> None:
    search = search_of(**limits)
    setting = search.setting
    servers = [server for sku in setting.gpus for server in search.servers.of(sku)]
    widths = np.repeat([512.0, 2048.0, 8192.0], len(servers))
    c = stacked(search.physics, servers * 3)
    rng = np.random.default_rng(5)
    engines = rng.integers(1, 50, len(widths)).astype(np.float64)
    sequences = np.ceil(1.2 * setting.targets.concurrency / engines).astype(np.int64)
    points = Asked(sequences, widths, engines, np.ones(len(widths), dtype=bool), np.ones(len(widths), dtype=bool))
    said = judged(setting, c, points, RULES, asked=asked)
    assert said is not None
    exact = limits_kept(setting, speeds_at(setting, c, points, asked=asked)[4:7], RULES)
    assert said.kept.keys() == exact.keys()
    for rule, mask in exact.items():
        assert mask[said.kept[rule]].all()
        assert not mask[said.broken[rule]].any()
    assert said.fails.sum() >= 0.7 * (~np.logical_and.reduce(list(exact.values()))).sum()


@pytest.mark.parametrize(
    "fields",
    [
        {"default_limits": False}, {"max_ttft_ms": 500.0, "output_tokens": 1},
        {"max_ttft_ms": 500.0, "ttft_percentile": 99}, {"max_tpot_ms": 500.0, "requests_per_s": 1.0},
    ],
)  # fmt: skip
def test_bounds_do_not_know_of_percentiles_arrivals_or_answers_of_one_token(fields: dict[str, object]) -> None:
    search = search_of(**fields)
    servers = search.servers.of(search.setting.gpus[0])[:1]
    one = np.ones(1)
    points = Asked(np.array([37]), 2048 * one, one, np.ones(1, dtype=bool), np.ones(1, dtype=bool))
    assert judged(search.setting, stacked(search.physics, servers), points, RULES, asked=True) is None
