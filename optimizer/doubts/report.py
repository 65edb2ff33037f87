"""What `doubt` answers."""

from typing import Any, Literal

from pydantic import Field

from vllm_opt.optimizer.contract.answer import Explanation, Plan, Report
from vllm_opt.profiles.noun import Noun


class Rival(Noun):
    """A plan that could be the best one within the intervals."""

    plan: Plan
    gain: float = Field(description="the most by which the chosen plan's loss may exceed its own, relative")
    regret: float = Field(description="its own min-max regret, were it chosen")
    proof: Literal["solved", "time"] = Field(description="whether the solver found that it could be the best")


class SeparatingBenchmark(Noun):
    """The one run that tells most."""

    command: str
    guidellm_command: str
    minutes: float
    gpus: int
    requests: int
    gpu: str
    quantization: str
    what: str = Field(description="the plan whose server is measured, in words")
    regret_after: float = Field(description="mean over what it may show of the least regret that is left")
    regret_after_at_worst: float = Field(description="the same at the least telling outcome")


class DoubtAnswer(Report):
    """The answer of `doubt`."""

    schema_name: str = Field("vllm-opt/doubt/1", alias="schema")
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    request: dict[str, Any]
    plan: Plan | None
    rivals: tuple[Rival, ...] = ()
    regret: float | None = Field(None, description="min-max regret of the plan, relative; null without a plan")
    least_regret: Plan | None = Field(None, description="the plan with the least regret, where it is another one")
    regret_of_that: float | None = Field(
        None, description="the regret of that plan, or of the plan where it is the same"
    )
    benchmark: SeparatingBenchmark | None = Field(None, description="null where no run would change the plan")
    considered: int = Field(0, description="plans that were compared")
    message: str = ""
    explanation: Explanation | None = None
    notes: tuple[str, ...] = ()
