"""`solve` on the catalogue: orders of objectives, bounds, time limits, ties, alternatives, and an attack on plans."""

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.rules import violations
from vllm_opt.optimizer.contract.answer import Answer, Plan
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.estimation.estimate import estimate
from vllm_opt.optimizer.planning.plan import deployment_of
from vllm_opt.optimizer.planning.predicted import Choice, predicted
from vllm_opt.optimizer.rendering.formats import render_answer
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.layout_facts import utilization_steps
from vllm_opt.optimizer.space.layouts import shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import CAPTURED, Unit, token_grid
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.optimizer.space.weights import HYPOTHETICAL
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.checkpoint import PUBLISHERS
from vllm_opt.profiles.nouns.quantization import Quantization

CATALOG = Catalog()
UNPRICED = "h200-nvl"
SMALL = "Qwen/Qwen2.5-0.5B-Instruct" if "Qwen/Qwen2.5-0.5B-Instruct" in CATALOG.model_ids else "Qwen/Qwen3-0.6B"


def solved(**fields: Any) -> Answer:
    return solve(SolveRequest(**fields), CATALOG)


def values(answer: Answer) -> dict[str, float]:
    return {objective.name: objective.value for objective in answer.objectives}


def plan_of(answer: Answer) -> Plan:
    assert answer.plan is not None
    return answer.plan


def test_the_default_request_is_proven() -> None:
    answer = solved()
    plan = plan_of(answer)
    assert answer.status == "optimal"
    assert [objective.name for objective in answer.objectives] == ["cost", "throughput"]
    assert all(objective.gap == 0 for objective in answer.objectives)
    cost, throughput = answer.objectives
    assert cost.bound <= cost.value <= cost.bound * 1.05 + 1e-9
    assert throughput.bound * 0.98 <= throughput.value <= throughput.bound
    assert plan.cost is not None
    assert values(answer)["cost"] == plan.cost.usd_per_hour
    assert values(answer)["throughput"] == pytest.approx(plan.performance.output_tokens_per_s, rel=1e-4)
    assert plan.flags["max-model-len"] == 8192
    assert int(plan.flags["max-num-seqs"]) * plan.replicas * plan.data_parallel_size >= 32
    assert plan.memory.running_concurrency >= plan.flags["max-num-seqs"]
    assert answer.solver.layouts_considered > 1000
    assert answer.solver.layouts_solved >= 1


@pytest.mark.parametrize(
    "order",
    [
        ("cost", "throughput"), ("throughput", "cost"), ("gpus", "latency"), ("latency", "gpus"),
        ("efficiency", "cost"), ("concurrency", "gpus", "cost"), ("cost", "concurrency"),
    ],
)  # fmt: skip
def test_objectives_are_what_the_plan_gives(order: tuple[str, ...]) -> None:
    answer = solved(gpu=("l4", "h100"), max_gpus=4, objective=order)
    plan, shown = plan_of(answer), values(answer)
    assert answer.status == "optimal"
    assert tuple(shown) == order
    assert plan.cost is not None
    engines = plan.replicas * plan.data_parallel_size
    rate = plan.performance.output_tokens_per_s
    seen = {
        "cost": plan.cost.usd_per_hour,
        "gpus": plan.gpu_count,
        "throughput": rate,
        "latency": plan.performance.e2e_ms,
        "concurrency": min(int(plan.flags["max-num-seqs"]), int(plan.memory.running_concurrency)) * engines,
        "efficiency": rate * 3600 / plan.cost.usd_per_hour,
    }
    for name in order:
        assert shown[name] == pytest.approx(seen[name], rel=1e-4)


def test_earlier_objectives_come_first() -> None:
    common: dict[str, Any] = {"gpu": ("l4", "a100"), "max_gpus": 2, "tolerance": 0}
    names = ("cost", "throughput", "concurrency", "gpus", "latency", "efficiency")
    alone = {name: values(solved(**common, objective=name))[name] for name in names}
    for first, second in itertools.permutations(names, 2):
        both = values(solved(**common, objective=(first, second)))
        assert both[first] == alone[first]
        if second in ("throughput", "concurrency", "efficiency"):
            assert both[second] <= alone[second]
        else:
            assert both[second] >= alone[second]


def test_the_same_seed_gives_the_same_answer() -> None:
    first, second = (solved(gpu=("l4", "a10", "h100"), seed=7).model_dump(mode="json") for _ in range(2))
    first["solver"].pop("wall_ms")
    second["solver"].pop("wall_ms")
    assert first == second


def test_any_seed_and_any_workers_give_the_same_plan() -> None:
    plans = [
        plan_of(solved(gpu=("l4", "h100"), seed=seed, workers=workers)) for seed, workers in ((0, 1), (5, 1), (1, 2))
    ]
    assert plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("seconds", [1e-6, 0.001, 0.02, 0.1])
@pytest.mark.parametrize("objective", ["cost", "throughput"])
def test_a_short_time_limit_never_says_infeasible(seconds: float, objective: str) -> None:
    answer = solved(time_limit=seconds, objective=objective)
    assert answer.status in ("optimal", "feasible", "unknown")
    if answer.status == "unknown":
        assert answer.plan is None
        assert answer.objectives == ()
    else:
        assert answer.plan is not None
        (shown,) = answer.objectives
        assert shown.bound <= shown.value if objective == "cost" else shown.bound >= shown.value
        apart = abs(shown.value - shown.bound) / max(1e-6, abs(shown.value))
        assert shown.gap <= apart * 1.001 + 1e-9
        assert shown.conceded > 0 or shown.gap == pytest.approx(apart, rel=1e-3)
        assert shown.gap == 0 or answer.status == "feasible"


def test_infeasible_is_not_a_matter_of_time() -> None:
    answer = solved(gpu="t4", max_gpus=1, model="meta-llama/Llama-3.3-70B-Instruct", time_limit=60)
    assert answer.status == "infeasible"
    assert answer.explanation is not None


def test_ties_take_fewer_gpus() -> None:
    """At the same price per GPU, efficiency does not depend on the replicas."""
    answer = solved(gpu="l4", objective="efficiency", concurrency=1, max_gpus=8)
    plan = plan_of(answer)
    assert plan.replicas == 1


def test_ties_take_the_checkpoint_at_hand() -> None:
    plan = plan_of(solved(gpu="h100", objective="cost", concurrency=1, target_context=1024))
    assert plan.checkpoint is not None
    assert plan.quality is not None
    assert plan.quality.recovery == 1.0
    assert plan.quality.interval == (1.0, 1.0)
    assert plan.checkpoint_publisher == "native"
    assert (plan.tensor_parallel_size, plan.pipeline_parallel_size, plan.kv_cache_dtype) == (1, 1, "auto")
    assert "enforce-eager" not in plan.flags
    assert "block-size" not in plan.flags
    assert plan.flags["gpu-memory-utilization"] == 0.92


def test_without_prices_cost_counts_gpus() -> None:
    answer = solved(gpu=UNPRICED, max_gpus=4)
    assert values(answer)["cost"] == plan_of(answer).gpu_count
    assert answer.objectives[0].unit == "GPUs"
    assert plan_of(answer).cost is None
    assert any(f"{UNPRICED}, so cost counts GPUs" in note for note in answer.notes)


def test_a_sku_without_a_price_never_changes_how_others_are_billed() -> None:
    alone, beside = solved(gpu="h100", max_gpus=4), solved(gpu=("h100", UNPRICED), max_gpus=4)
    assert beside.objectives == alone.objectives
    assert beside.objectives[0].unit == "USD/hour"
    assert plan_of(beside).command == plan_of(alone).command
    (other,) = beside.alternatives
    assert (other.gpu, other.cost) == (UNPRICED, None)
    fastest = solved(gpu=("h100", UNPRICED), max_gpus=4, objective=("throughput", "efficiency", "cost"))
    found = {objective.name: objective for objective in fastest.objectives}
    if plan_of(fastest).gpu == UNPRICED:
        assert (found["cost"].value, found["cost"].unit) == (plan_of(fastest).gpu_count, "GPUs")
        assert found["efficiency"].unit == "tokens/GPU-hour"


def test_owned_gpus_come_first_and_end_with_the_stock() -> None:
    owned = solved(gpu=("h100", "l4"), owned={"l4": 4}, concurrency=8)
    plan = plan_of(owned)
    assert plan.cost is not None
    assert (plan.gpu, plan.cost.usd_per_hour, plan.cost.billing) == ("l4", 0.0, "owned")
    assert plan.gpu_count <= 4
    best = solved(gpu="l4", owned={"l4": 4}, concurrency=8, objective="efficiency")
    (objective,) = best.objectives
    assert objective.unit == "tokens/s per GPU"
    rate = plan_of(best).performance.output_tokens_per_s / plan_of(best).gpu_count
    assert objective.value == pytest.approx(rate, rel=1e-4)
    more = solved(gpu="l4", owned={"l4": 1}, billing="owned", concurrency=256)
    assert more.status == "infeasible"
    assert more.explanation is not None


def test_a_machine_of_eight_is_paid_whole_and_used_whole(tmp_path: Path) -> None:
    prices = tmp_path / "prices.json"
    prices.write_text(json.dumps([{"gpu": "h100", "gpus": 8, "usd_per_hour": 24.0}]))
    asked: dict[str, Any] = {"gpu": "h100", "prices": str(prices), "concurrency": 8}
    plan = plan_of(solve(SolveRequest(**asked)))
    assert plan.cost is not None
    assert (plan.cost.usd_per_hour, plan.cost.gpus_bought, plan.cost.gpus_used) == (24.0, 8, 8)
    one = plan_of(solve(SolveRequest(**asked, gpus=1)))
    assert one.cost is not None
    assert (one.cost.usd_per_hour, one.cost.gpus_bought, one.cost.gpus_used, one.cost.instances) == (24.0, 8, 1, 1)
    assert one.performance.output_tokens_per_s < plan.performance.output_tokens_per_s
    frugal = plan_of(solve(SolveRequest(**asked, objective=("cost", "gpus"))))
    assert frugal.gpu_count == 1


def test_the_best_on_each_other_sku() -> None:
    skus = ("l4", "a10", "h100-sxm", "a100-sxm4-80gb")
    answer = solved(gpu=skus)
    shown = [plan_of(answer).gpu, *(plan.gpu for plan in answer.alternatives)]
    assert sorted(shown) == sorted(skus)
    for plan in answer.alternatives:
        alone = solved(gpu=plan.gpu)
        assert plan.cost is not None
        assert values(alone)["cost"] == plan.cost.usd_per_hour
        assert values(alone)["throughput"] == pytest.approx(plan.performance.output_tokens_per_s, rel=1e-4)
    costs = [plan.cost.usd_per_hour for plan in answer.alternatives if plan.cost]
    assert costs == sorted(costs)


@pytest.mark.parametrize("top", [1, 3, 8])
def test_top_lists_the_next_best(top: int) -> None:
    answer = solved(gpu=("l4", "a10"), top=top, max_gpus=4)
    assert len(answer.alternatives) == top
    keys = [_place(plan) for plan in (plan_of(answer), *answer.alternatives)]
    assert keys == sorted(keys)
    names = [
        (
            plan.gpu,
            plan.quantization,
            plan.tensor_parallel_size,
            plan.pipeline_parallel_size,
            plan.kv_cache_dtype,
            plan.flags.get("enforce-eager", False),
        )
        for plan in (plan_of(answer), *answer.alternatives)
    ]
    assert len(set(names)) == len(names)


def test_top_is_the_start_of_a_longer_top() -> None:
    three = solved(gpu=("l4", "a10"), top=3, max_gpus=4).alternatives
    nine = solved(gpu=("l4", "a10"), top=9, max_gpus=4).alternatives
    assert [plan.command for plan in nine[:3]] == [plan.command for plan in three]


def _place(plan: Plan) -> tuple[float, int, float]:
    assert plan.cost is not None
    rank = PUBLISHERS.index(plan.checkpoint_publisher)
    return plan.cost.usd_per_hour, rank, -plan.performance.output_tokens_per_s


MODELS = (
    SMALL, "meta-llama/Llama-3.1-8B-Instruct", "google/gemma-3-27b-it", "Qwen/Qwen3-30B-A3B",
    "mistralai/Mistral-7B-Instruct-v0.3", "meta-llama/Llama-3.3-70B-Instruct", "openai/gpt-oss-120b",
    "deepseek-ai/DeepSeek-V3", "Qwen/Qwen3-Next-80B-A3B-Instruct",
)  # fmt: skip


def as_estimate(plan: Plan, **fields: Any) -> EstimateRequest:
    """The flags of a plan as somebody would type them."""
    flags = plan.flags
    switches = {
        name: flags[name.replace("_", "-")]
        for name in ("enable_prefix_caching", "enable_chunked_prefill", "block_size")
        if name.replace("_", "-") in flags
    }
    return EstimateRequest(
        model=plan.model, gpu=plan.gpu, quantization=plan.quantization, kv_cache_dtype=plan.kv_cache_dtype,
        tensor_parallel_size=plan.tensor_parallel_size, pipeline_parallel_size=plan.pipeline_parallel_size,
        data_parallel_size=plan.data_parallel_size, enable_expert_parallel=plan.expert_parallel,
        decode_context_parallel_size=plan.decode_context_parallel_size, replicas=plan.replicas,
        max_model_len=flags["max-model-len"], max_num_seqs=flags["max-num-seqs"],
        max_num_batched_tokens=flags["max-num-batched-tokens"],
        gpu_memory_utilization=flags["gpu-memory-utilization"], enforce_eager="enforce-eager" in flags,
        concurrency=plan.performance.concurrency, **switches, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("model", [name for name in MODELS if name in CATALOG.model_ids])
def test_a_plan_is_what_estimate_says_of_its_flags(model: str) -> None:
    answer = solved(model=model, target_context=4096, concurrency=24)
    for plan in (plan_of(answer), *answer.alternatives[:2]):
        given = estimate(as_estimate(plan), CATALOG)
        assert given.fits
        assert given.violations == ()
        assert given.memory == plan.memory
        assert given.performance == plan.performance


def test_several_nodes_need_the_link_between_them() -> None:
    request: dict[str, Any] = {
        "model": "deepseek-ai/DeepSeek-V3", "gpu": "a100-sxm4-80gb", "quantization": "bf16",
        "hypothetical_checkpoints": True,
    }  # fmt: skip
    alone = solved(**request, max_gpus=32, explain=False)
    assert alone.status == "infeasible"
    joined = plan_of(solved(**request, max_gpus=32, internode_gbps=400, concurrency=4, target_context=4096))
    assert joined.tensor_parallel_size * joined.pipeline_parallel_size % 8 == 0
    assert joined.tensor_parallel_size * joined.pipeline_parallel_size > 8
    assert joined.flags["distributed-executor-backend"] == "ray"


ATTACKED: tuple[dict[str, Any], ...] = (
    {"gpu": ("l4", "a10", "h100")},
    {"gpu": ("h100", "a100"), "objective": ("throughput", "cost"), "max_gpus": 8},
    {"gpu": ("l4", "h100"), "objective": ("latency", "cost"), "max_gpus": 8},
    {"gpu": ("l4", "l40s"), "objective": ("efficiency",), "max_tpot_ms": 60, "max_ttft_ms": 4000},
    {"gpu": ("h100", "h200"), "model": "Qwen/Qwen3-30B-A3B", "objective": ("concurrency", "cost")},
    {"gpu": ("h100", "h200"), "model": "google/gemma-3-27b-it", "target_context": 32768, "concurrency": 8},
    {"gpu": ("a100", "h100"), "vllm_version": "0.11", "max_tpot_ms": 40, "min_output_tokens_per_s": 500},
)
OTHER_KINDS: tuple[dict[str, Any], ...] = (
    {"gpu": ("l40s", "h100"), "input_tokens": 1000, "output_tokens": 200, "concurrency": 64},
    {"gpu": ("a100",), "model": "deepseek-ai/DeepSeek-V2-Lite", "vllm_version": "0.9", "objective": ("throughput",)},
    {"gpu": ("a100",), "vllm_version": "0.8.5", "engine": "v0", "objective": ("cost", "latency")},
    {"gpu": ("a100", "h100"), "provider": ("AWS",), "model": "Qwen/Qwen3-32B", "objective": ("gpus", "cost")},
    {"gpu": ("l4", "a10"), "owned": {"l4": 4}, "objective": ("cost", "throughput")},
    {"gpu": ("l4", "h100"), "requests_per_s": 2.0, "input_tokens": 500, "output_tokens": 100},
)
TOLERANCE = 0.005
"""What a batch size or step width between two values of the grids may gain."""


@pytest.mark.parametrize(
    ("fields", "shots"),
    [*((fields, 600) for fields in ATTACKED), *((fields, 120) for fields in OTHER_KINDS)],
    ids=range(len(ATTACKED) + len(OTHER_KINDS)),
)
def test_nothing_near_or_far_is_better(fields: dict[str, Any], shots: int) -> None:
    """Change every decision of the plan at random: what the rules let pass is no better."""
    request = SolveRequest(**fields, tolerance=0.0)
    answer = solve(request, CATALOG)
    assert answer.status == "optimal"
    attack = Attack(request, plan_of(answer))
    best = values(answer)
    tried = 0
    for _ in range(shots):
        found = attack.shot()
        if found is None:
            continue
        tried += 1
        _assert_no_better(tuple(request.objective), best, found)
    assert tried >= shots // 30


def _assert_no_better(order: tuple[str, ...], best: dict[str, float], found: dict[str, float]) -> None:
    for name in order:
        larger_is_better = name in ("throughput", "concurrency", "efficiency")
        gain = (found[name] - best[name]) / max(1e-9, abs(best[name])) * (1 if larger_is_better else -1)
        assert gain <= TOLERANCE, (name, best, found)
        if gain < -1e-9:
            return


class Attack:
    """Random points around a plan, judged by the rules' `check` alone."""

    def __init__(self, request: SolveRequest, plan: Plan, catalog: Catalog = CATALOG) -> None:
        self.random = random.Random(3)
        self.setting = resolve_solve(request, catalog)
        self.physics = LayoutPhysics(self.setting)
        self.plan = plan
        self.steps = utilization_steps(request.max_gpu_memory_utilization)
        self.known: dict[Any, Unit | None] = {}

    def shot(self) -> dict[str, float] | None:
        """The objectives of a random point, or None when a rule breaks."""
        pick, setting, flags = self.random.choice, self.setting, self.plan.flags
        near = self.random.random() < 0.6
        sku = next(item for item in setting.gpus if item.gpu.id == self.plan.gpu) if near else pick(setting.gpus)
        weights = pick(setting.formats)
        if near and self.random.random() < 0.7:
            weights = next(item for item in setting.formats if item.quantization.id == self.plan.quantization)
        every = shapes(setting, sku.gpu.gpus_per_node, setting.targets.max_gpus)
        alike = [
            shape for shape in every
            if (shape.tensor, shape.pipeline, shape.data, shape.kv_cache_dtype)
            == (
                self.plan.tensor_parallel_size, self.plan.pipeline_parallel_size, self.plan.data_parallel_size,
                self.plan.kv_cache_dtype,
            )
        ]  # fmt: skip
        shape = pick(alike) if near and alike and self.random.random() < 0.7 else pick(every)
        if self.random.random() < 0.1:
            shape = replace(shape, block_size=pick((16, 32, 64, 128)))
        unit = self.unit(sku, weights, shape, self.random.random() < 0.3)
        if unit is None:
            return None
        most = max(1, setting.targets.max_gpus // shape.gpus)
        replicas = self.random.randint(1, most) if self.random.random() < 0.4 else self.plan.replicas
        tokens = int(flags["max-num-batched-tokens"])
        if self.random.random() < 0.5:
            tokens = pick((*token_grid(setting, 8192, chunked_prefill=True), *self.other_widths()))
        size = int(flags["max-num-seqs"])
        if self.random.random() < 0.8:
            size = pick(
                (size - 1, size + 1, self.random.randint(1, 1024), self.random.randint(1, 2 * size), pick(CAPTURED))
            )
        choice = Choice(
            Unit(unit.facts, unit.shape, replicas), tokens, max(1, size),
            pick(self.steps) if self.random.random() < 0.5 else float(flags["gpu-memory-utilization"]),
        )  # fmt: skip
        return self.judged(choice)

    def other_widths(self) -> tuple[int, ...]:
        """A width off the grid, unless it is pinned."""
        pinned = self.setting.request.max_num_batched_tokens
        return () if pinned else (self.random.randint(256, 40000),)

    def unit(self, sku: Any, weights: Any, shape: Any, eager: bool) -> Unit | None:
        """A layout that vLLM would start, or None."""
        key = sku.gpu.id, weights.quantization.id, shape, eager
        if key not in self.known:
            refused = (
                not weights.accepted
                or self.physics.incompatible(sku.gpu, weights, shape)
                or self.physics.undocumented(sku.gpu, weights, shape)
                or self.physics.indivisible(sku.gpu, weights, shape)
                or isinstance(self.physics.plan(sku.gpu, weights, shape), Violation)
            )
            facts = None if refused else self.physics.facts(sku, weights, shape)
            if facts is not None and eager:
                facts = self.physics.eager_facts(facts)
            self.known[key] = None if facts is None else Unit(facts, shape, 1)
        return self.known[key]

    def judged(self, choice: Choice) -> dict[str, float] | None:
        """Its objectives, when every rule holds and it has a price: what has none stands behind what has."""
        performance, _ = predicted(self.setting, choice)
        point = deployment_of(self.setting, choice, performance)
        if violations(point) or point.bill is None:
            return None
        facts, engines = choice.unit.facts, choice.unit.engines
        cost = point.bill.microusd_per_hour / 1e6
        blocks = facts.terms.num_gpu_blocks(point.flags)
        held = min(point.flags.max_num_seqs, facts.terms.kv.running_concurrency(blocks, point.flags.max_model_len))
        return {
            "cost": cost,
            "gpus": choice.unit.gpu_count,
            "throughput": performance.output_tokens_per_s,
            "latency": performance.e2e_ms,
            "efficiency": performance.output_tokens_per_s * 3600 / cost if cost else 0.0,
            "concurrency": int(held) * engines,
        }


def test_hypothetical_checkpoints_come_last() -> None:
    """Off unless asked for; a plan with weights that nobody has published says in every format to make them first."""
    named = SolveRequest(gpu="h100", quantization=("w4a8",), model="mistralai/Mistral-7B-Instruct-v0.3")
    assert solve(named.replaced(explain=False), CATALOG).plan is None
    request = named.replaced(hypothetical_checkpoints=True)
    setting = resolve_solve(request, CATALOG)
    (weights,) = setting.formats
    assert isinstance(weights.quantization, Quantization)
    plan = plan_of(solve(request, CATALOG))
    assert plan.checkpoint is None
    assert weights.publisher_rank == HYPOTHETICAL
    assert plan.checkpoint_publisher == "hypothetical"
    answer = solve(request, CATALOG)
    for format_name in ("table", "json", "yaml", "command", "env", "compose", "kubernetes", "html"):
        assert "make it first" in render_answer(answer, format_name, Screen(200)), format_name


@pytest.mark.parametrize("version", ["0.33", "0.11", "0.7.3"])
@pytest.mark.parametrize("host", [None, 64.0, 1000.0])
def test_host_memory_runs_no_sequences(version: str, host: float | None) -> None:
    """vLLM plans the same pool, blocks and running sequences with the tier as without; what it is good for is said."""
    asked = {"gpu": "t4", "model": "Qwen/Qwen2.5-7B-Instruct", "quantization": "awq", "vllm_version": version}
    plan = plan_of(solve(SolveRequest(**asked, host_memory_gib=host), CATALOG))
    plain = plan_of(solve(SolveRequest(**asked), CATALOG))
    assert plan.command == plain.command
    assert plan.flags["max-num-seqs"] * plan.replicas * plan.data_parallel_size >= 32
    assert all(binding.slack >= 0 for binding in plan.binding)
    said = [note for note in plan.notes if "host memory runs no further sequences" in note]
    assert len(said) == (0 if host is None else 1)
    if host is not None and version == "0.33":
        server = plan.gpu_count // plan.replicas
        share = int(host * server / CATALOG.gpu("t4").gpus_per_node)
        tokens = (share << 30) // (plan.memory.kv_bytes_per_token * plan.tensor_parallel_size)
        assert f"--kv-offloading-size {share} would keep {tokens} tokens" in said[0]
