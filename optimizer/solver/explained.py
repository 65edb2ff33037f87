"""`explain` and `compare`: solve a request, then say what binds its plan, or solve it again with other values."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.explanation.sensitivity import sensitivities
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog


def explain(request: SolveRequest, catalog: Catalog | None = None) -> Answer:
    """Solve, and say why: the conflict and the relaxations, or what a small change would buy the plan.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
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
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    variants = [request.replaced(**fields) for fields in changes]
    return explain(request, catalog), tuple(solve(variant, catalog) for variant in variants)
