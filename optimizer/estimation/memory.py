"""From memory terms to the `Memory` of an answer: bytes per GPU on the rank with the fewest blocks."""

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.weights.adapters import adapter_bytes
from vllm_opt.constraints.weights.parameter_bytes import REPACKED_FORMATS, draft_bytes, weight_bytes, weight_extra_bytes
from vllm_opt.optimizer.contract.answer import Memory, RankMemory
from vllm_opt.optimizer.estimation.resolution import Setting
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization


def memory_report(
    model: ModelProfile,
    quantization: Quantization,
    gpu: GpuProfile,
    terms: MemoryTerms,
    flags: EngineFlags,
    confidence: float,
    *,
    expected: bool = False,
) -> Memory:
    """Report the central estimate; `confidence_bytes` says what the asked confidence adds to it.

    The longest context is the one that starts at the confidence asked, or by the central estimate where that is
    `expected`.
    """
    tokens, sequences = flags.max_num_batched_tokens, flags.max_num_seqs
    available = terms.available_kv_bytes(flags)
    blocks = terms.blocks_by_stage(flags)
    worst = min(range(terms.stages), key=lambda stage: (blocks[stage], available[stage]))
    graph_bytes = terms.graph_bytes(tokens, sequences)
    activation = terms.activation_bytes(tokens, sequences)
    count = blocks[worst] if terms.kv.block_bytes[worst] else 0
    keeps = terms.kv.keeps_cache
    adapters = adapter_bytes(model, terms.layout, mxfp4=terms.layout.quantization in REPACKED_FORMATS)
    drafts = draft_bytes(model, quantization, terms.layout, gpu)
    sure = min(count, terms.num_gpu_blocks(flags, None if expected else confidence)) if count else 0
    central, upper = terms.outside_kv_bytes(tokens, sequences), terms.outside_kv_bytes(tokens, sequences, confidence)
    return Memory(
        gpu_total_bytes=terms.total_bytes,
        budget_bytes=terms.budget_bytes(flags.gpu_memory_utilization),
        weights_bytes=terms.weights[worst],
        weights_extra_bytes=terms.weights_extra[worst] - drafts[worst] - adapters[worst],
        draft_bytes=drafts[worst],
        lora_bytes=adapters[worst],
        encoder_peak_bytes=terms.activation.encoder_bytes(tokens, sequences) if worst == 0 else 0,
        activation_peak_bytes=activation[worst],
        non_torch_bytes=terms.non_torch.bytes,
        cuda_graph_bytes=graph_bytes,
        cuda_graph_in_budget=terms.engine.graphs_in_budget,
        cuda_graph_actual_bytes=0 if terms.graphs is None else terms.graphs.actual_bytes(sequences, tokens),
        kv_cache_bytes=max(0, available[worst]),
        kv_block_bytes=terms.kv.block_bytes[worst],
        block_size=terms.kv.block_size,
        num_gpu_blocks=count if keeps else 1,
        kv_cache_tokens=terms.kv.printed_tokens(count, flags.max_model_len, tokens),
        max_concurrency=terms.kv.max_concurrency(count, flags.max_model_len, tokens) if keeps else sequences,
        admission_concurrency=(
            terms.kv.admission_concurrency(count, flags.max_model_len, tokens) if keeps else sequences
        ),
        running_concurrency=terms.kv.running_concurrency(count, flags.max_model_len) if keeps else sequences,
        kv_bytes_per_token=terms.kv_bytes_per_token,
        max_supported_model_len=_longest(model, terms, flags, sure),
        headroom_bytes=terms.headroom_bytes(flags.gpu_memory_utilization),
        headroom_needed_bytes=terms.headroom_needed_bytes(tokens, sequences),
        host_tier_tokens=terms.host_tier_tokens(flags),
        confidence_bytes=max(0, upper[worst] - central[worst]),
        ranks=_ranks(model, terms, available, blocks, activation, graph_bytes),
    )


def _longest(model: ModelProfile, terms: MemoryTerms, flags: EngineFlags, blocks: int) -> int:
    """The longest context that starts; where prompts are computed whole, no longer than one step."""
    tokens = flags.max_num_batched_tokens
    limit = model.max_model_len if terms.layout.enable_chunked_prefill else min(model.max_model_len, tokens)
    if not terms.kv.keeps_cache:
        return limit if min(terms.available_kv_bytes(flags)) >= 0 else 0
    return terms.kv.max_supported_model_len(blocks, tokens, limit)


def _ranks(
    model: ModelProfile, terms: MemoryTerms, available: tuple[int, ...], blocks: tuple[int, ...],
    activation: tuple[int, ...], graph_bytes: int,
) -> tuple[RankMemory, ...]:  # fmt: skip
    """One entry per pipeline stage when there are several; ranks of one stage are alike."""
    if terms.stages == 1:
        return ()
    layers = stage_layers(model.num_hidden_layers, terms.stages)
    return tuple(
        RankMemory(
            stage=stage,
            layers=len(layers[stage]),
            weights_bytes=terms.weights[stage],
            weights_extra_bytes=terms.weights_extra[stage],
            activation_peak_bytes=activation[stage],
            non_torch_bytes=terms.non_torch.bytes,
            cuda_graph_bytes=graph_bytes,
            kv_cache_bytes=max(0, available[stage]),
            kv_block_bytes=terms.kv.block_bytes[stage],
            num_gpu_blocks=blocks[stage],
        )
        for stage in range(terms.stages)
    )


def memory_without_plan(setting: Setting) -> Memory:
    """What can be said of a layout that vLLM refuses: totals and weights; the pool is empty."""
    weights, extra = [0], [0]
    if setting.layout.pipeline_parallel_size <= setting.model.num_hidden_layers:
        weights = list(weight_bytes(setting.model, setting.quantization, setting.layout, setting.gpu))
        extra = list(weight_extra_bytes(setting.model, setting.quantization, setting.layout, setting.gpu))
    worst = max(range(len(weights)), key=weights.__getitem__)
    total = setting.gpu.memory_bytes
    budget = int(total * setting.flags.gpu_memory_utilization)
    return Memory(
        gpu_total_bytes=total,
        budget_bytes=budget,
        weights_bytes=weights[worst],
        weights_extra_bytes=extra[worst],
        activation_peak_bytes=0,
        non_torch_bytes=0,
        cuda_graph_bytes=0,
        cuda_graph_in_budget=setting.engine.graphs_in_budget,
        kv_cache_bytes=0,
        kv_block_bytes=0,
        block_size=setting.layout.block_size or setting.engine.default_block_size,
        num_gpu_blocks=0,
        kv_cache_tokens=0,
        max_concurrency=0.0,
        kv_bytes_per_token=0,
        max_supported_model_len=0,
        headroom_bytes=total - budget,
        headroom_needed_bytes=0,
    )
