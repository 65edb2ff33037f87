"""`opinion_of_answer`: every plan of an answer counted again, and what the request asked laid against it."""

from collections.abc import Iterator
from dataclasses import fields
from math import floor
from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, ObjectiveValue, Plan
from vllm_opt.optimizer.contract.second_opinion import Check, PlanOpinion, SecondOpinion, second_opinion_of
from vllm_opt.optimizer.second_opinion.memory import at_most, memory_checks, parts_of, same
from vllm_opt.optimizer.second_opinion.money import MICRO, cheapest
from vllm_opt.optimizer.second_opinion.speed import TOLERANCE, Loop, Speed, loop_of, solved_by, speed_at, sure
from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject, subject_of
from vllm_opt.profiles.catalogues.catalog import Catalog

HUNDREDTH_OF_A_CENT = 1e-4


def with_opinion(answer: Answer, catalog: Catalog) -> Answer:
    """The answer with its second opinion, and a note for each figure that does not come out the same."""
    opinion = opinion_of_answer(answer, catalog)
    notes = tuple(f"the second opinion disagrees: {text}" for text in opinion.disagreements)
    return answer.model_copy(update={"second_opinion": opinion, "notes": (*notes, *answer.notes)})


def opinion_of_answer(answer: Answer, catalog: Catalog) -> SecondOpinion:
    """Count the plan of an answer again, with its alternatives, and judge its objectives."""
    if answer.plan is None:
        return SecondOpinion(agrees=True)
    first = opinion_of_plan("plan", answer.plan, answer.request, catalog)
    objectives = tuple(objective_checks(answer))
    chosen = first.model_copy(
        update={
            "checks": (*first.checks, *objectives),
            "agrees": first.agrees and all(check.agrees for check in objectives),
        }
    )
    others = [
        *((f"alternative {at}", plan) for at, plan in enumerate(answer.alternatives, 1)),
        *((f"close call {call.why}", call.plan) for call in answer.close_calls),
        *((f"front {at}", plan) for at, plan in enumerate(answer.pareto, 1)),
    ]
    return second_opinion_of((chosen, *(opinion_of_plan(name, plan, answer.request, catalog) for name, plan in others)))


def opinion_of_plan(
    name: str, plan: Plan, request: dict[str, Any], catalog: Catalog, *, billed: bool = True
) -> PlanOpinion:
    """Count one plan again: memory, speed at the load asked, cost, and every limit of the request.

    `request` is the resolved one of an answer. Without `billed` the plan's own cost is not looked at: what several
    plans share is bought for all of them.
    """
    try:
        subject = subject_of(plan, request, catalog)
    except OutOfReach as reason:
        return PlanOpinion(plan=name, agrees=True, checks=(), not_judged=(str(reason),))
    parts = parts_of(subject)
    checks = [*memory_checks(subject, parts), *_flag_checks(subject)]
    checks += _bill(subject, catalog) if billed else ()
    missing = list(parts.not_judged)
    if request.get("input_tokens") is None:
        missing.append("speed at lengths that are not single numbers")
    else:
        try:
            checks += _speed_checks(subject)
        except OutOfReach as reason:
            missing.append(str(reason))
    return PlanOpinion(
        plan=name, agrees=all(check.agrees for check in checks), checks=tuple(checks), not_judged=tuple(missing)
    )


def _flag_checks(subject: Subject) -> Iterator[Check]:
    """What must hold between the flags, and what the request pins."""
    plan, request = subject.plan, subject.request
    sequences, width = subject.number("max-num-seqs"), subject.number("max-num-batched-tokens")
    yield at_most("sequences of a step", sequences, width)
    if not subject.chunked:
        yield at_most("a prompt computed whole", subject.number("max-model-len"), width)
    users = request["concurrency"]
    if users not in ("max", None):
        yield at_most("sequences asked", int(users), sequences * subject.engines)
    yield at_most("the model's context", subject.number("max-model-len"), subject.model.max_model_len)
    yield at_most("GPUs allowed", plan.gpu_count, int(request["max_gpus"]))
    yield at_most("gpu_memory_utilization", subject.utilization, float(request["max_gpu_memory_utilization"]))
    if request.get("gpus") is not None:
        yield same("GPUs asked", plan.gpu_count, int(request["gpus"]))
    for field in ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas"):
        if request.get(field) is not None:
            yield same(field, getattr(plan, field), int(request[field]))
    for field in ("max_num_seqs", "max_num_batched_tokens"):
        if request.get(field) is not None:
            yield same(field, subject.number(field.replace("_", "-")), int(request[field]))
    named = plan.gpu in request["gpu"]
    yield Check(name="a GPU that may be used", shown=1, recomputed=int(named), agrees=named, detail=plan.gpu)
    heads = {
        mixer.num_attention_heads
        for layer in subject.model.layers
        if (mixer := layer.mixer) is not None and hasattr(mixer, "num_attention_heads")
    }
    rest = max((count % subject.ranks for count in heads), default=0)
    yield same("attention heads beyond whole ranks", 0, rest)


def _bill(subject: Subject, catalog: Catalog) -> Iterator[Check]:
    """The least that the servers cost, what that makes of a million tokens, and the budget."""
    plan, least = subject.plan, cheapest(subject, catalog)
    if plan.cost is None or least is None:
        known = plan.cost is None and least is None
        yield Check(name="usd_per_hour", shown=None, recomputed=None, agrees=known, detail="no price is known")
        return
    yield same("usd_per_hour", plan.cost.usd_per_hour, least / MICRO, 1e-9 * least / MICRO)
    yield same("GPUs of the bill", plan.cost.gpus_used, plan.gpu_count)
    yield at_most("GPUs used of those bought", plan.cost.gpus_used, plan.cost.gpus_bought)
    rate, million = plan.performance.output_tokens_per_s, plan.cost.usd_per_million_output_tokens
    if million is not None:
        again = least / MICRO / (rate * 3600) * 1e6
        yield same("usd_per_million_output_tokens", million, again, 1e-9 * again + 1e-12)
    limit = subject.request.get("max_hourly_cost")
    if limit is not None:
        yield at_most("cost per hour", least / MICRO, float(limit) + HUNDREDTH_OF_A_CENT / 2)


def _speed_checks(subject: Subject) -> list[Check]:
    """Speed at the load asked and at full load, and the limits on it at the confidence asked."""
    plan, request, loop = subject.plan, subject.request, loop_of(subject)
    checks: list[Check] = []
    most = subject.number("max-num-seqs") * subject.engines
    for users, shown, word in (
        (plan.performance.load.users, plan.performance, ""), (most, plan.performance_full, " at full load"),
    ):  # fmt: skip
        stated = Speed(shown.ttft_ms, shown.tpot_ms, shown.output_tokens_per_s)
        again = _agreed(subject, loop, users, stated)
        for name in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
            one, other = getattr(stated, name), getattr(again, name)
            if one is None or other is None:
                alike = one is None and other is None
                checks.append(Check(name=name + word, shown=one, recomputed=other, agrees=alike))
            else:
                checks.append(same(name + word, one, other, TOLERANCE * max(one, other)))
    users = request["concurrency"]
    if users is not None:
        checks.append(same("users", plan.performance.load.users, most if users == "max" else int(users)))
    stated = Speed(plan.performance.ttft_ms, plan.performance.tpot_ms, plan.performance.output_tokens_per_s)
    bound = sure(loop, stated, float(request.get("confidence", 0.9)))
    at_percentile = {"max_ttft_ms": "ttft_percentile", "max_tpot_ms": "tpot_percentile"}
    for field, value in (("max_ttft_ms", bound.ttft_ms), ("max_tpot_ms", bound.tpot_ms)):
        mean = request.get(at_percentile[field]) is None
        if request.get(field) is not None and value is not None and mean:
            checks.append(at_most(field, value, float(request[field])))
    least = request.get("min_output_tokens_per_s")
    if least is not None:
        checks.append(at_most("min_output_tokens_per_s", float(least), bound.output_tokens_per_s))
    return checks


def _agreed(subject: Subject, loop: Loop, users: int, stated: Speed) -> Speed:
    """The speed counted again; where several solve the load, the one that is stated if it is one of them."""
    again = speed_at(subject, loop, users)
    pairs = [(getattr(stated, field.name), getattr(again, field.name)) for field in fields(Speed)]
    if any((one is None) != (other is None) for one, other in pairs):
        return again
    apart = any(one is not None and abs(one - other) > TOLERANCE * max(one, other) for one, other in pairs)
    return stated if apart and solved_by(subject, loop, users, stated) else again


def objective_checks(answer: Answer) -> Iterator[Check]:
    """Every objective's value is the plan's, and no listed plan is better than its proven bound."""
    if answer.plan is None:
        return
    for position, objective in enumerate(answer.objectives):
        again = figure(objective.name, objective.unit, answer.plan)
        if again is None:
            continue
        yield same(f"objective {objective.name}", objective.value, again, _rounding(objective, answer.plan))
        if position == 0 and answer.status == "optimal":
            yield from _none_better(answer, objective)


def _none_better(answer: Answer, objective: ObjectiveValue) -> Iterator[Check]:
    for plan in (*answer.alternatives, *(call.plan for call in answer.close_calls), *answer.pareto):
        other = figure(objective.name, objective.unit, plan)
        if other is None:
            continue
        smaller = objective.name in ("cost", "gpus", "latency")
        slack = _rounding(objective, plan)
        beyond = objective.bound - other if smaller else other - objective.bound
        yield Check(
            name=f"no listed plan beats the bound of {objective.name}", shown=objective.bound, recomputed=other,
            agrees=beyond <= slack, detail=f"{plan.replicas} x {plan.gpu}",
        )  # fmt: skip


def _rounding(objective: ObjectiveValue, plan: Plan) -> float:
    """What whole units take: thousandths of a token per second and engine, microseconds, millionths of a dollar.

    Efficiency is rounded twice: the tokens per second of every engine, and thousandths of a token per dollar.
    """
    engines = plan.replicas * plan.data_parallel_size
    if objective.name != "efficiency" or plan.cost is None or not plan.cost.usd_per_hour:
        return 0.001 * engines + 1e-6
    return 0.001 * engines * 3600 / plan.cost.usd_per_hour + 0.001 + 1e-6 * abs(objective.value)


def figure(name: str, unit: str, plan: Plan) -> float | None:
    """One objective of a plan in its unit; None where the plan's kind is compared in another."""
    users = int(plan.flags["max-num-seqs"])
    engines = plan.replicas * plan.data_parallel_size
    priced = plan.cost is not None
    if name == "cost":
        if unit == "GPUs":
            return None if priced else float(plan.gpu_count)
        return plan.cost.usd_per_hour if plan.cost is not None else None
    if name == "efficiency":
        if unit != "tokens/USD" or plan.cost is None or not plan.cost.usd_per_hour:
            return None
        return plan.performance.output_tokens_per_s * 3600 / plan.cost.usd_per_hour
    plain = {
        "throughput": plan.performance.output_tokens_per_s,
        "gpus": float(plan.gpu_count),
        "latency": plan.performance.e2e_ms,
        "concurrency": float(min(users, floor(plan.memory.running_concurrency)) * engines),
    }
    return plain[name]
