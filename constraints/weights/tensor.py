"""WeightTensor: the shape of one weight matrix, how tensor parallelism divides it, and the part it belongs to.

A fused projection (qkv, gate and up) is one tensor of several row groups, because scales are stored per group.
"""

from typing import Literal, NamedTuple

from vllm_opt.profiles.nouns.model import Part

Role = Literal[
    "attention",
    "state_space",
    "dense_mlp",
    "shared_experts",
    "router",
    "routed_experts",
    "norm",
    "embedding",
    "lm_head",
    "vision",
]
"""What a tensor is for, in reports and in the latency model."""


class Rows(NamedTuple):
    """Output rows that tensor parallelism deals out in whole pieces; a rank always holds at least one piece."""

    size: int
    pieces: int

    def on_rank(self, ranks: int) -> int:
        """Return the rows of the fullest rank: `size / pieces * ceil(pieces / ranks)`; KV heads are replicated so."""
        return self.size // self.pieces * -(-self.pieces // ranks)


class WeightTensor(NamedTuple):
    """One weight matrix (or vector) of a layer, with its bias.

    `part` decides the format it is stored in (None: always unquantised); `copies` is the number of experts.
    `element_bytes` is None where the model's dtype applies.
    """

    name: str
    role: Role
    part: Part | None
    rows: tuple[Rows, ...]
    columns: int
    columns_sharded: bool = False
    row_bias: bool = False
    copies: int = 1
    element_bytes: int | None = None
    column_block: int = 1
    """Sharded columns are dealt out in whole blocks of so many."""
    row_multiple: int = 1
    """The rows of one rank are padded to a multiple of this."""
    least_shard: int = 0
    """A rank's share of an expert's inner width is padded to this where TP divides experts."""

    def columns_on_rank(self, ranks: int) -> int:
        """Return the columns of the fullest rank."""
        if not self.columns_sharded:
            return self.columns
        if self.column_block == 1:
            return -(-self.columns // ranks)
        blocks = -(-self.columns // self.column_block)
        return self.column_block * -(-blocks // ranks)

    @property
    def parameters(self) -> int:
        """Elements over all ranks and copies, bias included."""
        rows = sum(part.size for part in self.rows)
        return self.copies * rows * (self.columns + self.row_bias)


def whole(size: int) -> Rows:
    """Return rows that every rank holds whole."""
    return Rows(size, 1)


def split(size: int) -> Rows:
    """Return rows that are divided evenly."""
    return Rows(size, size)


def vector(
    name: str, role: Role, size: int, *, sharded: bool = False, element_bytes: int | None = None
) -> WeightTensor:
    """Return an unquantised vector such as a norm."""
    return WeightTensor(name, role, None, (Rows(size, size if sharded else 1),), 1, element_bytes=element_bytes)
