"""The KV-cache formulas with their numbers in: bytes per token, blocks, tokens and sequences at once."""

from math import ceil

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.rules_of_thumb import multi_head_kv_bytes_per_token, why_not_multi_head
from vllm_opt.optimizer.contract.answer import Equation, Memory
from vllm_opt.profiles.nouns.model import Attention, ModelProfile


def kv_equations(
    model: ModelProfile, layout: Layout, flags: EngineFlags, terms: MemoryTerms, memory: Memory
) -> tuple[Equation, ...]:
    """Return the formulas from one token to the sequences at once."""
    return (*_rule_of_thumb(model), _per_token(model, layout, memory), *_blocks(flags, terms, memory))


def _attention_layers(model: ModelProfile) -> list[Attention]:
    return [layer.mixer for layer in model.layers if isinstance(layer.mixer, Attention)]


def _rule_of_thumb(model: ModelProfile) -> tuple[Equation, ...]:
    """The multi-head formula that is often quoted, and why it misleads for this model."""
    result = multi_head_kv_bytes_per_token(model.num_hidden_layers, model.hidden_size)
    why = why_not_multi_head(model)
    note = "exact for this model at 16 bits on one GPU" if why is None else f"misleads for this model: {why}"
    return (
        Equation(
            name="KV per token, rule of thumb",
            formula="2 x layers x hidden size x 2 bytes (plain multi-head attention)",
            values=f"2 x {model.num_hidden_layers} x {model.hidden_size} x 2",
            result=result,
            unit="bytes",
            source=note,
        ),
    )


def _per_token(model: ModelProfile, layout: Layout, memory: Memory) -> Equation:
    """Exact where one kind of full attention fills the whole cache, else the sum over the groups."""
    mixers = _attention_layers(model)
    alike = len(set(mixers)) == 1 and len(mixers) == model.num_hidden_layers and mixers[0].kind == "full"
    stages, ranks = layout.pipeline_parallel_size, layout.tensor_parallel_size
    if alike:
        first, layers = mixers[0], ceil(model.num_hidden_layers / stages)
        heads = max(1, ceil(first.num_key_value_heads / ranks))
        width = first.head_dim + first.v_head_dim
        stored = memory.kv_bytes_per_token / (layers * heads * width)
        formula = "layers of the stage x key/value heads of the rank x (key + value width) x bytes per element"
        values = f"{layers} x {heads} x ({first.head_dim} + {first.v_head_dim}) x {stored:g}"
    else:
        formula = "sum over the layers that keep every token, padded to equal pages"
        values = "constraints/kv/groups.py lists the groups"
    return Equation(
        name="KV per token and GPU",
        formula=formula,
        values=values,
        result=memory.kv_bytes_per_token,
        unit="bytes",
        source="vLLM v1/kv_cache_interface.py",
    )


def _blocks(flags: EngineFlags, terms: MemoryTerms, memory: Memory) -> tuple[Equation, ...]:
    length, tokens = flags.max_model_len, flags.max_num_batched_tokens
    per_request = terms.kv.blocks_per_request(length, tokens)
    source = "vLLM v1/core/kv_cache_utils.py"
    blocks = Equation(
        name="blocks",
        formula="floor(KV cache pool / bytes per block), the fewest over the stages",
        values=f"floor({memory.kv_cache_bytes:,} / {memory.kv_block_bytes:,})",
        result=memory.num_gpu_blocks,
        unit="blocks",
        source=source,
    )
    request = Equation(
        name="blocks per sequence",
        formula="sum over the cache groups of ceil(tokens kept / block size); full attention keeps max-model-len",
        values=f"max-model-len {length:,}, block size {memory.block_size}",
        result=per_request,
        unit="blocks",
        source=source,
    )
    paged = terms.engine.printed_tokens == "blocks_times_size"
    concurrency = Equation(
        name="sequences at once",
        formula="blocks x block size / max-model-len" if paged else "blocks / blocks per sequence",
        values=f"{memory.num_gpu_blocks:,} x {memory.block_size} / {length:,}"
        if paged
        else f"{memory.num_gpu_blocks:,} / {per_request:,}",
        result=memory.max_concurrency,
        unit="sequences",
        source=source,
    )
    return blocks, request, concurrency
