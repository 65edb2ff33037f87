"""What a release has no flag for is refused, and no plan of any release relies on a word that its command lacks."""

import shlex
from typing import Any

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.release_parallelism import release_violations
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
SIZES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"pipeline_parallel_size": 2}, "pipeline-parallel-size"),
    ({"data_parallel_size": 2}, "data-parallel-size"),
    ({"decode_context_parallel_size": 2}, "decode-context-parallel-size"),
    ({"expert_parallel": True}, "enable-expert-parallel"),
)


@pytest.mark.parametrize(("change", "flag"), SIZES)
def test_a_size_needs_its_flag_in_every_release(change: dict[str, Any], flag: str) -> None:
    for engine in CATALOG.engines:
        found = [violation.message for violation in release_violations(Layout(gpu="h100-sxm", **change), engine)]
        known = flag in {spec.name for spec in engine.flags}
        assert found == ([] if known else [f"vLLM {engine.version} has no --{flag}."])
    assert list(release_violations(Layout(gpu="h100-sxm"), CATALOG.engines[0])) == []


def test_context_parallelism_came_with_0_10_2() -> None:
    layout = Layout(gpu="h100-sxm", decode_context_parallel_size=2)
    assert list(release_violations(layout, CATALOG.engine("0.10.1")[0]))
    assert not list(release_violations(layout, CATALOG.engine("0.10.2")[0]))


@pytest.mark.parametrize("version", ["0.6.6", "0.8.2", "0.9"])
def test_plans_of_old_releases_say_every_size_that_they_count(version: str) -> None:
    """Found by the second opinion: DeepSeek-V2 was planned for 0.9 with a cache over four ranks, and no flag for it."""
    request = SolveRequest(
        model="deepseek-ai/DeepSeek-V2-Lite", gpu="a100", max_gpus=4, vllm_version=version, explain=False,
        objective=("concurrency",), concurrency="max", top=3, tensor_parallel_size=4,
    )  # fmt: skip
    answer = solve(request, CATALOG)
    assert answer.plan is not None
    for plan in (answer.plan, *answer.alternatives):
        words = shlex.split(plan.command)
        assert plan.decode_context_parallel_size == plan.data_parallel_size == 1
        assert plan.expert_parallel is ("--enable-expert-parallel" in words)
