"""Violation: one rule that a configuration breaks, with the numbers."""

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class Violation(Noun):
    """What is wrong, by how much, and under which rule."""

    rule: str = Field(description="name of the rule, e.g. 'memory_budget'")
    message: str = Field(description="one sentence with the numbers in")
    needed: float | int | None = None
    available: float | int | None = None
    unit: str = ""


class LayoutRefused(Exception):  # noqa: N818 - a refusal is an answer, not a fault of the program
    """vLLM would refuse to start with this layout; `violation` says which rule and why."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.message)
        self.violation = violation
