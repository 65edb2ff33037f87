"""Why `max_model_len` and host memory are no choices of the model: the least of each is feasible wherever more is."""

import tempfile
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from oracle import LAYOUT_RULES, Oracle
from strategies import Problem, problems, request_of

from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.rules import violations
from vllm_opt.optimizer.space.layout_facts import utilization_steps

SOME = settings(
    max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck),
    phases=(Phase.generate,),
)  # fmt: skip


@st.composite
def deployments(draw: st.DrawFn) -> Deployment:
    """A point of a random problem, feasible or not, whose sequences hold the target context."""
    problem: Problem = draw(problems(quick=True))
    with tempfile.TemporaryDirectory() as name:
        oracle = Oracle(request_of(problem, Path(name)))
    setting = oracle.setting
    assume(setting.gpus and setting.formats)
    sku, weights = draw(st.sampled_from(setting.gpus)), draw(st.sampled_from(setting.formats))
    layouts = list(oracle.layouts_with_terms(sku, weights))
    assume(layouts)
    layout, terms = draw(st.sampled_from(layouts))
    widths = oracle.widths(sku.gpu, chunked_prefill=layout.enable_chunked_prefill)
    assume(widths)
    tokens = draw(st.sampled_from(widths))
    utilization = draw(st.sampled_from(utilization_steps(setting.request.max_gpu_memory_utilization)))
    flags = oracle.flags(tokens, draw(st.integers(1, min(tokens, 64))), utilization)
    return oracle.deployment(sku, weights, layout, terms, draw(st.integers(1, 3)), flags)


@SOME
@given(point=deployments(), more=st.integers(1, 100_000))
def test_what_holds_with_a_longer_max_model_len_holds_with_the_target(point: Deployment, more: int) -> None:
    """And N, S and u are the same: with ties to the smallest, L is the target context."""
    longer = replace(point, flags=point.flags.model_copy(update={"max_model_len": point.flags.max_model_len + more}))
    broken = {item.rule for item in violations(point, without=LAYOUT_RULES)}
    assert broken <= {item.rule for item in violations(longer, without=LAYOUT_RULES)}
    assert longer.num_gpu_blocks == point.num_gpu_blocks


@SOME
@given(point=deployments(), gib=st.integers(1, 512))
def test_swap_space_and_kv_offload_stand_in_no_row(point: Deployment, gib: int) -> None:
    """What host memory keeps is loaded again or swapped in: it starts no further sequence."""
    host = {"swap_space_gib": gib, "kv_offloading_size_gib": gib}
    with_host = replace(point, flags=point.flags.model_copy(update=host))
    assert violations(with_host, without=LAYOUT_RULES) == violations(point, without=LAYOUT_RULES)
    assert with_host.num_gpu_blocks == point.num_gpu_blocks
