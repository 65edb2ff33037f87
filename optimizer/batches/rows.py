"""What the index says about one cell."""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.batches.cells import Cell
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.profiles.noun import Noun

CellStatus = Literal["optimal", "feasible", "infeasible", "unsupported", "unknown", "failed"]
STATUS_WORDS = {
    "optimal": "recommended, proven optimal",
    "feasible": "recommended, not proven within the time limit",
    "infeasible": "nothing fits",
    "unsupported": "the model cannot be sized yet",
    "unknown": "no answer within the time limit",
    "failed": "failed",
}


class IndexRow(Noun):
    """One cell of index.json. Speed is at `users` closed-loop users; None where there is no plan."""

    model: str
    workload: str
    gpu: str
    objective: str
    vllm_version: str
    status: CellStatus
    reason: str | None = Field(None, description="why there is no plan")
    file: str | None = Field(None, description="the YAML, relative to the index")
    cell: str = Field(description="path that the YAML has or would have: the identity of the cell between runs")
    checkpoint: str | None = None
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    gpu_count: int | None = None
    replicas: int | None = None
    tensor_parallel_size: int | None = None
    pipeline_parallel_size: int | None = None
    data_parallel_size: int | None = None
    expert_parallel: bool | None = None
    flags: dict[str, str | int | float | bool] = Field(default_factory=dict)
    users: int | None = None
    ttft_ms: float | None = None
    ttft_ms_interval: tuple[float, float] | None = None
    tpot_ms: float | None = None
    tpot_ms_interval: tuple[float, float] | None = None
    output_tokens_per_s: float | None = None
    output_tokens_per_s_interval: tuple[float, float] | None = None
    basis: str | None = None
    max_concurrency: float | None = None
    usd_per_hour: float | None = None
    usd_per_million_output_tokens: float | None = None
    usd_per_gpu_hour: float | None = Field(None, description="usd_per_hour by GPUs bought, used or not")
    gpus_bought: int | None = None
    price_date: str | None = None
    price_source: str | None = None
    notes: tuple[str, ...] = ()
    key: str = Field(description="hash of everything the answer depends on")
    inputs: dict[str, str] = Field(description="cause -> hash of that part of the inputs")


class Result(Noun):
    """One answered cell: its row, and its plan where there is one."""

    row: IndexRow
    plan: Plan | None = None


def result_of(cell: Cell, record: dict[str, Any]) -> Result:
    """Join a cell with what its worker answered."""
    plan = Plan.model_validate(record["plan"]) if record.get("plan") else None
    notes = tuple(dict.fromkeys((*cell.notes, *record.get("notes", ()), *(plan.notes if plan else ()))))
    about = {
        "model": cell.model,
        "workload": cell.workload.id,
        "gpu": cell.gpu,
        "objective": "+".join(cell.objective),
        "vllm_version": cell.vllm_version,
        "status": record["status"],
        "reason": record.get("reason"),
        "cell": cell.path,
        "notes": notes,
        "key": cell.key,
        "inputs": cell.inputs,
    }
    return Result(row=IndexRow(**about, **(_of_plan(plan, cell.path) if plan else {})), plan=plan)


def _of_plan(plan: Plan, path: str) -> dict[str, Any]:
    speed, cost = plan.performance, plan.cost
    return {
        "file": path,
        "checkpoint": plan.checkpoint,
        "quantization": plan.quantization,
        "kv_cache_dtype": plan.kv_cache_dtype,
        "gpu_count": plan.gpu_count,
        "replicas": plan.replicas,
        "tensor_parallel_size": plan.tensor_parallel_size,
        "pipeline_parallel_size": plan.pipeline_parallel_size,
        "data_parallel_size": plan.data_parallel_size,
        "expert_parallel": plan.expert_parallel,
        "flags": plan.flags,
        "users": speed.concurrency,
        "ttft_ms": speed.ttft_ms,
        "ttft_ms_interval": speed.interval.get("ttft_ms"),
        "tpot_ms": speed.tpot_ms,
        "tpot_ms_interval": speed.interval.get("tpot_ms"),
        "output_tokens_per_s": speed.output_tokens_per_s,
        "output_tokens_per_s_interval": speed.interval.get("output_tokens_per_s"),
        "basis": speed.basis,
        "max_concurrency": plan.memory.max_concurrency,
        "usd_per_hour": cost.usd_per_hour if cost else None,
        "usd_per_million_output_tokens": cost.usd_per_million_output_tokens if cost else None,
        "usd_per_gpu_hour": cost.usd_per_hour / cost.gpus_bought if cost else None,
        "gpus_bought": cost.gpus_bought if cost else None,
        "price_date": cost.price_date if cost else None,
        "price_source": cost.price_source if cost else None,
    }
