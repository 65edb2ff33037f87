"""One line for every answer: by how much another listed plan could turn out better."""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_opt.optimizer.contract.answer import Doubt, Plan
from vllm_opt.optimizer.regret.stakes import stakes_of
from vllm_opt.optimizer.regret.worst_case import regret_of, worst_difference

LEAST_REGRET = 0.01
BETTER = {
    "cost": "cheaper for what is asked", "gpus": "smaller for what is asked", "throughput": "faster",
    "efficiency": "cheaper per token", "latency": "quicker", "concurrency": "larger",
}  # fmt: skip


def doubt_of(plan: Plan, others: Sequence[Plan], request: Mapping[str, Any]) -> Doubt | None:
    """The regret of a plan against the other plans of its answer; None where there are none."""
    if not others:
        return None
    mine, *rest = stakes_of((plan, *others), request)
    regret = regret_of(mine, rest)
    if regret < LEAST_REGRET:
        message = "no other plan listed could turn out better by 1 % within the intervals of the predictions"
        return Doubt(regret=round(regret, 4), rival=None, message=message)
    differences = [worst_difference(mine, other) for other in rest]
    rival = in_words(others[differences.index(max(differences))])
    objective = str((request.get("objective") or ["cost"])[0])
    share = 1.0 - 1.0 / (1.0 + regret)
    message = (
        f"within the intervals of the predictions {rival} could turn out {share:.0%} {BETTER[objective]}; "
        "`vllm-opt doubt` names the benchmark that would tell"
    )
    return Doubt(regret=round(regret, 4), rival=rival, message=message)


def in_words(plan: Plan) -> str:
    """A plan in a few words."""
    sizes = [f"TP {plan.tensor_parallel_size}"]
    sizes += [f"PP {plan.pipeline_parallel_size}"] if plan.pipeline_parallel_size > 1 else []
    sizes += [f"{plan.replicas} servers"] if plan.replicas > 1 else []
    return f"{plan.gpu_count} x {plan.gpu} ({plan.quantization}, {', '.join(sizes)})"
