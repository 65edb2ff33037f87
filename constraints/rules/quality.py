"""quality: the weight format keeps at least `min_quality` of the 16-bit model's published score.

Without any evidence a format is left out, unless the request names it or the checkpoint is native.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment


class Quality:
    """The recovery against 16-bit is known and high enough."""

    name = "quality"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare the recovery with the floor; formats accepted by name pass without evidence."""
        floor, quality = deployment.targets.min_quality, deployment.quality
        if quality is None:
            if deployment.quality_accepted:
                return ()
            message = (
                f"no published accuracy of {deployment.quantization.id} is known; name it with --quantization "
                f"{deployment.quantization.id} to accept it"
            )
        elif quality < floor and not deployment.quality_accepted:
            message = (
                f"{deployment.quantization.id} keeps {quality:.1%} of the 16-bit score, below the floor of "
                f"{floor:.1%}; lower --min-quality"
            )
        else:
            return ()
        return (Violation(rule=self.name, message=message, needed=floor, available=quality, unit="recovery"),)

    def add(self, space: DecisionSpace) -> None:
        """Nothing to add: a format below the floor never becomes a mode while this rule is active."""
