"""What the search proposes every rule accepts, for every model of the catalogue; what a rule rejects is dropped."""

import math
import random

import pytest

from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.estimation.resolution import FP8_FAMILY, native_quantization_id
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import UnknownProfile

CATALOG = Catalog()
RELEASES = tuple(dict.fromkeys(engine.version for engine in CATALOG.engines))
PARTS = 6


def estimate_request(plan: Plan, version: str) -> EstimateRequest:
    """The plan's flags, given to `estimate`."""
    flags = plan.flags
    names = ("enable-prefix-caching", "enable-chunked-prefill", "block-size")
    switches = {name.replace("-", "_"): flags[name] for name in names if name in flags}
    return EstimateRequest(
        model=plan.model, gpu=plan.gpu, quantization=plan.quantization, kv_cache_dtype=plan.kv_cache_dtype,
        tensor_parallel_size=plan.tensor_parallel_size, pipeline_parallel_size=plan.pipeline_parallel_size,
        data_parallel_size=plan.data_parallel_size, enable_expert_parallel=plan.expert_parallel,
        decode_context_parallel_size=plan.decode_context_parallel_size, replicas=plan.replicas,
        max_model_len=flags["max-model-len"], max_num_seqs=flags["max-num-seqs"],
        max_num_batched_tokens=flags["max-num-batched-tokens"], vllm_version=version,
        gpu_memory_utilization=flags["gpu-memory-utilization"], enforce_eager="enforce-eager" in flags, **switches,
    )  # fmt: skip


def plans(answer: Answer) -> tuple[Plan, ...]:
    return (*([answer.plan] if answer.plan else []), *answer.alternatives)


def is_only_listed(name: str) -> bool:
    """Whether the catalogue lists a model with the reason why it cannot be sized, or generates no text."""
    try:
        CATALOG.model(name)
    except UnknownProfile as refusal:
        return "cannot be sized" in str(refusal) or "generates none" in str(refusal)
    return False


@pytest.mark.parametrize("part", range(PARTS))
def test_every_model_is_answered_and_its_plans_start(part: int) -> None:
    """One random release and two random SKUs per model, another context for each."""
    answered = 0
    for name in CATALOG.model_ids[part::PARTS]:
        draw = random.Random(name)
        request = SolveRequest(
            model=name, gpu=tuple(gpu.id for gpu in draw.sample(CATALOG.gpus, 2)), vllm_version=draw.choice(RELEASES),
            target_context=draw.choice((1024, 3000, 8192)), concurrency=draw.choice((1, 7, 32)), explain=False,
            kv_cache_dtype=draw.choice(("any", "auto", "fp8")), max_gpus=draw.choice((1, 4, 8)),
        )  # fmt: skip
        if is_only_listed(name):
            continue
        answer = solve(request, CATALOG)
        assert answer.status in ("optimal", "infeasible")
        assert (answer.plan is None) == (answer.status == "infeasible")
        native = native_quantization_id(CATALOG.model(name))
        for plan in plans(answer):
            if plan.quantization == "fp8" and native in FP8_FAMILY:
                continue  # to `estimate` the name 'fp8' then means the family, hence the native format
            asked = {"concurrency": plan.performance.concurrency}
            asked |= {name: answer.request[name] for name in ("input_tokens", "output_tokens")}
            judged = estimate(estimate_request(plan, request.vllm_version or "").replaced(**asked), CATALOG)
            assert judged.fits, (name, plan.gpu, judged.violations)
            assert judged.memory.kv_block_bytes == plan.memory.kv_block_bytes, (name, plan.gpu, plan.command)
            assert judged.memory.num_gpu_blocks == plan.memory.num_gpu_blocks, (name, plan.gpu, plan.command)
            assert judged.performance is not None
            assert judged.performance.ttft_ms == plan.performance.ttft_ms, (name, plan.gpu, plan.command)
            assert judged.performance.tpot_ms == plan.performance.tpot_ms, (name, plan.gpu, plan.command)
            assert judged.performance.output_tokens_per_s == plan.performance.output_tokens_per_s, (name, plan.command)
        answered += answer.plan is not None
    assert answered > 5


def poisoned(request: SolveRequest) -> SharedLayouts:
    """What a search remembers of a much smaller model: every byte that it holds is too low for the one asked."""
    small = request.replaced(model="Qwen/Qwen2.5-0.5B-Instruct")
    search = Search(resolve_solve(small, CATALOG))
    shared = SharedLayouts()
    Search(search.setting, shared=shared).run()
    return shared


@pytest.mark.parametrize("objective", ["cost", "throughput"])
@pytest.mark.parametrize("top", [None, 3])
def test_what_a_rule_rejects_is_dropped_and_no_proof_is_claimed(objective: str, top: int | None) -> None:
    request = SolveRequest(
        model="Qwen/Qwen2.5-14B-Instruct", gpu=("l4", "a10"), objective=(objective,), quantization="bf16", max_gpus=4,
        concurrency=4, target_context=4096, kv_cache_dtype="auto", top=top,
    )  # fmt: skip
    honest, misled = solve(request, CATALOG), solve(request, CATALOG, shared=poisoned(request))
    assert honest.status == "optimal"
    if misled.status == "optimal":  # what it was told wrongly did not change the best point
        assert [item.value for item in misled.objectives] == [item.value for item in honest.objectives]
    else:
        assert misled.status in ("feasible", "unknown")
    assert (misled.plan is None) == (misled.status == "unknown")
    for plan in plans(misled):
        assert estimate(estimate_request(plan, "0.33"), CATALOG).fits
    for value in misled.objectives:
        assert math.isfinite(value.gap)
        sign = -1 if objective == "throughput" else 1
        assert sign * value.bound <= sign * honest.objectives[0].value * (1 + 1e-9)
