"""The request that an estimate answers, with every default filled in."""

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.contract.assumptions import assumed_in_estimate
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest, clip_lengths, typical_lengths
from vllm_opt.optimizer.estimation.resolution import Setting
from vllm_opt.profiles.nouns.model import ModelProfile


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
