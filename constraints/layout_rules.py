"""divisibility and compatibility as rules: both judge a layout on its own, before any flag is chosen."""

from vllm_opt.constraints import compatibility, divisibility
from vllm_opt.constraints.decision_space import DecisionSpace
from vllm_opt.constraints.deployment import Deployment
from vllm_opt.constraints.violation import Violation


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
