"""CUDA-graph memory of many layouts at once: the same sums as `GraphMemory.bytes_at`."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.memory.overheads import GraphMemory, capture_sizes

Integers = NDArray[np.int64]
WIDEST = 2**30


class GraphTable:
    """`GraphMemory.bytes_at`, vectorised."""

    def __init__(self, graphs: Sequence[GraphMemory | None], z: float) -> None:
        self._base = np.array([item.base_bytes if item else 0 for item in graphs], dtype=np.int64)
        self._query = np.array([item.query_tokens if item else 1 for item in graphs], dtype=np.int64)
        self._floor = np.array([item.floor_bytes if item else 0 for item in graphs], dtype=np.int64)
        self._each = np.array([item.bytes_per_graph if item else 0 for item in graphs], dtype=np.int64)
        self._token = np.array([item.bytes_per_captured_token if item else 0 for item in graphs], dtype=np.int64)
        self._factor = np.array([1.0 + z * item.relative_spread if item else 1.0 for item in graphs])
        self._largest = np.array([item.max_size if item else 0 for item in graphs], dtype=np.int64)
        first = next((item for item in graphs if item is not None), None)
        self._capture = first.capture if first else None
        widest = int(self._largest.max(initial=0))
        self._asked = first.sizes if first else None
        sizes: tuple[int, ...] = ()
        if first is not None:
            sizes = first.sizes or capture_sizes(first.capture, widest, WIDEST, WIDEST)
        self._sizes = np.array(sizes, dtype=np.int64)

    def bytes(self, rows: Integers, tokens: int, sequences: Integers) -> Integers:
        """Graph bytes per row; 0 in eager mode."""
        capture = self._capture
        if capture is None:
            return np.zeros(len(rows), dtype=np.int64)
        sequences = sequences * self._query[rows]
        limit = self._largest[rows] if self._asked is None else np.full(len(rows), WIDEST)
        if self._asked is None and capture.sequences_factor is not None:
            limit = np.minimum(limit, capture.sequences_factor * sequences)
        if self._asked is not None or capture.bounded_by_batched_tokens:
            limit = np.minimum(limit, tokens)
        sizes = np.searchsorted(self._sizes, limit, side="right")
        graphs = sizes.copy()
        if capture.full_graphs:
            graphs = graphs + np.minimum(sizes, np.searchsorted(self._sizes, sequences, side="right"))
        last = self._sizes[np.maximum(sizes, 1) - 1]
        modelled = self._base[rows] + graphs * self._each[rows] + last * self._token[rows]
        central = np.maximum(self._floor[rows], modelled)
        upper = np.ceil(central * self._factor[rows]).astype(np.int64)
        return np.where(sizes == 0, 0, upper)
