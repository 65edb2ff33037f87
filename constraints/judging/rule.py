"""What a rule is. Each rule lives in its own file, checks with plain integers, and adds itself to the CP-SAT model.

The ordered tuple of all rules is `vllm_opt.constraints.rules.RULES`.
"""

from typing import Protocol

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment


class Rule(Protocol):
    """One constraint: a name, an exact check, and its linear form."""

    @property
    def name(self) -> str:
        """The name that answers and explanations use."""
        ...

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Return every way in which the deployment breaks the rule; empty when it holds."""
        ...

    def add(self, space: DecisionSpace) -> None:
        """Write the rule into the model: linear constraints under the modes' Booleans."""
        ...
