"""`solve`: bounds first, then one CP-SAT model over what is left, each objective proven in turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from vllm_opt.optimizer.contract.answer import Answer, CloseCall, Explanation, ObjectiveValue, Plan, SolverReport
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.cpsat.hints import KnownPoint
from vllm_opt.optimizer.cpsat.proof import ProvenPoint, solve_in_order
from vllm_opt.optimizer.planning.predicted import Choice, draft_gain
from vllm_opt.optimizer.questions.questions import TimeIsUp
from vllm_opt.optimizer.regret.line import doubt_of
from vllm_opt.optimizer.search.modes import mode_of, ranked
from vllm_opt.optimizer.search.order import Order
from vllm_opt.optimizer.search.scores import Scores
from vllm_opt.optimizer.search.search import Search, SearchResult
from vllm_opt.optimizer.solver.accepted import accepted_plan, accepted_plans, best_accepted
from vllm_opt.optimizer.solver.alternatives import alternatives
from vllm_opt.optimizer.solver.bending import Users, bent_settings
from vllm_opt.optimizer.solver.close_calls import close_calls
from vllm_opt.optimizer.solver.selection import best_choice, contenders
from vllm_opt.optimizer.solver.shown_objectives import shown_objectives, with_values
from vllm_opt.optimizer.solver.uncollected import uncollected
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from vllm_opt.optimizer.solver.pareto import Front

OnModel = Callable[[str], None]
Half = Literal["pick", "proof"]
STOPPED = (
    "the time limit came before every layout was looked at: this is the best plan so far, and no plan is better than "
    "the bounds of its objectives; a longer --time-limit may find a better one"
)


def solve(
    request: SolveRequest,
    catalog: Catalog | None = None,
    *,
    shared: SharedLayouts | None = None,
    on_model: OnModel | None = None,
    without: Half | None = None,
    brief: int | None = None,
) -> Answer:
    """Return the best deployment with its proof, or why there is none.

    Before a default makes the request infeasible it gives way (`space/default_limits.py`), and the answer says so.
    `shared` keeps parts of layouts for further requests about the same model and release. `on_model` is given the model
    behind the answer as text (`cpsat/model_text.py`); without a layout to decide about there is none. `without` leaves
    one half of the work out, so that the other can be judged: "pick" keeps the bounds of the search and lets CP-SAT
    find the plan alone, with the same answer; "proof" keeps the pick of the search, about which nothing is proven then.
    `brief` is for readers of a short answer: so many alternatives at most, and none beside close calls.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    with uncollected():
        answer = _solved(request, catalog, shared or SharedLayouts(), on_model, without, brief)
    if not request.second_opinion:
        return answer
    from vllm_opt.optimizer.second_opinion.opinion import with_opinion

    return with_opinion(answer, catalog)


def _solved(
    request: SolveRequest, catalog: Catalog, shared: SharedLayouts, on_model: OnModel | None, without: Half | None,
    brief: int | None,
) -> Answer:  # fmt: skip
    """`solve` without its second opinion."""
    started = time.monotonic()
    setting = resolve_solve(request, catalog)
    deadline, result = started + request.time_limit, None
    users = Users(catalog, deadline, shared)
    try:
        for bent in bent_settings(setting, catalog, users):
            search = Search(bent, shared=shared, deadline=deadline)
            found = search.run()
            if found.candidates:
                answer = _with_plan(bent, search, found, started, on_model, without, brief)
                if isinstance(answer, str):
                    return _without_drafts(request, catalog, answer, on_model, without)
                return _with_owned(request, catalog, answer, deadline)
            if result is None or not found.complete:
                setting, result = bent, found
            if not found.complete:
                break
    except TimeIsUp:
        result = replace(result or SearchResult(), complete=False)
    if result is None:
        raise RuntimeError("a request has no setting")
    if setting.speculation is not None and result.complete:
        return _without_drafts(
            request, catalog, "no plan holds with the drafter's weights and cache", on_model, without
        )
    return _without_plan(
        replace(setting, bends=replace(setting.bends, reserve=True, limits=True)), result, started, catalog, users
    )


def _with_plan(
    setting: SolveSetting, search: Search, result: SearchResult, started: float, on_model: OnModel | None,
    without: Half | None, brief: int | None,
) -> Answer | str:  # fmt: skip
    """Let the model decide between the candidates that can still win, and prove it; or why drafts do not pay."""
    request, scores, order = setting.request, search.scores, search.order
    kept = ranked(setting, contenders(result.candidates, order, scores))
    modes = [mode_of(setting, candidate, index) for index, candidate in enumerate(kept)]
    remaining = request.time_limit - (time.monotonic() - started)
    known = None if without == "pick" else known_point(setting, kept, order, scores)
    proven = solve_in_order(
        modes, setting, order, search.physics.utilizations, known,
        time_limit=remaining, prove=without != "proof",
    )  # fmt: skip
    if proven is None:
        return _answer(setting, result, started, status="unknown", layouts_solved=len(modes))
    chosen = kept[proven.mode_index]
    choice = Choice(chosen.unit, chosen.max_num_batched_tokens, proven.max_num_seqs, proven.gpu_memory_utilization)
    gain = draft_gain(setting, choice)
    if gain is not None and gain < 1.0:
        return f"at confidence {request.confidence:g} it gives {gain:.2f} times the tokens per second at this load"
    if on_model is not None:
        on_model(_text_of(setting, proven))
    plan, proves = accepted_plan(setting, choice), result.complete and proven.optimal
    if plan is None:
        rest = [item for item in result.candidates if item is not chosen]
        fallback = best_accepted(setting, rest, order, scores)
        if fallback is None:
            return _answer(setting, result, started, status="unknown")
        scored, plan = fallback
        choice, proves, proven = scored.choice, False, with_values(proven, scored.key)
    front = _front(search) if request.pareto else None
    proves &= front is None or front.complete
    weighed = close_calls(search, result, choice)
    unlisted = request.pareto or search.is_over() or (brief is not None and bool(weighed))
    return _answer(
        setting,
        result,
        started,
        status="optimal" if proves else "feasible",
        notes=() if result.complete else (STOPPED,),
        objectives=shown_objectives(setting, result, proven),
        plan=plan,
        others=() if unlisted else alternatives(search, result, choice, brief),
        weighed=weighed,
        front=front,
        layouts_solved=len(modes),
    )


def _text_of(setting: SolveSetting, proven: ProvenPoint) -> str:
    from vllm_opt.optimizer.cpsat.model_text import model_text

    title = f"The CP-SAT model of vllm-opt solve: {setting.model.id} on vLLM {setting.engine.version}"
    return model_text(proven.model.space, proven.model.turns, title)


def _without_drafts(
    request: SolveRequest, catalog: Catalog, why: str, on_model: OnModel | None, without: Half | None
) -> Answer:
    """The same request with speculative decoding off, and why."""
    answer = solve(
        request.replaced(speculative_config=None, acceptance=None), catalog, on_model=on_model, without=without
    )
    return answer.model_copy(update={"notes": (*answer.notes, f"speculative decoding is left off: {why}")})


def _with_owned(request: SolveRequest, catalog: Catalog, answer: Answer, deadline: float) -> Answer:
    """The answer, with what owned cards would give where it stands on others."""
    if not request.owned:
        return answer
    from vllm_opt.optimizer.solver.owned_cards import owned_note

    left = max(0.1, deadline - time.monotonic())
    note = owned_note(request, catalog, answer, lambda asked: solve(asked.replaced(time_limit=left), catalog, brief=0))
    return answer.model_copy(update={"notes": (*answer.notes, note)}) if note else answer


def known_point(setting: SolveSetting, kept: list[Candidate], order: Order, scores: Scores) -> KnownPoint:
    """The best point by the exact tables: where CP-SAT starts, and whose optima it must confirm."""
    best = best_choice(setting, kept, order, scores)
    return KnownPoint(
        mode_index=next(index for index, candidate in enumerate(kept) if candidate is best.candidate),
        max_num_seqs=best.choice.max_num_seqs,
        gpu_memory_utilization=best.choice.gpu_memory_utilization,
        optima=best.optima,
    )


def _front(search: Search) -> Front:
    from vllm_opt.optimizer.solver.pareto import pareto_front

    return pareto_front(search)


def _front_notes(front: Front | None) -> tuple[str, ...]:
    """What the reader of a front must know: how many points it has, and whether all were visited."""
    if front is None:
        return ()
    notes = list(front.notes) or [f"the front has {counted(front.total, 'point')}"]
    if not front.complete:
        notes.append(front.stopped)
    return tuple(notes)


def _without_plan(
    setting: SolveSetting, result: SearchResult, started: float, catalog: Catalog, users: Users
) -> Answer:
    """No point was found: infeasible when every layout was visited, unknown when time ran out.

    What is explained is what was asked: no reserve, no default limit. Where time runs out over the explanation, it says
    what the search counted.
    """
    asked = resolve_solve(setting.request, catalog, setting.bends)
    setting = replace(setting, targets=asked.targets, assumed=asked.assumed if result.complete else setting.assumed)
    if not result.complete:
        return _answer(setting, result, started, status="unknown")
    explanation = _explained(setting, catalog, users)
    if explanation is None:
        from vllm_opt.optimizer.explanation.brief import explain_briefly

        explanation = explain_briefly(setting, result)
    return _answer(setting, result, started, status="infeasible", explanation=explanation)


def _explained(setting: SolveSetting, catalog: Catalog, users: Users) -> Explanation | None:
    """The conflict and what would resolve it; None where it is not asked for or time runs out."""
    if not setting.request.explain:
        return None
    from vllm_opt.optimizer.explanation.explain import explain_infeasible

    try:
        return explain_infeasible(setting, users.atlas(setting), catalog)
    except TimeIsUp:
        return None


def _answer(
    setting: SolveSetting,
    result: SearchResult,
    started: float,
    *,
    status: str,
    objectives: tuple[ObjectiveValue, ...] = (),
    plan: Plan | None = None,
    others: tuple[Plan, ...] = (),
    weighed: tuple[CloseCall, ...] = (),
    explanation: Explanation | None = None,
    layouts_solved: int = 0,
    front: Front | None = None,
    notes: tuple[str, ...] = (),
) -> Answer:
    request = setting.request
    resolved = request.model_dump(mode="json", exclude_none=True)
    resolved.update(
        model=setting.model.id,
        gpu=[item.gpu.id for item in setting.gpus],
        max_gpus=setting.targets.max_gpus,
        mean_context=setting.targets.mean_context,
        kv_sizing=setting.targets.kv_sizing,
        target_context=setting.targets.target_context,
        concurrency=setting.users_asked,
        max_ttft_ms=setting.targets.max_ttft_ms,
        max_tpot_ms=setting.targets.max_tpot_ms,
        assumed=list(setting.assumed),
        **dict(zip(("input_tokens", "output_tokens"), setting.lengths, strict=True)),
        vllm_version=setting.engine.version,
        engine=setting.engine.engine,
    )
    return Answer(
        status=status,
        request=resolved,
        objectives=objectives,
        plan=plan,
        alternatives=others,
        close_calls=weighed,
        pareto=tuple(accepted_plans(setting, front.choices)) if front else (),
        doubt=None if plan is None else doubt_of(plan, (*others, *(call.plan for call in weighed)), resolved),
        explanation=explanation,
        notes=(*setting.notes, *notes, *_front_notes(front)),
        solver=SolverReport(
            wall_ms=(time.monotonic() - started) * 1000,
            layouts_considered=result.layouts_considered,
            layouts_solved=layouts_solved,
            workers=request.workers,
            seed=request.seed,
        ),
    )
