"""One tensor on one rank: how a layer is divided, and how the kernels of experts pad their share."""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.formats import PartFormats
from vllm_opt.constraints.weights.storage import HALF_BYTES, StorageFormat, expert_bytes, linear_bytes
from vllm_opt.constraints.weights.tensor import Role, WeightTensor
from vllm_opt.profiles.nouns.gpu import GpuProfile


class Shards:
    """How one layer is divided: attention and dense by TP, experts by TP x DP or dealt out whole (expert parallel)."""

    __slots__ = (
        "expert_ranks", "half_expert_multiple", "hopper_padding", "inner_ranks", "ranks", "redundant", "whole_roles",
    )  # fmt: skip

    def __init__(
        self,
        ranks: int,
        data_ranks: int,
        *,
        expert_parallel: bool,
        hopper_padding: bool,
        whole_roles: frozenset[Role] = frozenset(),
        half_expert_multiple: int = 1,
        redundant: int = 0,
    ) -> None:
        """`expert_ranks` share whole experts, `inner_ranks` share each expert's inner width; one of them is 1."""
        everyone = ranks * data_ranks
        self.ranks = ranks
        self.expert_ranks = everyone if expert_parallel else 1
        self.inner_ranks = 1 if expert_parallel else everyone
        self.hopper_padding = hopper_padding
        self.whole_roles = whole_roles if expert_parallel and ranks > 1 and data_ranks > 1 else frozenset()
        self.half_expert_multiple = half_expert_multiple
        self.redundant = redundant


def pads_for_hopper(layout: Layout, gpu: GpuProfile | None) -> bool:
    """Return whether mxfp4 experts are padded as on compute capability 9 (the inner width to 64, else 128 and 256)."""
    if gpu is not None:
        return gpu.compute_capability is not None and gpu.compute_capability[0] == 9
    return layout.gpu.startswith(("h", "gh"))


def tensor_bytes(tensor: WeightTensor, formats: PartFormats, shards: Shards) -> int:
    """Return the bytes of one tensor with its bias on TP rank 0."""
    # Mixed checkpoints list the large projections of a delta net; its small b and a projection stays 16-bit.
    mixed = tensor.name == "in_proj_ba" and "state_space" in formats.overrides
    storage = formats.of(None if mixed else tensor.part)
    if tensor.role == "routed_experts":
        return _routed_bytes(tensor, storage, shards)
    ranks = 1 if tensor.role in shards.whole_roles else shards.ranks
    rows = tuple(group.on_rank(ranks) for group in tensor.rows)
    columns = tensor.columns_on_rank(ranks)
    if tensor.row_multiple > 1:
        rows = (round_up(sum(rows), tensor.row_multiple),)
    bias = sum(rows) * HALF_BYTES if tensor.row_bias else 0
    if tensor.part is None or storage.granularity == "none":
        return sum(rows) * columns * (tensor.element_bytes or HALF_BYTES) + bias
    return linear_bytes(rows, columns, storage) + bias


def _routed_bytes(tensor: WeightTensor, storage: StorageFormat, shards: Shards) -> int:
    experts = -(-(tensor.copies + shards.redundant) // shards.expert_ranks)
    rows = tuple(group.on_rank(1 if tensor.columns_sharded else shards.inner_ranks) for group in tensor.rows)
    columns = -(-tensor.columns // shards.inner_ranks) if tensor.columns_sharded else tensor.columns
    inner = columns if tensor.columns_sharded else rows[0]
    if shards.inner_ranks > 1 and inner < tensor.least_shard:
        inner = tensor.least_shard
        rows, columns = (rows, inner) if tensor.columns_sharded else ((inner,) * len(rows), columns)
    if storage.granularity == "none" and shards.half_expert_multiple > 1:
        inner = round_up(inner, shards.half_expert_multiple)
        rows, columns = (rows, inner) if tensor.columns_sharded else ((inner,) * len(rows), columns)
    if storage.method == "mxfp4":
        padded_inner = round_up(inner, 64 if shards.hopper_padding else 128)
        hidden = columns if not tensor.columns_sharded else rows[0]
        hidden = hidden if shards.hopper_padding else round_up(hidden, 256)
        rows = (hidden,) if tensor.columns_sharded else (padded_inner,) * len(rows)
        columns, inner = padded_inner if tensor.columns_sharded else hidden, padded_inner
    bias = sum(rows) * HALF_BYTES if tensor.row_bias else 0
    return experts * (expert_bytes(rows, columns, inner, storage) + bias)


def round_up(value: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `value`."""
    return -(-value // multiple) * multiple
