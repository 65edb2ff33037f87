"""What others rely on: keys, defaults, counts and exit codes of the answers, and that Python and the command agree."""

import json
import re
from typing import Any

import pytest

from vllm_opt.optimizer import EstimateRequest, SolveRequest, estimate, solve
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.quantities import quantity
from vllm_opt.profiles.catalogues.catalog import Catalog

Capture = pytest.CaptureFixture[str]
MEMORY_KEYS = """
gpu_total_bytes budget_bytes weights_bytes weights_extra_bytes activation_peak_bytes non_torch_bytes cuda_graph_bytes
kv_cache_bytes kv_block_bytes block_size num_gpu_blocks kv_cache_tokens max_concurrency kv_bytes_per_token
admission_concurrency running_concurrency max_supported_model_len
"""
PERFORMANCE_KEYS = """
ttft_ms tpot_ms e2e_ms output_tokens_per_s total_tokens_per_s requests_per_s saturated basis interval
"""
PLAN_KEYS = """
model checkpoint gpu gpu_count replicas tensor_parallel_size pipeline_parallel_size data_parallel_size
expert_parallel quantization kv_cache_dtype flags env command vllm_version memory performance cost binding
"""
MEMORY, PERFORMANCE, PLAN = (set(keys.split()) for keys in (MEMORY_KEYS, PERFORMANCE_KEYS, PLAN_KEYS))
VIOLATION = {"rule", "message", "needed", "available", "unit"}


def answered(capsys: Capture, *arguments: str) -> tuple[int, Any]:
    """Exit code and JSON, which holds no NaN or Infinity."""
    code = main([*arguments, "--format", "json"])
    out, err = capsys.readouterr()
    assert err == ""

    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    return code, json.loads(out, parse_constant=refuse)


def without_time(answer: Any) -> Any:
    return {**answer, "solver": {**answer["solver"], "wall_ms": 0}}


# --- estimate -------------------------------------------------------------------------------------------------------


def test_an_estimate_has_the_keys_of_the_contract_and_whole_bytes(capsys: Capture) -> None:
    code, answer = answered(capsys, "estimate", "--gpu", "h100", "--max-model-len", "8192")
    assert (code, answer["schema"], answer["fits"], answer["violations"]) == (0, "vllm-opt/estimate/1", True, [])
    assert set(answer["memory"]) >= MEMORY
    assert all(
        type(answer["memory"][key]) is int
        for key in MEMORY - {"max_concurrency", "admission_concurrency", "running_concurrency"}
    )
    assert set(answer["performance"]) >= PERFORMANCE
    low, high = answer["performance"]["interval"]["ttft_ms"]
    assert low < answer["performance"]["ttft_ms"] < high


def test_an_estimate_fills_in_every_default(capsys: Capture) -> None:
    request = answered(capsys, "estimate", "--max-model-len", "8192")[1]["request"]
    expected = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "gpu": "h100-sxm",
        "output_tokens": 1024,
        "input_tokens": 7168,
        "tensor_parallel_size": 1,
        "quantization": "bf16",
        "kv_cache_dtype": "auto",
        "block_size": 16,
        "gpu_memory_utilization": 0.92,
        "max_num_seqs": 1024,
        "max_num_batched_tokens": 8192,
        "enable_prefix_caching": True,
        "enable_chunked_prefill": True,
        "confidence": 0.9,
    }
    assert {key: request[key] for key in expected} == expected


def test_the_default_load_is_what_is_admitted_and_held(capsys: Capture) -> None:
    answer = answered(capsys, "estimate", "--max-model-len", "8192", "-dp", "2", "--max-num-seqs", "20")[1]
    assert answer["request"]["concurrency"] == answer["performance"]["concurrency"] == 20 * 2
    answer = answered(capsys, "estimate", "--max-model-len", "8192", "-dp", "2")[1]
    assert answer["request"]["concurrency"] == int(answer["memory"]["running_concurrency"]) * 2


def test_targets_that_are_missed_are_violations_and_leave_the_exit_code_0(capsys: Capture) -> None:
    code, answer = answered(
        capsys, "estimate", "--max-model-len", "8192", "--concurrency", "5000", "--max-ttft-ms", "1"
    )
    assert (code, answer["fits"]) == (0, True)
    assert {violation["rule"] for violation in answer["violations"]} == {"concurrency", "ttft"}
    assert all(set(violation) == VIOLATION for violation in answer["violations"])


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("-tp", "3"), "divisibility"),
        (("--block-size", "7"), "compatibility"),
        (("--kv-cache-dtype", "fp8_ds_mla"), "compatibility"),
        (("--gpu", "t4", "--max-model-len", "8192"), "memory_budget"),
        (("--max-model-len", "200000"), "context_length"),
    ],
)
def test_what_cannot_start_is_1_names_its_rule_and_still_shows_memory(
    arguments: tuple[str, ...], rule: str, capsys: Capture
) -> None:
    code, answer = answered(capsys, "estimate", *arguments)
    assert (code, answer["fits"]) == (1, False)
    assert rule in {violation["rule"] for violation in answer["violations"]}
    assert answer["memory"]["gpu_total_bytes"] > 0
    assert answer["cost"] is None or answer["cost"]["usd_per_million_output_tokens"] is None


def test_stages_that_differ_are_listed(capsys: Capture) -> None:
    memory = answered(capsys, "estimate", "--max-model-len", "8192", "-pp", "3")[1]["memory"]
    assert [rank["layers"] for rank in memory["ranks"]] == [11, 11, 10]
    assert memory["num_gpu_blocks"] == min(rank["num_gpu_blocks"] for rank in memory["ranks"])


def test_the_reported_memory_can_be_overridden(capsys: Capture) -> None:
    assert answered(capsys, "estimate", "--gpu-memory-gib", "40")[1]["memory"]["gpu_total_bytes"] == 40 * 2**30


def test_an_estimate_costs_what_all_its_gpus_cost(capsys: Capture) -> None:
    arguments = ("estimate", "--max-model-len", "8192", "-tp", "2", "--replicas", "3", "--price", "h100=1.25")
    answer = answered(capsys, *arguments)[1]
    assert answer["cost"]["usd_per_hour"] == 7.5
    per_million = 7.5 / (answer["performance"]["output_tokens_per_s"] * 3600) * 1e6
    assert answer["cost"]["usd_per_million_output_tokens"] == pytest.approx(per_million)


def test_python_equals_the_command_for_an_estimate(capsys: Capture) -> None:
    answer = answered(capsys, "estimate", "--gpu", "l4", "--max-model-len", "4096", "--quantization", "fp8")[1]
    request = EstimateRequest(gpu=["l4"], max_model_len="4096", quantization="fp8")
    assert estimate(request).model_dump(mode="json") == answer


# --- solve ----------------------------------------------------------------------------------------------------------


def test_a_plan_has_the_keys_of_the_contract(capsys: Capture) -> None:
    code, answer = answered(capsys, "solve", "--gpu", "h100")
    assert (code, answer["schema"], answer["status"], answer["explanation"]) == (0, "vllm-opt/plan/1", "optimal", None)
    plan = answer["plan"]
    assert set(plan) >= PLAN
    assert set(plan["memory"]) >= MEMORY
    assert set(plan["performance"]) >= PERFORMANCE
    assert set(plan["cost"]) == {
        "usd_per_hour", "gpus_bought", "gpus_used", "instances", "instance_type", "provider", "region", "billing",
        "price_date", "price_source", "usd_per_million_output_tokens",
    }  # fmt: skip
    assert [objective["name"] for objective in answer["objectives"]] == ["cost", "throughput"]
    assert all(set(objective) >= {"name", "value", "bound", "gap"} for objective in answer["objectives"])
    assert all(set(rule) == {"rule", "slack", "unit", "message"} for rule in plan["binding"])
    assert set(answer["solver"]) >= {"wall_ms", "layouts_considered", "layouts_solved", "workers", "seed"}
    sizes = plan["data_parallel_size"] * plan["tensor_parallel_size"] * plan["pipeline_parallel_size"]
    assert plan["gpu_count"] == plan["replicas"] * sizes


def test_flags_and_command_say_the_same(capsys: Capture) -> None:
    plan = answered(capsys, "solve", "--gpu", "h100", "--gpus", "2", "--target-context", "32K")[1]["plan"]
    assert "\n" not in plan["command"]
    said = dict(re.findall(r"--([a-z-]+) (\S+)", plan["command"]))
    assert {name: said[name] for name in plan["flags"]} == {name: str(value) for name, value in plan["flags"].items()}
    assert plan["flags"]["max-model-len"] == 32768
    assert plan["gpu_count"] == 2


def test_a_plan_is_confirmed_by_an_estimate_of_its_flags() -> None:
    plan = solve(SolveRequest(gpu="l4", target_context=4096, concurrency=16)).plan
    assert plan is not None
    confirmed = estimate(
        EstimateRequest(
            model=plan.model,
            gpu=plan.gpu,
            quantization=plan.quantization,
            kv_cache_dtype=plan.kv_cache_dtype,
            replicas=plan.replicas,
            tensor_parallel_size=plan.tensor_parallel_size,
            **{  # type: ignore[arg-type]
                name.replace("-", "_"): value
                for name, value in plan.flags.items()
                if name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization")
            },
            concurrency=16,
        )
    )
    assert confirmed.fits
    assert confirmed.violations == ()


def test_the_same_request_gives_the_same_bytes_and_python_the_same_answer(capsys: Capture) -> None:
    arguments = ("solve", "--gpu", "h100", "--gpu", "l4", "--target-context", "4k", "--seed", "7")
    first, second = (without_time(answered(capsys, *arguments)[1]) for _ in range(2))
    assert json.dumps(first) == json.dumps(second)
    found = solve(SolveRequest(gpu=["h100", "l4"], target_context="4k", seed="7"))
    assert without_time(found.model_dump(mode="json")) == first


def test_the_defaults_of_solve(capsys: Capture) -> None:
    request = answered(capsys, "solve", "--gpu", "h100")[1]["request"]
    expected = {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "max_gpus": 16,
        "target_context": 8192,
        "concurrency": 32,
        "mean_context": 8192,
        "output_tokens": 1024,
        "input_tokens": 7168,
        "min_quality": 0.98,
        "kv_cache_dtype": "any",
        "objective": ["cost", "throughput"],
        "confidence": 0.9,
    }
    assert {key: request[key] for key in expected} == expected


def test_one_output_token_has_no_time_per_further_token(capsys: Capture) -> None:
    assert (
        answered(capsys, "solve", "--gpu", "h100", "--output-tokens", "1")[1]["plan"]["performance"]["tpot_ms"] is None
    )


def test_nothing_feasible_is_1_with_an_explanation(capsys: Capture) -> None:
    arguments = ("solve", "--gpu", "l4", "--model", "meta-llama/Llama-3.1-70B-Instruct", "--max-gpus", "2")
    code, answer = answered(capsys, *arguments)
    assert (code, answer["status"], answer["plan"]) == (1, "infeasible", None)
    assert all(set(rule) >= VIOLATION for rule in answer["explanation"]["conflict"])
    changes = answer["explanation"]["relaxations"]
    assert changes
    assert all(set(change) >= {"change", "from", "to", "message"} for change in changes)
    assert {change["change"] for change in changes} <= set(SolveRequest.model_fields)


def test_no_time_is_3_and_unknown(capsys: Capture) -> None:
    code, answer = answered(capsys, "solve", "--gpu", "h100", "--time-limit", "1e-9")
    assert (code, answer["status"], answer["plan"]) == (3, "unknown", None)


# --- prices ---------------------------------------------------------------------------------------------------------


def test_every_sku_with_a_price_takes_part_and_no_other(capsys: Capture) -> None:
    catalog = Catalog()
    priced = [gpu.id for gpu in catalog.gpus if catalog.offers_of(gpu)]
    answer = answered(capsys, "solve", "--time-limit", "1e-9")[1]
    assert answer["request"]["gpu"] == priced
    assert 0 < len(priced) < len(catalog.gpus)


def test_the_default_price_is_the_cheapest_on_demand_row_that_can_be_trusted(capsys: Capture) -> None:
    rows = [
        row
        for row in Catalog().offers
        if row.gpu == "h100-sxm" and row.billing == "on-demand" and row.confidence in ("medium", "medium-high", "high")
    ]
    plan = answered(capsys, "solve", "--gpu", "h100", "--gpus", "1")[1]["plan"]
    assert plan["cost"]["usd_per_hour"] == min(row.usd_per_hour for row in rows)


def test_prices_can_be_restricted_and_overridden(capsys: Capture) -> None:
    assert answered(capsys, "solve", "--gpu", "h100", "--provider", "lambda")[1]["plan"]["cost"]["provider"] == "Lambda"
    cost = answered(capsys, "solve", "--gpu", "h100", "--price", "H100-SXM-80GB=1.5", "--gpus", "2")[1]["plan"]["cost"]
    assert cost["usd_per_hour"] == 3.0


def test_without_a_price_cost_counts_gpus_and_says_so(capsys: Capture) -> None:
    answer = answered(capsys, "solve", "--gpu", "h200-nvl")[1]
    assert answer["plan"]["cost"] is None
    assert (answer["objectives"][0]["value"], answer["objectives"][0]["unit"]) == (1.0, "GPUs")
    assert any("cost counts GPUs" in note for note in answer["notes"])


# --- words ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "unit", "words"),
    [(1, "GPUs", "1 GPU"), (2, "GPUs", "2 GPUs"), (1.0, "sequences", "1 sequence"), (1, "tokens/s", "1 tokens/s")],
)
def test_one_of_a_thing_is_not_plural(value: float, unit: str, words: str) -> None:
    assert quantity(value, unit) == words
