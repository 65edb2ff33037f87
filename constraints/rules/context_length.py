"""context_length: target_context <= max_model_len <= the model's own limit.

The limit is what vLLM derives from the config (`config/model.py:_get_and_verify_max_len`); above it vLLM refuses
unless VLLM_ALLOW_LONG_MAX_MODEL_LEN=1, which this tool does not assume.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.startup_errors import length_above_derived


class ContextLength:
    """The context asked lies within max_model_len, and that within the model's limit."""

    name = "context_length"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Check both inequalities, in tokens."""
        flags, limit = deployment.flags, deployment.model.max_model_len
        found = []
        if flags.max_model_len > limit:
            found.append(
                Violation(
                    rule=self.name,
                    message=_above_the_limit(flags.max_model_len, deployment),
                    needed=flags.max_model_len,
                    available=limit,
                    unit="tokens",
                )
            )
        if flags.max_model_len < deployment.targets.target_context:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"max_model_len {flags.max_model_len} is below the target context "
                        f"{deployment.targets.target_context}"
                    ),
                    needed=deployment.targets.target_context,
                    available=flags.max_model_len,
                    unit="tokens",
                )
            )
        return tuple(found)

    def add(self, space: DecisionSpace) -> None:
        """Bound the variable on both sides."""
        space.model.add(space.max_model_len >= space.targets.target_context).with_name("target context")
        space.model.add(space.max_model_len <= space.model_limit_tokens).with_name("limit of the model")


def _above_the_limit(length: int, deployment: Deployment) -> str:
    """What vLLM says, or that the limit is another model's."""
    model = deployment.model
    if model.context_of is None:
        return length_above_derived(length, model.max_model_len, deployment.engine)
    return (
        f"max_model_len {length} is above {model.max_model_len}, the context limit of {model.context_of}, whose "
        f"weights have the same shapes; that of {model.id} is not known here: give the path of its config.json"
    )
