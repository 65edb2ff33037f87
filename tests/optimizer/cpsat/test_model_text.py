"""The model as a file: it can be parsed and solved again, names every rule, and its numbers are those of the layout."""

import math
import re
from collections import Counter
from typing import Any

import pytest
from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.cpsat.model import build_model
from vllm_opt.optimizer.cpsat.model_text import model_text
from vllm_opt.optimizer.search.modes import mode_of
from vllm_opt.optimizer.search.search import Search
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

CONFIDENCE = 0.9
ROW = re.compile(
    r"^#   \[(?P<section>[^:\]]+)(?:: (?P<says>.*?))?\] (?:if (?P<when>\[.*?\]) \((?P<words>[^)]*)\): )?(?P<sum>.*)$"
)


def dumped(**fields: Any) -> tuple[Answer, str]:
    """An answer and the text of its model."""
    texts: list[str] = []
    answer = solve(SolveRequest(**fields), on_model=texts.append)
    assert len(texts) == 1
    return answer, texts[0]


def modes_of(**fields: Any) -> tuple[list[Mode], Any]:
    """The modes that the search leaves for a request, and what is asked."""
    setting = resolve_solve(SolveRequest(**fields), Catalog())
    candidates = Search(setting).run().candidates
    return [mode_of(setting, candidate, index) for index, candidate in enumerate(candidates)], setting


def table_of(space: DecisionSpace) -> list[re.Match[str]]:
    """The rows of the table of a model that was not solved."""
    lines = model_text(space, (), "a model").splitlines()
    return [match for line in lines if (match := ROW.match(line))]


@pytest.mark.parametrize(
    "fields",
    [
        {"gpu": "h100-sxm"},
        {"gpu": ("l4", "l40s"), "model": "Qwen/Qwen3-8B", "objective": ("throughput", "cost"), "max_gpus": 4},
        {"gpu": "h100-sxm", "model": "google/gemma-3-27b-it", "objective": ("concurrency",), "gpus": 2},
        {"gpu": "a100-sxm4-80gb", "vllm_version": "0.6.6", "objective": ("latency",), "max_gpus": 2},
        {"gpu": "h100-sxm", "tolerance": 0, "objective": ("efficiency", "gpus"), "max_ttft_ms": 4000},
    ],
    ids=str,
)
def test_the_text_is_the_model_that_was_solved(fields: dict[str, Any]) -> None:
    answer, text = dumped(**fields)
    assert answer.status == "optimal"
    assert answer.plan is not None
    read = cp_model.CpModel()
    assert read.proto.parse_text_format(text)
    solver = cp_model.CpSolver()
    solver.parameters.cp_model_presolve = False
    solver.parameters.num_workers = 1
    assert solver.solve(read) == cp_model.OPTIMAL
    last = re.findall(r"^#   \d+\. (\w+) \(.*\): best (-?\d+), proven$", text, flags=re.MULTILINE)
    assert [name for name, _ in last] == ["tie"]
    assert solver.objective_value == int(last[0][1])
    values = {
        variable.name: solver.value(read.get_int_var_from_proto_index(index))
        for index, variable in enumerate(read.proto.variables)
    }
    flags = answer.plan.flags
    assert values["max_num_seqs"] == flags["max-num-seqs"]
    assert values["max_num_batched_tokens"] == flags["max-num-batched-tokens"]
    assert values["max_model_len"] == flags["max-model-len"]
    assert values["gpu_count"] == answer.plan.gpu_count
    assert values[f"gpu_memory_utilization {flags['gpu-memory-utilization']}"] == 1
    (chosen,) = [name for name, value in values.items() if value and re.match(r"mode \d+: ", name)]
    assert f" x {answer.plan.gpu}, TP {answer.plan.tensor_parallel_size}" in chosen
    assert f"{answer.plan.quantization} weights" in chosen


def test_the_turns_stand_in_their_order_with_what_later_ones_may_concede() -> None:
    answer, text = dumped(gpu="h100-sxm")
    turns = re.findall(
        r"^#   (\d)\. (\w+) \(.*?\): best (-?\d+), proven(?:; kept <= (-?\d+))?$", text, flags=re.MULTILINE
    )
    assert [name for _, name, _, _ in turns] == ["cost", "publisher", "throughput", "ttft", "tie"]
    cost = answer.objectives[0]
    assert int(turns[0][2]) == round(cost.bound * 1e6)
    assert int(turns[0][3]) == int(int(turns[0][2]) * 1.05)
    assert f"cost <= {turns[0][3]}" in text


def test_asking_for_the_model_changes_no_answer() -> None:
    fields = {"gpu": "l40s", "model": "Qwen/Qwen3-8B", "max_gpus": 4}
    plain, beside = solve(SolveRequest(**fields)), dumped(**fields)[0]
    without_time = {"solver": {"wall_ms"}}
    assert plain.model_dump(exclude=without_time) == beside.model_dump(exclude=without_time)


def test_every_row_of_every_rule_stands_in_the_table() -> None:
    modes, setting = modes_of(gpu="l40s", model="Qwen/Qwen3-8B", max_gpus=4)
    hard = {
        "max_ttft_ms": 0.001, "max_tpot_ms": 0.001, "min_output_tokens_per_s": 1e12, "max_hourly_cost": 0.000001,
    }  # fmt: skip
    targets = setting.targets.model_copy(update=hard)
    space = build_model(modes, targets, (0.8, 0.9), setting.model.max_model_len)
    listed = Counter(row["section"] for row in table_of(space))
    written = {}
    for rule in RULES:
        before = len(space.model.proto.constraints)
        rule.add(space)
        written[rule.name] = len(space.model.proto.constraints) - before
    assert {name: listed[name] for name in written} == written
    assert {name for name, count in written.items() if count} >= {
        "context_length", "memory_budget", "startup_headroom", "batching", "concurrency", "ttft", "tpot", "throughput",
        "gpu_count", "budget",
    }  # fmt: skip
    assert listed["ttft"] == listed["tpot"] == sum(len(mode.points) for mode in modes)
    assert all(f"{rule.name}: " in model_text(space, (), "again") for rule in RULES)


def test_the_numbers_of_one_layout_by_hand() -> None:
    """Llama-3.1-8B in bf16 on one H100: 32 layers, 8 KV heads of 128, blocks of 16 tokens, 32 users of 8,192 tokens."""
    modes, setting = modes_of(gpu="h100-sxm", quantization="bf16", kv_cache_dtype="auto", max_gpus=1)
    space = build_model(modes, setting.targets, (0.9,), setting.model.max_model_len)
    rows = [row for row in table_of(space) if (row["words"] or "").endswith("CUDA graphs, max_num_batched_tokens 8192")]
    assert rows[0]["words"] == (
        "1 server of 1 x h100-sxm, TP 1, bf16 weights, KV cache auto, CUDA graphs, max_num_batched_tokens 8192"
    )
    said = {(row["section"], row["says"]): row["sum"] for row in rows}
    each = 32 + 4  # a tenth of the users in reserve, rounded up
    assert said["concurrency", "sequences to admit"] == f"max_num_seqs >= {each}"
    blocks = 8192 // 16  # of a sequence; one more block is vLLM's own
    assert said["concurrency", "blocks of the sequences admitted"] == f"-{blocks} max_num_seqs + num_gpu_blocks >= 1"
    assert said["choices", "sizes of the point"] == f"max_num_seqs in {each}..{each + 3}"  # 2 x 40 captures one more
    assert said["memory_budget", "one request of full length starts"] == f"num_gpu_blocks >= {8192 // 16 + 1}"
    block = 2 * 32 * 8 * 128 * 2 * 16
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336 + 2 * 4096
    weights = 2 * (32 * layer + 2 * 128256 * 4096 + 4096)
    mode = next(mode for mode in modes if mode.max_num_batched_tokens == 8192 and not mode.terms.layout.enforce_eager)
    fixed = weights + mode.terms.non_torch.at(CONFIDENCE) + sum(mode.terms.weights_extra)
    forward = mode.terms.activation.linear_at(CONFIDENCE, 8192)[0][0]
    graphs = mode.terms.graph_bytes(8192, each, CONFIDENCE)
    total = 84_932_978_278
    assert said["memory_budget", f"stage 0: {fixed} fixed + {forward} forward"] == (
        f"{graphs} [mode {mode.index}, max_num_seqs {each} to {each + 3}] - [budget_bytes of {total}] "
        f"+ {block} num_gpu_blocks <= {-(fixed + forward)}"
    )
    (budget,) = [row["sum"] for row in table_of(space) if row["section"] == "budgets"]
    assert budget == f"if [gpu_memory_utilization 0.9]: [budget_bytes of {total}] = {math.ceil(total * 0.9)}"


def test_nothing_to_decide_leaves_no_model() -> None:
    texts: list[str] = []
    request = SolveRequest(model="meta-llama/Meta-Llama-3.1-405B", gpu="l4", max_gpus=1, explain=False)
    assert solve(request, on_model=texts.append).status == "infeasible"
    assert solve(SolveRequest(gpu="h100-sxm", time_limit=1e-6), on_model=texts.append).status == "unknown"
    assert texts == []
