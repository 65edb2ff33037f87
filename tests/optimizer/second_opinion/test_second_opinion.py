"""The second opinion: it agrees with every kind of plan, and no figure of a plan can be changed behind its back."""

import ast
import json
import math
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.answer import Answer, ObjectiveValue, Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.contract.second_opinion import Check, PlanOpinion
from vllm_opt.optimizer.second_opinion.opinion import objective_checks, opinion_of_answer, opinion_of_plan, with_opinion
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

ROOT = Path(__file__).resolve().parents[3]
CATALOG = Catalog()
KINDS: dict[str, dict[str, Any]] = {
    "dense": {"gpu": ("l4", "h100"), "model": "Qwen/Qwen3-8B"},
    "experts": {"gpu": ("h100",), "model": "Qwen/Qwen3-30B-A3B", "objective": ("throughput",), "max_gpus": 4},
    "latent": {"gpu": ("h100",), "model": "deepseek-ai/DeepSeek-V2-Lite", "max_gpus": 2},
    "windows": {"gpu": ("h100",), "model": "google/gemma-3-27b-it", "target_context": 32768, "concurrency": 8},
    "kv_of_the_checkpoint": {
        "gpu": ("b200",), "model": "nvidia/Llama-3.1-70B-Instruct-FP8", "kv_cache_dtype": "auto",
        "quantization": ("native", "nvfp4"),
    },
    "stages": {"gpu": ("l4",), "model": "Qwen/Qwen3-14B", "pipeline_parallel_size": 2, "concurrency": 4},
    "first_engine": {"gpu": ("a100",), "model": "Qwen/Qwen2.5-7B-Instruct", "vllm_version": "0.6.6"},
    "typical_lengths": {"gpu": ("l40s",), "model": "Qwen/Qwen3-8B", "input_tokens": 1000, "output_tokens": 200},
    "machines": {"model": "Qwen/Qwen3-32B", "gpu": ("a100",), "provider": ("AWS",), "objective": ("gpus", "cost")},
    "owned": {"model": "Qwen/Qwen3-32B", "gpu": ("a100",), "owned": {"a100": 4}, "objective": ("efficiency",)},
    "half": {"gpu": ("h100",), "model": "Qwen/Qwen3-8B", "quantization": ("bf16",)},
    "prompts_only": {"gpu": ("l4",), "model": "Qwen/Qwen3-4B", "input_tokens": 500, "output_tokens": 1},
}  # fmt: skip


@cache
def answered(kind: str) -> Answer:
    return solve(SolveRequest(**{"max_gpus": 8, **KINDS[kind]}), CATALOG)


def plan_of(kind: str) -> Plan:
    plan = answered(kind).plan
    assert plan is not None
    return plan


def judged(plan: Plan, kind: str = "dense") -> PlanOpinion:
    return opinion_of_plan("plan", plan, answered(kind).request, CATALOG)


def disagreeing(opinion: PlanOpinion) -> set[str]:
    return {check.name for check in opinion.checks if not check.agrees}


@pytest.mark.parametrize("kind", KINDS)
def test_it_agrees_with_every_plan_of_an_answer(kind: str) -> None:
    answer = answered(kind)
    assert answer.status == "optimal"
    opinion = opinion_of_answer(answer, CATALOG)
    assert opinion.disagreements == ()
    first = {check.name for check in opinion.plans[0].checks}
    assert opinion.plans[0].not_judged == ()
    assert {
        "weights_bytes", "weights_extra_bytes", "activation_peak_bytes", "cuda_graph_bytes", "kv_block_bytes",
        "num_gpu_blocks", "max_concurrency", "running_concurrency", "blocks of the sequences admitted", "usd_per_hour",
        "ttft_ms", "output_tokens_per_s",
    } <= first  # fmt: skip


MEMORY = {
    "weights_bytes": -1, "weights_extra_bytes": 1, "activation_peak_bytes": -1, "non_torch_bytes": 1,
    "cuda_graph_bytes": -1, "kv_block_bytes": -16384, "budget_bytes": 1, "gpu_total_bytes": 1 << 20,
    "headroom_needed_bytes": -1,
}  # fmt: skip


@pytest.mark.parametrize("field", sorted(set(MEMORY) - {"gpu_total_bytes"}))
def test_one_byte_of_memory_is_seen(field: str) -> None:
    plan = plan_of("half")
    memory = plan.memory.model_copy(update={field: getattr(plan.memory, field) + MEMORY[field]})
    assert field in disagreeing(judged(plan.model_copy(update={"memory": memory}), "half"))


@pytest.mark.parametrize(
    ("field", "factor"),
    [("num_gpu_blocks", 2), ("max_concurrency", 1.01), ("running_concurrency", 1.01), ("kv_cache_bytes", 1.01)],
)
def test_an_overstated_pool_is_seen(field: str, factor: float) -> None:
    """The fault of the first edition: a pool of another format's KV dtype, twice as large as it is."""
    kind = "kv_of_the_checkpoint"
    plan = plan_of(kind)
    memory = plan.memory.model_copy(
        update={field: type(getattr(plan.memory, field))(getattr(plan.memory, field) * factor)}
    )
    assert field in disagreeing(judged(plan.model_copy(update={"memory": memory}), kind))


def test_a_pool_that_does_not_hold_what_is_admitted_is_seen() -> None:
    plan = plan_of("dense")
    flags = {**plan.flags, "max-num-seqs": 400}
    assert "blocks of the sequences admitted" in disagreeing(judged(plan.model_copy(update={"flags": flags})))


@pytest.mark.parametrize("field", ["ttft_ms", "tpot_ms", "output_tokens_per_s"])
def test_a_twentieth_of_speed_is_seen(field: str) -> None:
    plan = plan_of("dense")
    speed = plan.performance.model_copy(update={field: getattr(plan.performance, field) * 0.95})
    assert field in disagreeing(judged(plan.model_copy(update={"performance": speed})))


def test_money_that_does_not_add_up_is_seen() -> None:
    plan = plan_of("machines")
    assert plan.cost is not None
    cheaper = plan.cost.model_copy(update={"usd_per_hour": plan.cost.usd_per_hour - 0.01})
    assert "usd_per_hour" in disagreeing(judged(plan.model_copy(update={"cost": cheaper}), "machines"))
    more = plan.model_copy(update={"replicas": plan.replicas + 1})
    assert "gpu_count" in disagreeing(judged(more, "machines"))


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"tensor_parallel_size": 2}, "--tensor-parallel-size"),
        ({"decode_context_parallel_size": 2}, "--decode-context-parallel-size"),
        ({"gpu_count": 3}, "gpu_count"),
    ],
)
def test_a_size_that_the_command_does_not_say_is_seen(change: dict[str, Any], name: str) -> None:
    assert name in disagreeing(judged(plan_of("dense").model_copy(update=change)))


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"max_gpus": 0}, "GPUs allowed"),
        ({"max_ttft_ms": 1.0}, "max_ttft_ms"),
        ({"max_tpot_ms": 1.0}, "max_tpot_ms"),
        ({"min_output_tokens_per_s": 1e9}, "min_output_tokens_per_s"),
        ({"max_hourly_cost": 0.01}, "cost per hour"),
        ({"concurrency": 100_000}, "sequences asked"),
        ({"gpu": ["h200-sxm"]}, "a GPU that may be used"),
        ({"max_num_seqs": 3}, "max_num_seqs"),
        ({"max_gpu_memory_utilization": 0.1}, "gpu_memory_utilization"),
    ],
)
def test_every_limit_of_a_request_is_judged(changes: dict[str, Any], name: str) -> None:
    request = {**answered("dense").request, **changes}
    assert name in disagreeing(opinion_of_plan("plan", plan_of("dense"), request, CATALOG))


def test_an_objective_that_is_not_the_plans_is_seen() -> None:
    answer = answered("dense")
    first = answer.objectives[0]
    claimed = answer.model_copy(update={"objectives": (first.model_copy(update={"value": first.value * 0.9}),)})
    assert next(objective_checks(claimed)).agrees is False
    proven = answer.model_copy(
        update={
            "objectives": (first.model_copy(update={"bound": first.value * 9}),),
            "alternatives": (plan_of("dense"),),
        }
    )
    assert any("beats the bound" in check.name and not check.agrees for check in objective_checks(proven))


def test_tokens_per_dollar_are_whole_thousandths_whatever_the_price() -> None:
    """Where an hour costs thousands, a thousandth of a token per dollar is more than any other rounding."""
    answer, plan = answered("dense"), plan_of("dense")
    assert plan.cost is not None
    dear = plan.model_copy(update={"cost": plan.cost.model_copy(update={"usd_per_hour": 12000.0})})
    exact = plan.performance.output_tokens_per_s * 3600 / 12000
    for value, agrees in ((math.floor(exact * 1000) / 1000, True), (exact - 0.01, False)):
        efficiency = ObjectiveValue(
            name="efficiency", value=value, bound=value, gap=0.0, conceded=0.0, unit="tokens/USD"
        )
        shown = answer.model_copy(update={"plan": dear, "objectives": (efficiency,), "alternatives": (), "pareto": ()})
        assert next(objective_checks(shown)).agrees is agrees


def test_a_disagreement_is_said_in_the_answer_and_ends_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    from vllm_opt.optimizer.cli.output import told

    plan = plan_of("dense")
    memory = plan.memory.model_copy(update={"weights_bytes": 1})
    answer = with_opinion(
        answered("dense").model_copy(update={"plan": plan.model_copy(update={"memory": memory})}), CATALOG
    )
    assert answer.second_opinion is not None
    assert not answer.second_opinion.agrees
    assert answer.notes[0].startswith("the second opinion disagrees: plan: weights_bytes is 1 in the answer and ")
    assert told(answer.second_opinion) == 1
    assert "second opinion disagrees: plan: weights_bytes" in capsys.readouterr().err


def test_the_command_counts_again_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["solve", "Qwen/Qwen3-4B", "--gpu", "l4", "--second-opinion", "--format", "json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)["second_opinion"]
    assert found["agrees"] is True
    assert len(found["plans"][0]["checks"]) > 30
    assert all(Check.model_validate(check).agrees for check in found["plans"][0]["checks"])
    assert err.startswith("second opinion: ")
    assert "all agree" in err
    assert main(["solve", "Qwen/Qwen3-4B", "--gpu", "l4", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["second_opinion"] is None


def test_a_fleet_is_counted_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demand = tmp_path / "demand.yaml"
    workload = {"name": "chat", "model": "Qwen/Qwen3-4B", "concurrency": 8, "input_tokens": 900, "output_tokens": 100}
    inventory = {"gpu": ["l4"], "max_gpus_per_replica": 1}
    demand.write_text(json.dumps({"workloads": [workload], "inventory": inventory}), encoding="utf-8")
    assert main(["procure", str(demand), "--no-comparisons", "--second-opinion", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)["second_opinion"]
    assert found["agrees"] is True
    assert found["plans"][-1]["plan"] == "the order"


def test_it_shares_nothing_with_the_search() -> None:
    """The door is held by the architecture test; the borrowed physics are these, and no more."""
    borrowed = set()
    for path in (ROOT / "optimizer" / "second_opinion").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("vllm_opt.constraints"):
                borrowed |= {
                    f"{(node.module or '').removeprefix('vllm_opt.constraints.')}.{a.name}" for a in node.names
                }
    assert borrowed == {
        "decisions.configuration.Layout", "memory.encoder_peak.encoder_peak", "memory.encoder_peak.media_items",
        "speed.coefficients.latency_coefficients", "speed.model_work.model_work",
        "weights.pipeline_ends.ON_EVERY_STAGE",
    }  # fmt: skip
