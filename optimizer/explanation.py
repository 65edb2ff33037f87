"""Why nothing fits, and what would: a minimal conflict of named rules, and the smallest changes that resolve it."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.answer import Answer, Explanation
from vllm_opt.optimizer.conflict import minimal_conflict
from vllm_opt.optimizer.conflict_numbers import measures
from vllm_opt.optimizer.conflict_per_gpu import sentences_per_gpu
from vllm_opt.optimizer.questions import Atlas, Question
from vllm_opt.optimizer.relaxation import relaxations
from vllm_opt.optimizer.request import SolveRequest
from vllm_opt.optimizer.sensitivity import sensitivities
from vllm_opt.optimizer.solve_setting import SolveSetting, resolve_solve
from vllm_opt.profiles.catalog import Catalog


def explain_infeasible(
    setting: SolveSetting, atlas: Atlas | None = None, catalog: Catalog | None = None
) -> Explanation:
    """Explain a request for which no plan exists.

    The conflict is minimal: its rules cannot hold together, and all but any one of them can. Every relaxation has been
    turned into a plan that every rule accepts before it is returned.

    Raises:
        ValueError: a plan exists.
    """
    request = setting.request
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    atlas, question = atlas or Atlas(setting), Question(setting)
    rules = minimal_conflict(atlas, question)
    return Explanation(
        conflict=tuple(measure.conflict for measure in measures(atlas, question, rules)),
        relaxations=relaxations(atlas, question, catalog),
        per_gpu=sentences_per_gpu(atlas, question, rules),
    )


def explain(request: SolveRequest, catalog: Catalog | None = None) -> Answer:
    """Solve, and say why: the conflict and the relaxations, or what a small change would buy the plan.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    from vllm_opt.optimizer.solver import solve

    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    answer = solve(request, catalog)
    if answer.plan is None:
        return answer
    setting = resolve_solve(request, catalog)
    found = sensitivities(Atlas(setting), Question(setting), answer.plan)
    return answer.model_copy(update={"sensitivity": found})


def compare(
    request: SolveRequest, changes: Sequence[dict[str, Any]], catalog: Catalog | None = None
) -> tuple[Answer, tuple[Answer, ...]]:
    """Explain a request, and solve it again with each set of changed fields.

    Raises:
        InvalidRequest: a change that cannot be understood, or that contradicts the rest.
    """
    from vllm_opt.optimizer.solver import solve

    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    variants = [request.replaced(**fields) for fields in changes]
    return explain(request, catalog), tuple(solve(variant, catalog) for variant in variants)
