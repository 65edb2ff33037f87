"""batching: what one step may carry.

    max_num_batched_tokens >= max_num_seqs
    max_num_batched_tokens >= max_model_len when chunked prefill is off
    max_num_batched_tokens > num_speculative_tokens with drafts
    max_num_batched_tokens >= encoder tokens of one item with cross attention, which is never cut

(vLLM 0.33 `config/scheduler.py:verify_max_model_len`).
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment


class Batching:
    """A step is wide enough for its sequences, and for a whole prompt where prompts are not cut."""

    name = "batching"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Check both inequalities, in tokens."""
        flags = deployment.flags
        found = []
        if flags.max_num_batched_tokens < flags.max_num_seqs:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"max_num_batched_tokens ({flags.max_num_batched_tokens}) must be greater than or equal to "
                        f"max_num_seqs ({flags.max_num_seqs})"
                    ),
                    needed=flags.max_num_seqs,
                    available=flags.max_num_batched_tokens,
                    unit="tokens",
                )
            )
        if not deployment.layout.enable_chunked_prefill and flags.max_num_batched_tokens < flags.max_model_len:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"max_num_batched_tokens ({flags.max_num_batched_tokens}) is smaller than max_model_len "
                        f"({flags.max_model_len}). This effectively limits the maximum sequence length to "
                        "max_num_batched_tokens and makes vLLM reject longer sequences. Please increase "
                        "max_num_batched_tokens or decrease max_model_len."
                    ),
                    needed=flags.max_model_len,
                    available=flags.max_num_batched_tokens,
                    unit="tokens",
                )
            )
        found += self._lookahead(deployment)
        found += self._item(deployment)
        return tuple(found)

    def _lookahead(self, deployment: Deployment) -> list[Violation]:
        drafts, tokens = deployment.layout.speculation, deployment.flags.max_num_batched_tokens
        if drafts is None or tokens > drafts.num_speculative_tokens:
            return []
        return [
            Violation(
                rule=self.name,
                message="VllmConfig does not have enough slots to schedule a token and support the speculative "
                f"decoding settings: max_num_batched_tokens ({tokens}) must exceed the tokens drafted",
                needed=drafts.num_speculative_tokens + 1,
                available=tokens,
                unit="tokens",
            )
        ]

    def _item(self, deployment: Deployment) -> list[Violation]:
        item, tokens = deployment.terms.kv.item_tokens, deployment.flags.max_num_batched_tokens
        if tokens >= item:
            return []
        return [
            Violation(
                rule=self.name,
                message="Chunked MM input disabled but max_tokens_per_mm_item "
                f"({item}) is larger than max_num_batched_tokens ({tokens}). Please increase max_num_batched_tokens.",
                needed=item,
                available=tokens,
                unit="tokens",
            )
        ]

    def add(self, space: DecisionSpace) -> None:
        """Tie the step width to the mode and bound it from below."""
        space.model.add(space.max_num_batched_tokens >= space.max_num_seqs).with_name("a token per sequence")
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            width = space.max_num_batched_tokens == mode.max_num_batched_tokens
            space.model.add(width).only_enforce_if(chosen).with_name("step width of the layout")
            if not mode.terms.layout.enable_chunked_prefill:
                whole = space.max_num_batched_tokens >= space.max_model_len
                space.model.add(whole).only_enforce_if(chosen).with_name("a whole prompt")
            if item := mode.terms.kv.item_tokens:
                space.model.add(space.max_num_batched_tokens >= item).only_enforce_if(chosen).with_name("a whole item")
            drafts = mode.terms.layout.speculation
            if drafts is not None:
                least = drafts.num_speculative_tokens + 1
                room = space.max_num_batched_tokens >= least
                space.model.add(room).only_enforce_if(chosen).with_name("a token and its drafts")
