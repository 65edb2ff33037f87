"""`doubt`: which plans could be the best within the intervals, what that may cost, and which run would tell."""

import math
from collections.abc import Sequence
from dataclasses import replace

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.cpsat.possible_optima import possible_optima
from vllm_opt.optimizer.doubts.candidates import candidates_of
from vllm_opt.optimizer.doubts.evidence import with_evidence
from vllm_opt.optimizer.doubts.report import DoubtAnswer, Rival, SeparatingBenchmark
from vllm_opt.optimizer.doubts.separation import Separation, best_group, separations
from vllm_opt.optimizer.regret.line import LEAST_REGRET, in_words
from vllm_opt.optimizer.regret.stakes import Group, Stake, stakes_of
from vllm_opt.optimizer.regret.worst_case import least_regret, regret_of, worst_difference
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.optimizer.verification.commands import benchmark_of, end_to_end_s
from vllm_opt.optimizer.verification.promises import Promise, promise_of
from vllm_opt.optimizer.verification.report import Benchmark
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.reading.quantities import counted

ROUNDS, LEAST_SECONDS = 4, 30.0
"""A run has at least four requests per user and half a minute: the first of each user meets all others."""
BASE_URL = "http://localhost:8000"
ABOUT = (
    "intervals are those of speed at 90 %; plans on one GPU and weight format err together; memory, prices and quality "
    "are not in doubt here"
)


def doubt(request: SolveRequest, catalog: Catalog | None = None) -> DoubtAnswer:
    """Solve, and say what the answer rests on.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    shared = SharedLayouts()
    answer = solve(request, catalog, shared=shared)
    if answer.plan is None:
        return DoubtAnswer(
            status=answer.status, request=answer.request, plan=None, explanation=answer.explanation,
            message="there is no plan to doubt", notes=answer.notes,
        )  # fmt: skip
    plans = candidates_of(request, answer, catalog, shared)
    stakes = with_evidence(stakes_of(plans, answer.request), plans, answer.request, request, catalog)
    regret, rivals = regret_of(stakes[0], stakes), rivals_of(plans, stakes)
    safest = least_regret(stakes)
    benchmark = None
    if rivals and regret >= LEAST_REGRET:
        promises = {index: _one_server(plan, answer.request) for index, plan in enumerate(plans)}
        named = [0, *(index for index, plan in enumerate(plans) if any(plan is rival.plan for rival in rivals))]
        benchmark = _benchmark(plans, stakes, promises, separations(stakes), named)
    return DoubtAnswer(
        status=answer.status, request=answer.request, plan=answer.plan, rivals=rivals, regret=round(regret, 4),
        least_regret=plans[safest] if safest else None,
        regret_of_that=round(regret_of(stakes[safest], stakes), 4), benchmark=benchmark, considered=len(plans),
        message=_message(regret, rivals, benchmark), notes=(*answer.notes, ABOUT),
    )  # fmt: skip


def rivals_of(plans: Sequence[Plan], stakes: Sequence[Stake]) -> tuple[Rival, ...]:
    """The plans beside the first that could be the best, the greatest gain first."""
    possible = possible_optima(stakes)
    found = []
    for plan, stake, could in list(zip(plans, stakes, possible, strict=True))[1:]:
        gain = worst_difference(stakes[0], stake)
        if could is False or gain <= math.log1p(LEAST_REGRET):
            continue
        found.append(
            Rival(plan=plan, gain=round(math.expm1(gain), 4), regret=round(regret_of(stake, stakes), 4),
                  proof="time" if could is None else "solved")
        )  # fmt: skip
    return tuple(sorted(found, key=lambda rival: -rival.gain))


def _one_server(plan: Plan, request: dict[str, object]) -> Promise:
    """The smallest part of a plan that can be measured: one of its servers with its share of the users."""
    whole = promise_of("doubt", plan.model_dump(mode="json"), dict(request))
    users = math.ceil(whole.users / plan.replicas)
    return replace(
        whole, users=users, gpus=plan.gpu_count // plan.replicas, replicas=1, layout={**whole.layout, "replicas": 1}
    )


def _requests(promise: Promise) -> int:
    rounds = max(ROUNDS, math.ceil(LEAST_SECONDS / max(0.05, end_to_end_s(promise))))
    return min(20_000, promise.users * rounds)


def _benchmark(
    plans: Sequence[Plan],
    stakes: Sequence[Stake],
    promises: dict[int, Promise],
    found: tuple[Separation, ...],
    named: Sequence[int],
) -> SeparatingBenchmark:
    """The run of the best group on its cheapest server: of the plans that matter, where the group has one."""
    runs = {index: benchmark_of(one, BASE_URL, None, _requests(one)) for index, one in promises.items()}
    cheapest: dict[Group, int] = {}
    matter = {stakes[index].group for index in named}
    for index, stake in enumerate(stakes):
        group = stake.group
        known = cheapest.get(group)
        passed_over = group in matter and index not in named
        if not passed_over and (known is None or _effort(runs[index]) < _effort(runs[known])):
            cheapest[group] = index
    chosen = best_group(found, {group: _effort(runs[index]) for group, index in cheapest.items()})
    index = cheapest[chosen.group]
    run, plan = runs[index], plans[index]
    return SeparatingBenchmark(
        command=run.command, guidellm_command=run.guidellm_command, minutes=run.minutes, gpus=run.gpus,
        requests=run.requests, gpu=plan.gpu, quantization=plan.quantization, what=in_words(plan),
        regret_after=round(chosen.mean, 4), regret_after_at_worst=round(chosen.worst, 4),
    )  # fmt: skip


def _effort(run: Benchmark) -> float:
    """GPU-minutes."""
    return float(run.gpus * run.minutes)


def _message(regret: float, rivals: Sequence[Rival], benchmark: SeparatingBenchmark | None) -> str:
    if benchmark is None:
        return "no plan that was compared could turn out better by 1 %: no benchmark would change the answer"
    best = in_words(rivals[0].plan)
    return (
        f"{counted(len(rivals), 'other plan')} could be the best; the plan may cost {regret:.0%} more than was needed "
        f"({best}); {benchmark.minutes:g} minutes on {counted(benchmark.gpus, 'GPU')} ({benchmark.gpu}, "
        f"{benchmark.quantization}) would tell, and leave {benchmark.regret_after:.0%} on average"
    )
