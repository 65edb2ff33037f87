"""ttft: the time to the first token at full admitted load, {deployment.certainty}, stays under its limit."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment, over_requests


class TimeToFirstToken:
    """TTFT(S, T) x q(confidence) <= max_ttft_ms."""

    name = "ttft"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare the upper quantile with the limit, in milliseconds."""
        limit, performance = deployment.targets.max_ttft_ms, deployment.performance
        if limit is None or performance is None or performance.ttft_ms <= limit:
            return ()
        return (
            Violation(
                rule=self.name,
                message=(
                    f"TTFT{over_requests(deployment.targets.ttft_percentile)} is {performance.ttft_ms:.1f} ms "
                    f"{deployment.certainty}, above the limit of {limit:g} ms"
                ),
                needed=performance.ttft_ms,
                available=limit,
                unit="ms",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Forbid every point whose upper quantile exceeds the limit."""
        limit = space.targets.max_ttft_ms
        if limit is not None:
            space.forbid(
                lambda point: point.ttft_bound_ms > limit,
                lambda point: f"TTFT {point.ttft_bound_ms:g} ms, limit {limit:g}",
            )
