"""throughput: output tokens per second of all replicas, {deployment.certainty}, reach the floor."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment


class Throughput:
    """engines x X(S, T) / q(confidence) >= min_output_tokens_per_s."""

    name = "throughput"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare the lower quantile with the floor, in tokens per second."""
        floor, performance = deployment.targets.min_output_tokens_per_s, deployment.performance
        if floor is None or performance is None or performance.output_tokens_per_s >= floor:
            return ()
        return (
            Violation(
                rule=self.name,
                message=(
                    f"throughput is {performance.output_tokens_per_s:.1f} output tokens/s {deployment.certainty}, "
                    f"below the floor of {floor:g}{_why(deployment.targets.requests_per_s)}"
                ),
                needed=floor,
                available=performance.output_tokens_per_s,
                unit="tokens/s",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Forbid every point whose lower quantile is below the floor."""
        floor = space.targets.min_output_tokens_per_s
        if floor is not None:
            space.forbid(
                lambda point: point.bound_tokens_per_s < floor,
                lambda point: f"{point.bound_tokens_per_s:g} tokens/s, floor {floor:g}",
            )


def _why(requests_per_s: float | None) -> str:
    """What sets the floor where requests arrive at a rate: what does not keep up lets the queue grow without end."""
    return "" if requests_per_s is None else f" that {requests_per_s:g} requests/s need"
