"""Which gpu_memory_utilization a finished plan takes: the default when it does, else the nearest step that does."""

from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting


def fitting_utilization(setting: SolveSetting, candidate: Candidate, sequences: int, *, highest: bool = False) -> float:
    """The step nearest to the release's default whose budget holds the KV blocks and whose headroom is kept.

    With `highest`, the largest such step: more KV cache is wanted for its own sake.

    Raises:
        ValueError: no step fits; the caller passed a point that memory does not admit.
    """
    facts, tokens = candidate.unit.facts, candidate.max_num_batched_tokens
    terms, targets = facts.terms, setting.targets
    needed = max(
        terms.kv.startup_blocks(targets.target_context, tokens),
        facts.blocks_needed(sequences, tokens),
    )
    outside = terms.outside_kv_bytes(tokens, sequences, facts.confidence)
    least = max(rest + needed * block for rest, block in zip(outside, terms.kv.block_bytes, strict=True))
    headroom = terms.headroom_needed_bytes(tokens, sequences, facts.confidence)
    steps = [
        step
        for step, budget in zip(facts.utilizations, facts.budgets, strict=True)
        if least <= budget <= terms.total_bytes - headroom
    ]
    if not steps:
        raise ValueError("no utilisation step holds this point")
    if highest:
        return steps[-1]
    default = setting.engine.gpu_memory_utilization
    return min(steps, key=lambda step: (round(abs(step - default) * 1000), step))
