"""gpu_count: replicas x DP x TP x PP is at most (or exactly) what was asked, and some machine on offer holds them."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.money.bill import machine_gpus
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
        elif deployment.offers and deployment.bill is None:
            message, limit = _not_on_offer(deployment)
        else:
            return ()
        return (Violation(rule=self.name, message=message, needed=count, available=limit, unit="GPUs"),)

    def add(self, space: DecisionSpace) -> None:
        """Bound the count; it is already tied to the mode."""
        if space.targets.gpus is not None:
            space.model.add(space.gpu_count == space.targets.gpus).with_name("gpus")
        else:
            space.model.add(space.gpu_count <= space.targets.max_gpus).with_name("max_gpus")


def _not_on_offer(deployment: Deployment) -> tuple[str, int]:
    """Why no offer holds the servers, and how many GPUs the largest machine or the stock has."""
    gpus = deployment.layout.gpus_per_server // deployment.layout.nodes
    largest = max(machine_gpus(offer) for offer in deployment.offers)
    if largest < gpus:
        return f"a server needs {gpus} GPUs in one machine, and the largest on offer has {largest}", largest
    stock = max(offer.stock_gpus or 0 for offer in deployment.offers)
    return f"{deployment.replicas} server(s) of {gpus} GPU(s) are more than the {stock} owned GPUs hold", stock
