"""compatibility: weight format, KV dtype, block size and release go together on the SKU.

Judges a layout on its own, before any flag is chosen; the table of what goes together is in
`constraints/layouts/compatibility.py`.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.layouts import compatibility


class Compatibility:
    """Weight format, KV dtype, block size and release work together on this SKU."""

    name = "compatibility"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Return what vLLM would refuse."""
        return compatibility.violations(
            deployment.model, deployment.quantization, deployment.layout, deployment.engine, deployment.gpu
        )

    def add(self, space: DecisionSpace) -> None:
        """Nothing to add: an incompatible layout has no memory terms and never becomes a mode."""
