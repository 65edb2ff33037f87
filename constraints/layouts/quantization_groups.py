"""Quantisation scales must not straddle the shards of tensor parallelism.

Sources: vLLM 0.33 `layers/quantization/auto_awq.py:create_weights`, `utils/fp8_utils.py:validate_fp8_block_shape`,
`utils/marlin_utils.py:verify_marlin_supports_shape`, `compressed_tensors_moe_wna16.py`, `moe_wna16.py`.
"""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.weights.formats import layer_variants, storage_of_parts
from vllm_opt.constraints.weights.storage import StorageFormat
from vllm_opt.constraints.weights.tensor import WeightTensor
from vllm_opt.constraints.weights.tensors import layer_tensors
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

AWQ_PACKED_OUTPUTS = 8
"""AWQ packs eight 4-bit outputs into one 32-bit word."""

SMALLEST_EXPERT_GROUP = 32
"""`moe_wna16` halves the group of AWQ and GPTQ experts until it divides, down to this."""

NVFP4_GROUP = 16


def group_violations(model: ModelProfile, quantization: Quantization, layout: Layout) -> Iterator[Violation]:
    """Yield every quantised matrix whose shard does not hold whole scale groups or blocks."""
    if quantization.scale_granularity not in ("group", "block") and model.native_quantization is None:
        return
    variants, _ = layer_variants(model, quantization)
    for kind, overrides in variants:
        formats = storage_of_parts(model, quantization, overrides)
        for tensor in layer_tensors(model.layer_kinds[kind], model.hidden_size):
            storage = formats.of(tensor.part)
            if storage.granularity == "group":
                yield from _grouped(tensor, storage, layout)
            elif storage.granularity == "block" and tensor.role != "routed_experts":
                yield from _blocked(tensor, storage.group, layout.tensor_parallel_size)


def _violation(message: str, size: int, group: int) -> Violation:
    return Violation(rule="divisibility", message=message, needed=group, available=size, unit="weights per scale")


def _grouped(tensor: WeightTensor, storage: StorageFormat, layout: Layout) -> Iterator[Violation]:
    if storage.method == "mxfp4":
        return
    if tensor.role == "routed_experts":
        yield from _grouped_experts(tensor, storage, layout)
        return
    ranks = layout.tensor_parallel_size
    columns = tensor.columns // ranks if tensor.columns_sharded else tensor.columns
    rows = sum(part.on_rank(ranks) for part in tensor.rows)
    if columns % storage.group:
        yield _violation(_group_message(tensor, storage, columns), columns, storage.group)
    elif storage.method == "awq" and rows % AWQ_PACKED_OUTPUTS:
        message = (
            "The output size is not aligned with the quantized weight shape. This can be caused by too large tensor "
            f"parallel size. ({tensor.name}: {rows} outputs, packed by {AWQ_PACKED_OUTPUTS})"
        )
        yield _violation(message, rows, AWQ_PACKED_OUTPUTS)


def _group_message(tensor: WeightTensor, storage: StorageFormat, columns: int) -> str:
    detail = f"({tensor.name}: {columns} inputs per rank, groups of {storage.group})"
    if storage.method == "awq":
        return (
            "The input size is not aligned with the quantized weight shape. "
            f"This can be caused by too large tensor parallel size. {detail}"
        )
    if storage.group == NVFP4_GROUP:
        return f"Unsupported model when in features size is not multiple of 16 {detail}"
    return f"Failed to find a kernel that can implement the WNA16 linear layer. {detail}"


def _grouped_experts(tensor: WeightTensor, storage: StorageFormat, layout: Layout) -> Iterator[Violation]:
    ranks = 1 if layout.expert_parallel else layout.tensor_parallel_size * layout.data_parallel_size
    columns = tensor.columns // ranks if tensor.columns_sharded else tensor.columns
    group = storage.group
    while storage.method in ("awq", "gptq") and columns % group and group > SMALLEST_EXPERT_GROUP:
        group //= 2
    if columns % group:
        message = (
            "CompressedTensors WNA16 MoE with static group scales requires the MoE intermediate size per "
            f"tensor-parallel partition ({columns}) to be divisible by group_size ({group}). Scale groups would "
            "otherwise cross TP shard boundaries; use a compatible TP size or enable expert parallelism."
        )
        yield _violation(message, columns, group)


def _blocked(tensor: WeightTensor, block: int, ranks: int) -> Iterator[Violation]:
    """128 x 128 blocks: inputs of row-parallel matrices, outputs of divided ones; fused outputs may straddle blocks."""
    columns = tensor.columns_on_rank(ranks)
    if ranks > 1 and tensor.columns_sharded and columns % block:
        message = (
            f"Weight input_size_per_partition = {columns} is not divisible by weight quantization "
            f"block_k = {block}. ({tensor.name})"
        )
        yield _violation(message, columns, block)
    if ranks > 1 and len(tensor.rows) == 1 and tensor.rows[0].pieces > 1:
        size = tensor.rows[0].on_rank(ranks)
        if size % block:
            message = (
                f"Weight output_partition_size = {size} is not divisible by weight quantization "
                f"block_n = {block}. ({tensor.name})"
            )
            yield _violation(message, size, block)
