"""How vLLM groups cache layers so that all groups share one pool of equally large blocks.

Source: vLLM 0.33 `v1/core/kv_cache_planning.py:get_kv_cache_groups, unify_kv_cache_spec_page_size,
_get_kv_cache_groups_uniform_page_size, _project_kv_cache_groups_to_worker`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.kv.pages import ceil_div

CacheKind = Literal[
    "full", "latent", "indexer", "sliding_window", "chunked_local", "state", "resident", "hot", "cross"
]  # fmt: skip

_FULL_LENGTH: frozenset[CacheKind] = frozenset({"full", "latent", "indexer"})


def _least(one: int, other: int) -> int:
    """Return the smaller, element by element where arrays meet."""
    return one + (other - one) * (other < one)


@dataclass(frozen=True, slots=True)
class DecodeStep:
    """Tokens that one decode step adds to a request beside those processed: none but the next one without drafts."""

    speculative_tokens: int = 0
    """Draft tokens that are verified per step."""
    lookahead_tokens: int = 0
    """Slots past the verified tokens that the drafter writes (`VllmConfig.num_lookahead_tokens`)."""
    in_flight_steps: int = 0
    """Steps that are scheduled but not processed: windows still keep their tokens (asynchronous scheduling)."""

    @property
    def allocated_tokens(self) -> int:
        """Slots that a step must find: one token, the drafts, the lookahead."""
        return 1 + self.speculative_tokens + self.lookahead_tokens

    @property
    def in_flight_tokens(self) -> int:
        """Tokens of the steps before it that are not processed yet."""
        return self.in_flight_steps * (1 + self.speculative_tokens)


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """What one layer keeps: pages of `block_size` tokens, or one state page (`block_size` then counts nothing).

    `shape` holds what must agree inside a group beyond the page size (KV heads, bytes per head).
    """

    kind: CacheKind
    block_size: int
    page_bytes: int
    shape: tuple[int, ...] = ()
    window_tokens: int | None = None
    state_pages: int = 0
    own_bytes: int = 0
    """Bytes of the page that hold data; the rest is padding."""

    def pages_per_request(
        self, max_model_len: int, in_flight_tokens: int, context_parallel: int, max_num_batched_tokens: int = 0
    ) -> int:
        """Return pages that one request of `max_model_len` tokens takes (`max_memory_usage_bytes` / page).

        Cross attention is planned for as many encoder tokens as one step may hold, whatever an item takes
        (`CrossAttentionSpec`).
        """
        if self.kind == "cross":
            return ceil_div(max_num_batched_tokens, self.block_size)
        if self.kind in ("state", "hot"):
            return self.state_pages
        if self.kind == "resident":
            return ceil_div(min(in_flight_tokens, max_model_len), self.block_size)
        if self.window_tokens is None:
            return ceil_div(ceil_div(max_model_len, context_parallel), self.block_size)
        if self.kind == "chunked_local":
            return ceil_div(min(self.window_tokens + in_flight_tokens, max_model_len), self.block_size)
        # One page more, because the window need not start at a page boundary.
        return ceil_div(min(self.window_tokens - 1 + in_flight_tokens, max_model_len), self.block_size) + 1

    def pages_while_decoding(self, context: int, step: DecodeStep, context_parallel: int) -> int:
        """Return the most pages that a request of `context` tokens holds while it decodes.

        Before every step vLLM frees what lies outside the window of the tokens processed so far
        (`v1/core/kv_cache_manager.py:allocate_slots`, `single_type_kv_cache_manager.py:remove_skipped_blocks`), so a
        window keeps its own tokens, the step in flight and the step being allocated, wherever they start in a page.
        Element by element where `context` is an array.
        """
        if self.kind == "state":
            return 1 + step.speculative_tokens
        if self.kind in ("hot", "resident"):
            return self.state_pages
        if self.kind == "cross":
            return self._encoder_pages + 0 * context
        whole = ceil_div(ceil_div(context - 1 + step.allocated_tokens, context_parallel), self.block_size)
        if self.window_tokens is None:
            return whole
        span = self.window_tokens - 1 + step.in_flight_tokens + step.allocated_tokens
        if self.kind == "chunked_local":
            # A chunk starts at a page boundary and is dropped whole.
            return _least(whole, ceil_div(span, self.block_size))
        return _least(whole, ceil_div(span - 1, self.block_size) + 1)

    def pages_at_admission(
        self, prompt_tokens: int, in_flight_tokens: int, step: DecodeStep, context_parallel: int
    ) -> int:
        """Return the pages that must be free before a prompt of `prompt_tokens` may start.

        The whole prompt, windows capped at what chunks in flight can hold (`scheduler_reserve_full_isl`,
        `SlidingWindowSpec.max_admission_blocks_per_request`). A state needs the pages of its prefill: the running one,
        and with prefix caching the one that it is copied from.
        """
        if self.kind == "state":
            return _least(self.state_pages, 2 + step.speculative_tokens)
        if self.kind in ("hot", "resident"):
            return self.pages_per_request(prompt_tokens, in_flight_tokens, context_parallel)
        if self.kind == "cross":
            return self._encoder_pages + 0 * prompt_tokens
        tokens = prompt_tokens + step.lookahead_tokens
        whole = ceil_div(ceil_div(tokens, context_parallel), self.block_size)
        if self.window_tokens is None:
            return whole
        if self.kind == "chunked_local":
            return _least(whole, ceil_div(self.window_tokens + in_flight_tokens, self.block_size))
        return _least(whole, ceil_div(self.window_tokens - 1 + in_flight_tokens, self.block_size) + 1)

    @property
    def _encoder_pages(self) -> int:
        """Pages of one item's encoder tokens."""
        return ceil_div(self.window_tokens or 0, self.block_size)


@dataclass(frozen=True, slots=True)
class CacheGroup:
    """Layers that share one block table; `stage_bytes` are their pages summed on each pipeline stage."""

    layer: CacheLayer
    num_layers: int
    stage_bytes: tuple[int, ...]


def promote_windows(layers: Sequence[CacheLayer]) -> list[CacheLayer]:
    """Return the layers as they are planned without the hybrid manager: windows keep every token beside full layers.

    Raises:
        LayoutRefused: layers of several kinds remain, such as recurrent states beside attention.
    """
    promoted = _promote(layers)
    if promoted and not _one_group(promoted):
        message = "Failed to promote local KV cache specs to one unified type."
        raise LayoutRefused(Violation(rule="compatibility", message=message))
    return promoted


def _promote(layers: Sequence[CacheLayer]) -> list[CacheLayer]:
    # As in vLLM, only what stands beside layers that keep every token is promoted.
    full = [layer for layer in layers if layer.kind in _FULL_LENGTH]
    if not full:
        return list(layers)
    block_size = full[0].block_size
    windows = ("sliding_window", "chunked_local")
    return [_promoted(layer, block_size) if layer.kind in windows else layer for layer in layers]


def _promoted(layer: CacheLayer, block_size: int) -> CacheLayer:
    page = layer.own_bytes // layer.block_size * block_size
    return replace(layer, kind="full", block_size=block_size, page_bytes=page, own_bytes=page, window_tokens=None)


def group_layers(layers: Sequence[CacheLayer], stages: Sequence[range]) -> tuple[CacheGroup, ...]:
    """Group the cache layers (in model order) and project the groups on pipeline stages.

    `stages` are ranges of positions in `layers`. One group when all layers take the same number of pages; otherwise
    pages are made equal and every kind is split into groups of the smallest kind's size (the largest kind's size when
    that is less than 1.5 times as big), dealt round robin so that stages get equal shares.

    Raises:
        LayoutRefused: the page sizes cannot be made equal.
    """
    if not layers:
        return ()
    if _one_group(layers):
        return (_group(layers, tuple(range(len(layers))), stages),)
    unified = _equal_pages(layers)
    buckets: dict[CacheLayer, list[int]] = {}
    known: dict[int, list[int]] = {}
    for position, layer in enumerate(unified):
        if id(layer) not in known:
            known[id(layer)] = buckets.setdefault(layer, [])
        known[id(layer)].append(position)
    size = _group_size([len(positions) for positions in buckets.values()])
    groups: list[CacheGroup] = []
    for positions in buckets.values():
        count = ceil_div(len(positions), size)
        groups.extend(_group(unified, tuple(positions[part::count]), stages) for part in range(count))
    return tuple(groups)


def _one_group(layers: Sequence[CacheLayer]) -> bool:
    """Tell whether every layer needs the same number of pages, so that one block table serves all."""
    kinds = set({id(layer): layer for layer in layers}.values())
    first = layers[0]
    if len({layer.block_size for layer in kinds}) > 1:
        return False
    if all(layer.kind in _FULL_LENGTH for layer in kinds):
        return True
    if all(layer.kind == "state" for layer in kinds):
        return len({(layer.page_bytes, layer.state_pages) for layer in kinds}) == 1
    return all(layer.kind == first.kind and layer.window_tokens == first.window_tokens for layer in kinds)


def _equal_pages(layers: Sequence[CacheLayer]) -> list[CacheLayer]:
    objects = {id(layer): layer for layer in layers}
    largest = max(layer.page_bytes for layer in objects.values())
    enlarged = {identity: _with_page(layer, largest) for identity, layer in objects.items()}
    return [enlarged[id(layer)] for layer in layers]


def _with_page(layer: CacheLayer, page_bytes: int) -> CacheLayer:
    if layer.page_bytes == page_bytes:
        return layer
    if layer.kind == "state":
        return replace(layer, page_bytes=page_bytes)
    if page_bytes % layer.page_bytes == 0:
        factor = page_bytes // layer.page_bytes
        return replace(
            layer, page_bytes=page_bytes, block_size=layer.block_size * factor, own_bytes=layer.own_bytes * factor
        )
    if layer.kind in ("latent", "indexer"):
        raise LayoutRefused(
            Violation(
                rule="compatibility",
                message=(
                    f"A latent-attention page of {layer.page_bytes} bytes does not divide the largest page of "
                    f"{page_bytes} bytes and cannot be padded."
                ),
                needed=page_bytes,
                available=layer.page_bytes,
                unit="bytes",
            )
        )
    return replace(layer, page_bytes=page_bytes)


def _group_size(counts: Sequence[int]) -> int:
    smallest, largest = min(counts), max(counts)
    return largest if largest < smallest * 1.5 else smallest


def _group(layers: Sequence[CacheLayer], positions: tuple[int, ...], stages: Sequence[range]) -> CacheGroup:
    stage_bytes = tuple(sum([layers[p].page_bytes for p in positions if p in stage]) for stage in stages)
    return CacheGroup(layer=layers[positions[0]], num_layers=len(positions), stage_bytes=stage_bytes)
