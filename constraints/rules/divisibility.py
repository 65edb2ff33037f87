"""divisibility: heads, vocabulary, widths and quantisation groups divide by the parallel sizes.

Judges a layout on its own, before any flag is chosen; the arithmetic is in `constraints/layouts/divisibility.py`.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.layouts import divisibility


class Divisibility:
    """Heads, vocabulary, intermediates and quantisation groups divide by the parallel sizes."""

    name = "divisibility"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Return what vLLM would refuse or assert."""
        return divisibility.violations(
            deployment.model, deployment.quantization, deployment.layout, deployment.engine, deployment.gpu
        )

    def add(self, space: DecisionSpace) -> None:
        """Nothing to add: a layout that does not divide has no memory terms and never becomes a mode."""
