"""tpot: the time per output token at full admitted load, {deployment.certainty}, stays under its limit."""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment, over_requests


class TimePerOutputToken:
    """TPOT(S, T) x q(confidence) <= max_tpot_ms; a request of one output token has no TPOT."""

    name = "tpot"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare the upper quantile with the limit, in milliseconds."""
        limit, performance = deployment.targets.max_tpot_ms, deployment.performance
        if limit is None or performance is None or performance.tpot_ms is None or performance.tpot_ms <= limit:
            return ()
        return (
            Violation(
                rule=self.name,
                message=(
                    f"TPOT{over_requests(deployment.targets.tpot_percentile)} is {performance.tpot_ms:.1f} ms "
                    f"{deployment.certainty}, above the limit of {limit:g} ms"
                ),
                needed=performance.tpot_ms,
                available=limit,
                unit="ms",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Forbid every point whose upper quantile exceeds the limit."""
        limit = space.targets.max_tpot_ms
        if limit is not None:
            space.forbid(
                lambda point: point.tpot_bound_ms is not None and point.tpot_bound_ms > limit,
                lambda point: f"TPOT {point.tpot_bound_ms:g} ms, limit {limit:g}",
            )
