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
