"""How the best deployment is found, explained and shown.

The public functions and types are imported when they are first used, so that importing the package stays cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_opt.optimizer.answer import Answer, Estimate, Plan
    from vllm_opt.optimizer.batch_request import BatchRequest
    from vllm_opt.optimizer.batches import batch
    from vllm_opt.optimizer.demand_request import FleetRequest
    from vllm_opt.optimizer.estimation import estimate
    from vllm_opt.optimizer.fleet_answer import FleetAnswer
    from vllm_opt.optimizer.lint_report import LintReport
    from vllm_opt.optimizer.lint_request import LintRequest
    from vllm_opt.optimizer.linter import lint
    from vllm_opt.optimizer.procurement import procure
    from vllm_opt.optimizer.request import EstimateRequest, SolveRequest
    from vllm_opt.optimizer.solver import solve

_HOMES = {
    "solve": "solver",
    "estimate": "estimation",
    "batch": "batches",
    "BatchRequest": "batch_request",
    "lint": "linter",
    "LintReport": "lint_report",
    "LintRequest": "lint_request",
    "procure": "procurement",
    "SolveRequest": "request",
    "FleetRequest": "demand_request",
    "FleetAnswer": "fleet_answer",
    "EstimateRequest": "request",
    "Answer": "answer",
    "Plan": "answer",
    "Estimate": "answer",
}

__all__ = [
    "Answer",
    "BatchRequest",
    "Estimate",
    "EstimateRequest",
    "FleetAnswer",
    "FleetRequest",
    "LintReport",
    "LintRequest",
    "Plan",
    "SolveRequest",
    "batch",
    "estimate",
    "lint",
    "procure",
    "solve",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
