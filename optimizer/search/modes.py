"""From candidates to the modes of the CP-SAT model: exact integer tables, and a rank that breaks ties."""

import math

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens, prefix_caching_default
from vllm_opt.constraints.judging.decision_space import Mode, SequencePoint, StageMemory
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.search.order import capped_quality
from vllm_opt.optimizer.space.objective import (
    concurrency_of,
    first_token_turn_us,
    millitokens_per_s,
    unit_cost_microusd,
)
from vllm_opt.optimizer.space.points import Candidate
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.width_memory import WidthMemory


def default_tokens(setting: SolveSetting, candidate: Candidate) -> int:
    """What max_num_batched_tokens would be if the flag were left out."""
    facts = candidate.unit.facts
    return default_max_num_batched_tokens(
        setting.engine, facts.sku.gpu, chunked_prefill=facts.layout.enable_chunked_prefill,
        max_model_len=setting.targets.target_context, max_num_seqs=None,
    )  # fmt: skip


def preference(setting: SolveSetting, candidate: Candidate) -> tuple[float, ...]:
    """What decides between equal objectives, smaller first: GPUs, publisher, quality, 16-bit KV, node parts, flags."""
    layout, weights = candidate.unit.facts.layout, candidate.unit.facts.weights
    unusual = (
        weights.checkpoint != setting.model.id,
        layout.enforce_eager,
        layout.kv_cache_dtype != "auto",
        layout.expert_parallel,
        layout.decode_context_parallel_size > 1,
        layout.pipeline_parallel_size > 1,
        layout.data_parallel_size > 1,
        layout.tensor_parallel_size > 1,
        layout.block_size is not None,
        layout.enable_prefix_caching != prefix_caching_default(setting.engine, setting.model),
        layout.nodes > 1,
    )
    tokens = candidate.max_num_batched_tokens
    return (
        candidate.unit.gpu_count,
        weights.publisher_rank,
        -capped_quality(weights),
        layout.kv_cache_dtype != "auto",
        candidate.unit.facts.sku.gpu.gpus_per_node % layout.gpus_per_server != 0,
        sum(unusual),
        abs(math.log2(tokens / default_tokens(setting, candidate))),
        tokens,
    )


def ranked(setting: SolveSetting, candidates: list[Candidate]) -> list[Candidate]:
    """Candidates in the order of preference; equal ones keep the order in which they were enumerated."""
    return sorted(candidates, key=lambda candidate: preference(setting, candidate))


def alike(setting: SolveSetting, candidate: Candidate, sequences: int) -> int:
    """The most sequences for which everything but the linear terms of memory is as for so many.

    Speed at the load asked is that of its users, whatever more is admitted; CUDA graphs take the same up to the next
    size that is captured. Where the load is free, the pool is sized by typical lengths, an encoder runs, or graphs are
    captured outside the budget, something else depends on the number too: it stands alone then.
    """
    facts, request, tokens = candidate.unit.facts, setting.request, candidate.max_num_batched_tokens
    terms, confidence = facts.terms, facts.confidence
    if (
        setting.targets.load_free
        or setting.targets.contexts_in_flight is not None
        or request.max_num_seqs is not None
        or "concurrency" in request.objective
        or not facts.monotone
        or terms.activation.floor_at(confidence, tokens, sequences)
    ):
        return sequences
    memory, most = WidthMemory(facts, tokens, confidence), min(tokens, setting.largest_batch)
    graphs, step = memory.graph_bytes(sequences), 1
    last = sequences
    while last + step <= most and memory.graph_bytes(last + step) == graphs:
        last, step = last + step, 2 * step
    while step > 1:
        step //= 2
        if last + step <= most and memory.graph_bytes(last + step) == graphs:
            last += step
    return last


def sequence_points(setting: SolveSetting, candidate: Candidate) -> tuple[SequencePoint, ...]:
    """The exact integers of every max_num_seqs of a candidate, at the confidence asked."""
    facts, tokens = candidate.unit.facts, candidate.max_num_batched_tokens
    terms, confidence = facts.terms, facts.confidence
    millitokens = millitokens_per_s(candidate)
    concurrent = [0] * len(candidate.sequences)
    if "concurrency" in setting.request.objective:
        concurrent = concurrency_of(candidate, setting.targets.target_context).tolist()
    has_tpot = setting.lengths[1] > 1
    first_tokens = first_token_turn_us(candidate.ttft_ms, enforce_eager=facts.layout.enforce_eager)
    each = 0 if setting.targets.contexts_in_flight else facts.blocks_needed(2, tokens) - facts.blocks_needed(1, tokens)
    return tuple(
        SequencePoint(
            max_num_seqs=sequences,
            most_num_seqs=alike(setting, candidate, sequences),
            blocks_each=each,
            graph_bytes=terms.graph_bytes(tokens, sequences, confidence) if terms.engine.graphs_in_budget else 0,
            encoder_bytes=terms.activation.floor_at(confidence, tokens, sequences),
            headroom_needed_bytes=terms.headroom_needed_bytes(tokens, sequences, confidence),
            blocks_needed=facts.blocks_needed(sequences, tokens),
            ttft_bound_ms=float(candidate.ttft_bound_ms[at]),
            tpot_bound_ms=float(candidate.tpot_bound_ms[at]) if has_tpot else None,
            bound_tokens_per_s=float(candidate.bound_tokens_per_s[at]),
            e2e_us=math.ceil(float(candidate.e2e_ms[at]) * 1000),
            ttft_us=int(first_tokens[at]),
            output_millitokens_per_s=int(millitokens[at]),
            highest_budget_bytes=facts.highest_budget(terms.headroom_needed_bytes(tokens, sequences, confidence)),
            most_concurrent=concurrent[at],
        )
        for at, sequences in enumerate(candidate.sequences.tolist())
    )


def stages_of(terms: MemoryTerms, tokens: int, confidence: float) -> tuple[StageMemory, ...]:
    """The linear memory rows of every pipeline stage at one width of a step."""
    shared, linear = terms.non_torch.at(confidence), terms.activation.linear_at(confidence, tokens)
    return tuple(
        StageMemory(
            fixed_bytes=weights + extra + shared,
            forward_bytes=forward,
            sampler_bytes=sampler,
            sampler_bytes_per_sequence=each,
            block_bytes=block,
        )
        for weights, extra, (forward, sampler, each), block in zip(
            terms.weights, terms.weights_extra, linear, terms.kv.block_bytes, strict=True
        )
    )


def mode_of(setting: SolveSetting, candidate: Candidate, index: int) -> Mode:
    """One mode of the model; `index` is its rank of preference."""
    unit, tokens = candidate.unit, candidate.max_num_batched_tokens
    terms = unit.facts.terms
    return Mode(
        index=index,
        terms=terms,
        gpu=unit.facts.sku.gpu.id,
        max_num_batched_tokens=tokens,
        replicas=unit.replicas,
        engines=unit.engines,
        gpu_count=unit.gpu_count,
        microusd_per_hour=unit_cost_microusd(unit),
        price_microusd=None if unit.bill is None else unit.bill.microusd_per_hour,
        stages=stages_of(terms, tokens, setting.request.confidence),
        publisher_rank=unit.facts.weights.publisher_rank,
        startup_blocks=terms.kv.startup_blocks(setting.targets.target_context, tokens),
        points=sequence_points(setting, candidate),
        load_bytes=terms.load_bytes(unit.facts.confidence),
        keeps_quality=unit.facts.weights.accepts(
            unit.facts.layout.kv_cache_dtype, unit.facts.sku.gpu, setting.targets.target_context
        ),
    )
