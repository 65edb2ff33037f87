"""gpu_count: replicas x DP x TP x PP is at most (or exactly) what was asked."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.profiles.reading.quantities import counted


class GpuCount:
    """The number of GPUs in all stays within the request."""

    name = "gpu_count"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare with the exact number when one was asked, else with the ceiling."""
        exact, most, count = deployment.targets.gpus, deployment.targets.max_gpus, deployment.gpu_count
        uses = f"the plan uses {counted(count, 'GPU')}"
        if exact is not None and count != exact:
            message, limit = f"{uses} and not the {exact} asked", exact
        elif exact is None and count > most:
            message, limit = f"{uses}, more than the {most} allowed; raise max_gpus", most
        else:
            return ()
        return (Violation(rule=self.name, message=message, needed=count, available=limit, unit="GPUs"),)

    def add(self, space: DecisionSpace) -> None:
        """Bound the count; it is already tied to the mode."""
        if space.targets.gpus is not None:
            space.model.add(space.gpu_count == space.targets.gpus)
        else:
            space.model.add(space.gpu_count <= space.targets.max_gpus)
