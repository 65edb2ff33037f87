"""The request that an estimate answers: every default filled in, and which of its users find no place."""

from bisect import bisect_right

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.held_blocks import held_blocks, tokens_held
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.contract.assumptions import assumed_in_estimate
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest, clip_lengths, typical_lengths
from vllm_opt.optimizer.estimation.media import lengths_with_images
from vllm_opt.optimizer.estimation.resolution import Setting
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.workload import ContextsInFlight, Targets
from vllm_opt.profiles.reading.quantities import counted


def typical_request(model: ModelProfile, request: EstimateRequest, max_model_len: int) -> tuple[int, int]:
    """Input and output tokens of the typical request: an embedding is all prompt, a clip of speech nearly none."""
    if model.runner == "transcription":
        return clip_lengths(max_model_len, request.input_tokens, request.output_tokens)
    answer = 1 if model.runner == "pooling" else request.output_tokens
    return typical_lengths(max_model_len, request.input_tokens, answer)


def resolved_request(
    setting: Setting, request: EstimateRequest, flags: EngineFlags, memory: Memory, performance: Performance | None
) -> dict[str, object]:
    """The request with every default filled in."""
    lengths = typical_request(setting.model, request, flags.max_model_len)
    filled = request.model_dump(mode="json", exclude_none=True)
    filled.update(
        assumed=assumed_in_estimate(request, lengths, pooling=setting.model.runner == "pooling"),
        model=setting.model.id,
        gpu=setting.gpu.id,
        vllm_version=setting.engine.version,
        engine=setting.engine.engine,
        tensor_parallel_size=setting.layout.tensor_parallel_size,
        quantization=setting.quantization.id,
        input_tokens=lengths[0],
        output_tokens=lengths[1],
        gpu_memory_utilization=flags.gpu_memory_utilization,
        max_model_len=flags.max_model_len,
        max_num_seqs=flags.max_num_seqs,
        max_num_batched_tokens=flags.max_num_batched_tokens,
        block_size=memory.block_size,
        enable_prefix_caching=setting.layout.enable_prefix_caching,
        enable_chunked_prefill=setting.layout.enable_chunked_prefill,
        async_scheduling=setting.layout.async_scheduling,
    )
    if setting.model.runner == "pooling":
        filled["runner"] = "pooling"
    if performance is not None:
        filled["concurrency"] = performance.concurrency
    return filled


def unheld_users(
    setting: Setting, request: EstimateRequest, terms: MemoryTerms, flags: EngineFlags, memory: Memory
) -> tuple[Violation, ...]:
    """The concurrency asked against what is admitted and held.

    Sequences are counted at max_model_len, or where the typical lengths are stated at those, as `solve` sizes its
    plans (`Targets.contexts_in_flight`): the same flags are then enough for both.
    """
    if request.concurrency is None:
        return ()
    engines = setting.layout.data_parallel_size * setting.replicas
    held, length = min(flags.max_num_seqs, int(memory.running_concurrency)), "max_model_len"
    if request.input_tokens is not None or request.output_tokens is not None:
        targets = _typical(setting, request, flags)
        held = max(held, _most_held(terms, targets, flags, memory))
        length = counted(tokens_held(terms.kv, targets, held), "token") if held else length
    if held * engines >= request.concurrency:
        return ()
    return (
        Violation(
            rule="concurrency",
            message=(
                f"{counted(held * engines, 'sequence')} of {length} run at once and {request.concurrency:,} are asked; "
                "lower max_model_len, use an fp8 KV cache, raise max_num_seqs, or add GPUs"
            ),
            needed=request.concurrency,
            available=held * engines,
            unit="sequences",
        ),
    )


def _typical(setting: Setting, request: EstimateRequest, flags: EngineFlags) -> Targets:
    lengths = typical_request(setting.model, request, flags.max_model_len)
    lengths = lengths_with_images(lengths, setting.model, request, request.input_tokens)
    return Targets(
        target_context=flags.max_model_len, concurrency=1, mean_context=flags.max_model_len,
        contexts_in_flight=ContextsInFlight.of_lengths(*lengths, quantile=normal_quantile(request.confidence)),
    )  # fmt: skip


def _most_held(terms: MemoryTerms, targets: Targets, flags: EngineFlags, memory: Memory) -> int:
    """Sequences of typical length that one engine admits and holds, one full context beside them."""

    def needed(sequences: int) -> int:
        return held_blocks(terms.kv, targets, sequences, flags.max_num_batched_tokens)

    return bisect_right(range(1, flags.max_num_seqs + 1), memory.num_gpu_blocks, key=needed)
