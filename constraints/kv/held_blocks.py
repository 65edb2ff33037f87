"""How many KV blocks the sequences of one engine hold together, by the target or by the lengths that are typical."""

from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.profiles.nouns.workload import Targets


def tokens_held(kv: KvPlan, targets: Targets, sequences: int) -> int:
    """Tokens that each of `sequences` sequences is counted with.

    By typical lengths, half a block is added: a sequence leaves half of its last block empty on average.
    """
    typical = targets.contexts_in_flight
    if typical is None:
        return targets.mean_context
    return min(targets.target_context, typical.tokens_each(sequences) + kv.block_size // 2)


def held_blocks(kv: KvPlan, targets: Targets, sequences: int, max_num_batched_tokens: int) -> int:
    """KV blocks of `sequences` sequences, the null block and room for the next prompt included.

        by the target     blocks(n, mean_context)                                        `KvPlan.sequence_blocks`
        by typical ones   min(blocks(n, target_context), blocks(n, tokens each) + blocks of one more full context)

    By typical lengths one full context fits beside the rest: the longest request never waits for all others.
    """
    held = kv.sequence_blocks(tokens_held(kv, targets, sequences), max_num_batched_tokens)
    if targets.contexts_in_flight is None:
        return held.needed(sequences)
    full = kv.sequence_blocks(targets.target_context, max_num_batched_tokens)
    return min(full.needed(sequences), held.needed(sequences) + full.each)
