"""`solve`: bounds first, then one CP-SAT model over what is left, each objective proven in turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vllm_opt.optimizer.contract.answer import Answer, Explanation, ObjectiveValue, Plan, SolverReport
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.cpsat.hints import KnownPoint
from vllm_opt.optimizer.cpsat.proof import ProvenPoint, solve_lexicographically
from vllm_opt.optimizer.planning.plan import Choice, make_plan
from vllm_opt.optimizer.search.modes import mode_of
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.search.search import Search, SearchResult
from vllm_opt.optimizer.solver.selection import best_choice, contenders
from vllm_opt.optimizer.space.objective import OBJECTIVES
from vllm_opt.optimizer.space.points import Candidate, Unit
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog

if TYPE_CHECKING:
    from vllm_opt.optimizer.solver.pareto import Front


def solve(request: SolveRequest, catalog: Catalog | None = None, *, shared: SharedLayouts | None = None) -> Answer:
    """Return the best deployment with its proof, or why there is none.

    `shared` keeps parts of layouts for further requests about the same model and release.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    started = time.monotonic()
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    setting = resolve_solve(request, catalog)
    search = Search(setting, shared=shared)
    result = search.run()
    if not result.candidates:
        return _without_plan(setting, result, started)
    scores = search.scores
    kept = contenders(setting, result.candidates, scores)
    modes = [mode_of(setting, candidate, index) for index, candidate in enumerate(kept)]
    remaining = request.time_limit - (time.monotonic() - started)
    known = known_point(setting, kept, scores)
    proven = solve_lexicographically(modes, setting, search.physics.utilizations, known, time_limit=remaining)
    chosen = kept[proven.mode_index]
    choice = Choice(chosen.unit, chosen.max_num_batched_tokens, proven.max_num_seqs, proven.gpu_memory_utilization)
    plan = make_plan(setting, choice)
    return _answer(
        setting,
        result,
        started,
        status="optimal" if result.complete and proven.optimal else "feasible",
        objectives=_objectives(setting, result, proven),
        plan=plan,
        alternatives=() if request.pareto else _alternatives(setting, result, scores, choice),
        front=_front(search) if request.pareto else None,
        layouts_solved=len(modes),
    )


def known_point(setting: SolveSetting, kept: list[Candidate], scores: Scores) -> KnownPoint:
    """The best point by the exact tables: where CP-SAT starts, and what it must confirm."""
    best = best_choice(setting, kept, scores)
    return KnownPoint(
        mode_index=next(index for index, candidate in enumerate(kept) if candidate is best.candidate),
        max_num_seqs=best.choice.max_num_seqs,
        gpu_memory_utilization=best.choice.gpu_memory_utilization,
        objectives=tuple(int(value) for value in best.key[: len(setting.request.objective)]),
        bounds=tuple(
            min(int(scores.of(candidate, name).min()) for candidate in kept) for name in setting.request.objective
        ),
    )


def _objectives(setting: SolveSetting, result: SearchResult, proven: ProvenPoint) -> tuple[ObjectiveValue, ...]:
    """Values and proven bounds. A search that ran out of time lowers each bound to what it left open."""
    found = []
    for position, (name, value, bound) in enumerate(proven.objectives):
        objective = OBJECTIVES[name]
        if not result.complete:
            bound = min(bound, result.open_bounds[position])  # noqa: PLW2901
        gap = abs(value - bound) / max(1, abs(value))
        found.append(
            ObjectiveValue(
                name=name,
                value=objective.shown(value),
                bound=objective.shown(bound),
                gap=gap,
                unit=_unit(setting, objective.unit),
            )
        )
    return tuple(found)


def _unit(setting: SolveSetting, unit: str) -> str:
    return unit if setting.priced else unit.replace("USD/hour", "GPUs").replace("USD", "GPU-hour")


def _alternatives(setting: SolveSetting, result: SearchResult, scores: Scores, main: Choice) -> tuple[Plan, ...]:
    """The best plan on each other SKU, or the N best layouts when `top` asks for them."""
    top, used = setting.request.top, main.unit
    groups: dict[object, list[Candidate]] = {}
    for candidate in result.candidates:
        unit = candidate.unit
        if top is None and unit.facts.sku.gpu.id != used.facts.sku.gpu.id:
            groups.setdefault(unit.facts.sku.gpu.id, []).append(candidate)
        elif top is not None and (key := _shown_as(unit)) != _shown_as(used):
            groups.setdefault(key, []).append(candidate)
    scored = sorted((best_choice(setting, members, scores) for members in groups.values()), key=lambda item: item.key)
    return tuple(make_plan(setting, item.choice) for item in scored[:top])


def _shown_as(unit: Unit) -> tuple[object, ...]:
    """What counts as one layout in a list of the best: with CUDA graphs or without, it is the same one."""
    return unit.facts.layout.model_copy(update={"enforce_eager": False}), unit.replicas


def _front(search: Search) -> Front:
    from vllm_opt.optimizer.solver.pareto import pareto_front

    return pareto_front(search)


def _front_notes(front: Front | None) -> tuple[str, ...]:
    """What the reader of a front must know: how many points it has, and whether all were visited."""
    if front is None:
        return ()
    notes = list(front.notes) or [f"the front has {front.total} points"]
    if not front.complete:
        notes.append("the time limit came before every server was visited: raise --time-limit for the whole front")
    return tuple(notes)


def _without_plan(setting: SolveSetting, result: SearchResult, started: float) -> Answer:
    """No point was found: infeasible when every layout was visited, unknown when time ran out."""
    if not result.complete:
        return _answer(setting, result, started, status="unknown")
    if setting.request.explain:
        from vllm_opt.optimizer.explanation.explain import explain_infeasible

        explanation = explain_infeasible(setting)
    else:
        from vllm_opt.optimizer.explanation.brief import explain_briefly

        explanation = explain_briefly(setting, result)
    return _answer(setting, result, started, status="infeasible", explanation=explanation)


def _answer(
    setting: SolveSetting,
    result: SearchResult,
    started: float,
    *,
    status: str,
    objectives: tuple[ObjectiveValue, ...] = (),
    plan: Plan | None = None,
    alternatives: tuple[Plan, ...] = (),
    explanation: Explanation | None = None,
    layouts_solved: int = 0,
    front: Front | None = None,
) -> Answer:
    request = setting.request
    resolved = request.model_dump(mode="json", exclude_none=True)
    resolved.update(
        model=setting.model.id,
        gpu=[item.gpu.id for item in setting.gpus],
        max_gpus=setting.targets.max_gpus,
        mean_context=setting.targets.mean_context,
        input_tokens=setting.lengths[0],
        output_tokens=setting.lengths[1],
        vllm_version=setting.engine.version,
        engine=setting.engine.engine,
    )
    return Answer(
        status=status,
        request=resolved,
        objectives=objectives,
        plan=plan,
        alternatives=alternatives,
        pareto=tuple(make_plan(setting, choice) for choice in front.choices) if front else (),
        explanation=explanation,
        notes=(*setting.notes, *_front_notes(front)),
        solver=SolverReport(
            wall_ms=(time.monotonic() - started) * 1000,
            layouts_considered=result.layouts_considered,
            layouts_solved=layouts_solved,
            workers=request.workers,
            seed=request.seed,
        ),
    )
