"""The second opinion of a fleet: every plan counted again, and the order added up from its lines."""

from math import isclose
from typing import Any

from vllm_opt.optimizer.contract.second_opinion import Check, PlanOpinion, second_opinion_of
from vllm_opt.optimizer.procurement.answer import Assignment, FleetAnswer, FleetTotals
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_plan
from vllm_opt.profiles.catalogues.catalog import Catalog

CENT = 0.01


def with_opinion(answer: FleetAnswer, catalog: Catalog) -> FleetAnswer:
    """The answer with its second opinion, and a note for each figure that does not come out the same."""
    plans = [
        opinion_of_plan(assignment.workload, assignment.plan, _asked(answer, assignment), catalog, billed=False)
        for assignment in answer.assignments
    ]
    if answer.totals is not None:
        plans.append(_order(answer, answer.totals))
    opinion = second_opinion_of(tuple(plans))
    notes = tuple(f"the second opinion disagrees: {text}" for text in opinion.disagreements)
    return answer.model_copy(update={"second_opinion": opinion, "notes": (*notes, *answer.notes)})


def _asked(answer: FleetAnswer, assignment: Assignment) -> dict[str, Any]:
    """What was asked of one plan: the workload's lengths, and limits where it does not share replicas."""
    plan, asked = assignment.plan, answer.request
    rows: list[dict[str, Any]] = asked["workloads"]
    workload = next((row for row in rows if row["name"] == assignment.workload), {})
    single = not workload.get("lengths")
    return {
        "target_context": plan.flags["max-model-len"], "concurrency": "max", "gpu": [plan.gpu],
        "kv_sizing": "typical" if single and workload.get("output_tokens") else "full",
        "max_gpus": plan.gpu_count, "max_gpu_memory_utilization": 1.0, "confidence": asked["confidence"],
        "input_tokens": workload.get("input_tokens") if single else None,
        "output_tokens": workload.get("output_tokens") if single else None,
        "prefix_hit_share": workload.get("prefix_hit_share"),
        "offload_hit_share": workload.get("offload_hit_share"),
        "max_ttft_ms": workload.get("max_ttft_ms"), "max_tpot_ms": workload.get("max_tpot_ms"),
    }  # fmt: skip


def _order(answer: FleetAnswer, totals: FleetTotals) -> PlanOpinion:
    """Nodes, GPUs, money and watts added up line by line; GPUs enough; every workload served as it says."""
    checks = [
        _equal("totals.nodes", totals.nodes, sum(order.nodes for order in answer.nodes)),
        _equal("totals.gpus", totals.gpus, sum(order.gpus for order in answer.nodes)),
        _equal("totals.usd_per_hour", totals.usd_per_hour, sum(order.usd_per_hour for order in answer.nodes)),
        _equal("totals.capex_usd", totals.capex_usd, sum(order.capex_usd for order in answer.nodes)),
        _equal("totals.watts", totals.watts, sum(order.watts for order in answer.nodes)),
    ]
    for gpu in {assignment.gpu for assignment in answer.assignments}:
        used = sum(assignment.gpus * assignment.gpu_part for assignment in answer.assignments if assignment.gpu == gpu)
        bought = sum(order.gpus for order in answer.nodes if order.gpu == gpu)
        fits = used <= bought + 1e-9
        checks.append(Check(name=f"{gpu} bought for those used", shown=bought, recomputed=used, agrees=fits))
    for served in answer.workloads:
        load = sum(row.load for row in answer.assignments if row.workload == served.workload)
        if any(row.workload == served.workload for row in answer.assignments):
            enough = load >= served.peak * served.served * (1 - 1e-6) - 1e-6
            checks.append(
                Check(
                    name=f"load of {served.workload}", shown=served.peak * served.served, recomputed=load, agrees=enough
                )
            )
    for row in answer.assignments:
        fits = row.load <= row.capacity * (1 + 1e-6) + 1e-6
        checks.append(Check(name=f"capacity for {row.workload}", shown=row.capacity, recomputed=row.load, agrees=fits))
    return PlanOpinion(plan="the order", agrees=all(check.agrees for check in checks), checks=tuple(checks))


def _equal(name: str, shown: float, again: float) -> Check:
    alike = isclose(shown, again, rel_tol=1e-6, abs_tol=CENT)
    return Check(name=name, shown=shown, recomputed=again, agrees=alike)
