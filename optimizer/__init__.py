"""How the best deployment is found, explained and shown.

The public functions and types are imported when they are first used, so that importing the package stays cheap. This
file is also the front of the whole: `from vllm_opt import solve`, and `python -m vllm_opt` beside it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vllm_opt.optimizer.batches.batch import batch
    from vllm_opt.optimizer.batches.request import BatchRequest
    from vllm_opt.optimizer.calibration.calibrate import calibrate
    from vllm_opt.optimizer.calibration.report import CalibrationReport
    from vllm_opt.optimizer.calibration.request import CalibrateRequest
    from vllm_opt.optimizer.contract.answer import Answer, Estimate, Plan
    from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
    from vllm_opt.optimizer.contract.simulation import SimulateRequest, Simulation
    from vllm_opt.optimizer.doubts.doubt import doubt
    from vllm_opt.optimizer.doubts.report import DoubtAnswer
    from vllm_opt.optimizer.estimation.estimate import estimate
    from vllm_opt.optimizer.linter.lint import lint
    from vllm_opt.optimizer.linter.subject.report import LintReport
    from vllm_opt.optimizer.linter.subject.request import LintRequest
    from vllm_opt.optimizer.placement.answer import PlacementAnswer
    from vllm_opt.optimizer.placement.place import place
    from vllm_opt.optimizer.placement.request import PlaceRequest
    from vllm_opt.optimizer.procurement.answer import FleetAnswer
    from vllm_opt.optimizer.procurement.procure import procure
    from vllm_opt.optimizer.procurement.request import FleetRequest
    from vllm_opt.optimizer.simulation.simulate import simulate
    from vllm_opt.optimizer.solver.solve import solve
    from vllm_opt.optimizer.verification.report import Verification
    from vllm_opt.optimizer.verification.request import VerifyRequest
    from vllm_opt.optimizer.verification.verify import verify

_HOMES = {
    "solve": "solver.solve",
    "estimate": "estimation.estimate",
    "batch": "batches.batch",
    "BatchRequest": "batches.request",
    "calibrate": "calibration.calibrate",
    "CalibrateRequest": "calibration.request",
    "CalibrationReport": "calibration.report",
    "verify": "verification.verify",
    "VerifyRequest": "verification.request",
    "Verification": "verification.report",
    "doubt": "doubts.doubt",
    "DoubtAnswer": "doubts.report",
    "lint": "linter.lint",
    "LintReport": "linter.subject.report",
    "LintRequest": "linter.subject.request",
    "place": "placement.place",
    "PlaceRequest": "placement.request",
    "PlacementAnswer": "placement.answer",
    "procure": "procurement.procure",
    "simulate": "simulation.simulate",
    "SimulateRequest": "contract.simulation",
    "Simulation": "contract.simulation",
    "SolveRequest": "contract.request",
    "FleetRequest": "procurement.request",
    "FleetAnswer": "procurement.answer",
    "EstimateRequest": "contract.request",
    "Answer": "contract.answer",
    "Plan": "contract.answer",
    "Estimate": "contract.answer",
}

__all__ = [
    "Answer",
    "BatchRequest",
    "CalibrateRequest",
    "CalibrationReport",
    "DoubtAnswer",
    "Estimate",
    "EstimateRequest",
    "FleetAnswer",
    "FleetRequest",
    "LintReport",
    "LintRequest",
    "PlaceRequest",
    "PlacementAnswer",
    "Plan",
    "SimulateRequest",
    "Simulation",
    "SolveRequest",
    "Verification",
    "VerifyRequest",
    "batch",
    "calibrate",
    "doubt",
    "estimate",
    "lint",
    "place",
    "procure",
    "simulate",
    "solve",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Import a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"vllm_opt.optimizer.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
