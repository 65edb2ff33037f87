"""quality: weights and KV cache together keep at least `min_quality` of the model's published score.

Recoveries multiply: that of the weights (by checkpoint, else pooled by format and size of the model) and that of a
quantised KV cache (by kind of attention, release and context). The floor holds for the low end of the pooled mean, at
the confidence asked. Without any number a format is left out, unless the request names it or the model is published so.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment

CENTRAL = 0.5


class Quality:
    """The recovery of weights and KV cache is known and high enough."""

    name = "quality"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare the low end of the recovery with the floor; what the request names passes."""
        quality, floor = deployment.quality, deployment.targets.min_quality
        if quality is None or deployment.quality_accepted:
            return ()
        stored = f"{deployment.quantization.id} weights with {_cache(deployment)} KV cache"
        low = quality.low(deployment.confidence or CENTRAL)
        if low is None:
            message = f"no published accuracy of {stored} is known ({quality.evidence}); name both to accept them"
        elif low >= floor:
            return ()
        else:
            message = (
                f"{stored} keep {quality.recovery or 0.0:.1%} of the score, at least {low:.1%} at the confidence "
                f"asked, below the floor of {floor:.1%}; lower --min-quality"
            )
        return (Violation(rule=self.name, message=message, needed=floor, available=low, unit="recovery"),)

    def add(self, space: DecisionSpace) -> None:
        """Forbid the modes whose weights and KV cache keep too little: `chosen[m] = 0`."""
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            if not mode.keeps_quality:
                space.model.add(chosen == 0).with_name("keeps too little of the score")


def _cache(deployment: Deployment) -> str:
    asked = deployment.layout.kv_cache_dtype
    return "a 16-bit" if asked == "auto" else f"an {asked}" if asked[0] in "afi" else f"a {asked}"
