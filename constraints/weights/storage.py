"""Bytes of one sharded weight tensor in one storage format, scales, zero points and small scalars included.

Shapes of the parameters that vLLM 0.33 allocates before loading: `layers/quantization/{fp8,auto_awq,auto_gptq,modelopt,
mxfp4,moe_wna16}.py` and `compressed_tensors/`.
"""

from math import gcd
from typing import Literal, NamedTuple

from vllm_opt.profiles.nouns.model import CheckpointQuantization
from vllm_opt.profiles.nouns.quantization import Quantization

HALF_BYTES = 2
SCALE_BLOCK = 128
Method = Literal["none", "fp8", "compressed-tensors", "modelopt", "awq", "gptq", "mxfp4"]
"""The loader inside vLLM: formats with equal scales still differ by a few scalars per matrix."""


class StorageFormat(NamedTuple):
    """How one matrix is stored. `group` counts input columns per scale; for blocks it is the side of the square."""

    bits: int
    granularity: Literal["none", "tensor", "channel", "block", "group"]
    scale_bytes: int
    group: int
    zero_point_bits: int
    method: Method
    static_input_scale: bool = False
    weight_only: bool = False

    def attention_scalar_bytes(self, *, latent: bool) -> int:
        """Return the bytes of the KV-cache and query scales that vLLM keeps per attention layer.

        fp8 and modelopt: four 2-byte scalars; compressed-tensors: three 4-byte scales and three 2-byte zero points;
        latent attention has them with modelopt only.
        """
        if latent:
            return 8 if self.method == "modelopt" else 0
        return {"fp8": 8, "modelopt": 8, "compressed-tensors": 18}.get(self.method, 0)


UNQUANTIZED = StorageFormat(16, "none", 0, 1, 0, "none")


def standard_format(quantization_id: str, method: Method) -> StorageFormat | None:
    """Return the format of one part of a mixed checkpoint that `method` loads; None when there is no rule for it."""
    if quantization_id in ("bf16", "fp16"):
        return UNQUANTIZED
    per_channel = StorageFormat(8, "channel", 4, 1, 0, "compressed-tensors")
    # ModelOpt calls its per-tensor format FP8 and always stores input scales with it.
    per_tensor = StorageFormat(8, "tensor", 4, 1, 0, method, static_input_scale=True)
    return {
        "fp8": per_tensor if method == "modelopt" else per_channel,
        "fp8_per_tensor": per_tensor,
        "fp8_block": StorageFormat(8, "block", 4, SCALE_BLOCK, 0, method),
        "mxfp8": StorageFormat(8, "group", 1, 32, 0, method),
        "mxfp4": StorageFormat(4, "group", 1, 32, 0, "mxfp4"),
        "nvfp4": StorageFormat(4, "group", 1, 16, 0, method),
        "nvfp4_w4a16": StorageFormat(4, "group", 1, 16, 0, method, weight_only=True),
    }.get(quantization_id)


def storage_format(quantization: Quantization, native: CheckpointQuantization | None = None) -> StorageFormat:
    """Return the format of `quantization`, with the group size and static scales of a published checkpoint if given."""
    group = (native.group_size if native else None) or quantization.group_size or 1
    method = _stated_method(native) or _method(quantization)
    static = native.static_activation_scales if native else quantization.scale_granularity == "tensor"
    if quantization.scale_granularity == "none":
        return UNQUANTIZED
    return StorageFormat(
        quantization.weight_bits,
        quantization.scale_granularity,
        quantization.scale_bytes,
        group,
        quantization.zero_point_bits,
        method,
        static,
        quantization.activation_bits == 16,
    )


def _stated_method(native: CheckpointQuantization | None) -> Method | None:
    """Return the loader that a checkpoint's own `quant_method` names; None when it names another or none."""
    stated = native.method if native else ""
    if stated.startswith("modelopt"):
        return "modelopt"
    return "compressed-tensors" if stated == "compressed-tensors" else None


def _method(quantization: Quantization) -> Method:
    """Return the loader, told by the shape of the scales; GPTQ only by its name, as AWQ stores the same bytes."""
    if quantization.scale_granularity == "none":
        return "none"
    if quantization.scale_granularity in ("tensor", "block"):
        return "fp8"
    if quantization.scale_granularity == "channel":
        return "compressed-tensors"
    if quantization.zero_point_bits:
        return "gptq" if "gptq" in quantization.id else "awq"
    if quantization.scale_bytes == 1:
        return "mxfp4" if quantization.id.startswith(("mxfp4", "gpt")) else "modelopt"
    return "compressed-tensors"


def linear_bytes(row_groups: tuple[int, ...], columns: int, storage: StorageFormat) -> int:
    """Return the bytes of one linear weight of `sum(row_groups)` rows by `columns`, as one rank allocates it.

    With n = rows x columns: weights `n * bits / 8` plus, by granularity,
    tensor: 4 bytes per row group (twice with a static input scale); channel: 4 bytes per row;
    block: 4 bytes per started block of 128 x 128; group: per started group of columns a scale and a zero point.
    NVFP4 adds a weight scale of 4 bytes and an input scale of 4 (weight-only: 2) per row group;
    compressed-tensors int4 the shape (16 bytes).
    """
    rows = sum(row_groups)
    if storage.granularity == "none":
        return rows * columns * HALF_BYTES
    stored = -(-rows * columns * storage.bits // 8)
    if storage.granularity == "tensor":
        return stored + storage.scale_bytes * len(row_groups) * (2 if storage.static_input_scale else 1)
    if storage.granularity == "channel":
        return stored + storage.scale_bytes * rows
    if storage.granularity == "block":
        return stored + storage.scale_bytes * -(-rows // storage.group) * -(-columns // storage.group)
    return stored + _group_scales(rows, columns, storage) + _linear_scalars(len(row_groups), storage)


def _group_scales(rows: int, columns: int, storage: StorageFormat) -> int:
    groups = rows * max(1, columns // storage.group)
    return groups * storage.scale_bytes + -(-groups * storage.zero_point_bits // 8)


def _linear_scalars(row_groups: int, storage: StorageFormat) -> int:
    if _is_nvfp4(storage):
        return (6 if storage.weight_only else 8) * row_groups
    return 16 if storage.method == "compressed-tensors" else 0


def _is_nvfp4(storage: StorageFormat) -> bool:
    return storage.bits == 4 and storage.group == 16 and storage.scale_bytes == 1


def _is_mxfp4(storage: StorageFormat) -> bool:
    return storage.bits == 4 and storage.group == 32 and storage.scale_bytes == 1


def expert_bytes(row_groups: tuple[int, ...], columns: int, intermediate: int, storage: StorageFormat) -> int:
    """Return the bytes of one matrix of one routed expert, whose shard of the inner width is `intermediate`.

    As `linear_bytes`, but scale grids that the inner width does not divide are refined: blocks to their greatest
    common divisor with it (`fused_moe/oracle/fp8.py`), int4 groups by halving (`moe_wna16.py`, which also drops the
    zero points of GPTQ). GPTQ allocates a 2-byte bias per row.
    """
    rows = sum(row_groups)
    stored = -(-rows * columns * storage.bits // 8)
    if storage.granularity == "none":
        return rows * columns * HALF_BYTES
    if storage.granularity == "tensor":
        return stored + storage.scale_bytes * (len(row_groups) + storage.static_input_scale)
    if storage.granularity == "channel":
        return stored + storage.scale_bytes * rows
    if storage.granularity == "block":
        side = gcd(storage.group, intermediate)
        return stored + storage.scale_bytes * -(-rows // side) * -(-columns // side)
    return _grouped_expert_bytes(row_groups, columns, intermediate, storage, stored)


def _grouped_expert_bytes(
    row_groups: tuple[int, ...], columns: int, intermediate: int, storage: StorageFormat, stored: int
) -> int:
    rows = sum(row_groups)
    if storage.method in ("awq", "gptq") and intermediate % storage.group:
        group = storage.group
        while intermediate % group and group > 32:
            group //= 2
        zero_point_bits = 0 if storage.method == "gptq" else storage.zero_point_bits
        return stored + _group_scales(rows, columns, storage._replace(group=group, zero_point_bits=zero_point_bits))
    scalars = 0
    if _is_nvfp4(storage):
        scalars = 8 * len(row_groups)
    elif storage.method == "compressed-tensors" and not _is_mxfp4(storage):
        scalars = 4
    elif storage.method == "gptq":
        scalars = HALF_BYTES * rows
    return stored + _group_scales(rows, columns, storage) + scalars
