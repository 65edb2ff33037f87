"""The KV pool counted again: bytes of a block on every stage, and the blocks that requests take.

Covered are attention over all tokens, over sliding windows and over latents, alone or mixed, where every layer's page
has the same size; recurrent states, chunked windows, indexers and compressed caches are not. Tokens per block are taken
from the plan: which kernel asks for which block is a fact about vLLM's backends, not arithmetic.
"""

from dataclasses import dataclass
from math import ceil

from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject
from vllm_opt.profiles.nouns.model import Attention, LatentAttention

EIGHT_BIT = ("fp8", "fp8_e4m3", "fp8_e5m2")
CACHES_ALWAYS_16_BIT = ("FalconForCausalLM",)
FP8_ON_10 = ("GlmMoeDsaForCausalLM",)
NEVER_FLOAT16 = ("gemma2", "gemma3", "gemma3_text", "glm4")


@dataclass(frozen=True)
class Pages:
    """The cache of one layer: bytes of its page, and the window that it keeps (None: everything)."""

    stage: int
    bytes: int
    window: int | None


@dataclass(frozen=True)
class Pool:
    """One pool of equal blocks: bytes of a block per stage, and the groups of layers that each take blocks."""

    block_size: int
    block_bytes: tuple[int, ...]
    windows: tuple[int | None, ...]
    """Of each group of layers; None: every token."""
    null_blocks: int
    in_flight_batches: int
    kept_steps: int
    context_parallel: int

    def longest(self, tokens: int, step_tokens: int) -> int:
        """Blocks that start-up wants for one request of so many tokens, without the null block."""
        return sum(self._planned(window, tokens, step_tokens) for window in self.windows)

    def to_start(self, tokens: int, step_tokens: int, check: str) -> int | None:
        """Fewest blocks with which a release starts, by what it compares; None where that is not counted again."""
        if check == "pool_tokens":
            return ceil(tokens / self.block_size) * len(self.block_bytes)
        if check == "layers" and len(self.windows) > 1:
            return None
        return self.null_blocks + self.longest(tokens, step_tokens)

    def _planned(self, window: int | None, tokens: int, step_tokens: int) -> int:
        if window is None:
            return ceil(ceil(tokens / self.context_parallel) / self.block_size)
        return ceil(min(window - 1 + self.in_flight_batches * step_tokens, tokens) / self.block_size) + 1

    def decoding(self, tokens: int) -> int:
        """Most blocks that a running request of so many tokens holds."""
        total = 0
        for window in self.windows:
            whole = ceil(ceil(tokens / self.context_parallel) / self.block_size)
            if window is not None:
                whole = min(whole, ceil((window - 1 + self.kept_steps) / self.block_size) + 1)
            total += whole
        return total

    def starting(self, tokens: int, step_tokens: int) -> int:
        """Blocks that must be free before a prompt of so many tokens starts."""
        total = 0
        for window in self.windows:
            whole = ceil(ceil(tokens / self.context_parallel) / self.block_size)
            if window is not None:
                held = window - 1 + self.in_flight_batches * step_tokens
                whole = min(whole, ceil(held / self.block_size) + 1)
            total += whole
        return total

    def for_sequences(self, count: int, tokens: int, step_tokens: int) -> int:
        """Blocks of `count` sequences of so many tokens, one of which has just started."""
        extra = sum(
            max(0, start - run)
            for start, run in zip(self._each(tokens, step_tokens, start=True), self._each(tokens, 0), strict=True)
        )
        return self.null_blocks + count * self.decoding(tokens) + extra

    def _each(self, tokens: int, step_tokens: int, *, start: bool = False) -> list[int]:
        alone = [Pool(self.block_size, (), (window,), 0, *self._steps) for window in self.windows]
        return [pool.starting(tokens, step_tokens) if start else pool.decoding(tokens) for pool in alone]

    @property
    def _steps(self) -> tuple[int, int, int]:
        return self.in_flight_batches, self.kept_steps, self.context_parallel


def pool_of(subject: Subject) -> Pool:
    """Count the pool of one engine.

    Raises:
        OutOfReach: a kind of cache that is not counted again here.
    """
    plan, engine = subject.plan, subject.engine
    if engine.latent_expanded_head_dim is not None and _has_latents(subject):
        raise OutOfReach(f"how vLLM {engine.version} caches latent attention")
    size = plan.memory.block_size
    layers = [page for page in _layers(subject, size) if page is not None]
    if not layers:
        raise OutOfReach("a model without a cache")
    if len({page.bytes for page in layers}) > 1 and any(page.window for page in layers):
        raise OutOfReach("windows beside pages of another size")
    if subject.plan.flags.get("disable-hybrid-kv-cache-manager") or not engine.hybrid_kv_cache:
        layers = _without_windows(layers)
    windows, block_bytes = _groups(layers, len(subject.stages))
    concurrent = engine.sliding_window_in_flight == "concurrent_batches"
    batches = {"none": 0, "one_batch": 1}.get(
        engine.sliding_window_in_flight, plan.pipeline_parallel_size + int(subject.asynchronous)
    )
    return Pool(
        size, block_bytes, windows, int(engine.null_block_in_fit_check), batches,
        int(concurrent and subject.asynchronous), plan.decode_context_parallel_size,
    )  # fmt: skip


def _has_latents(subject: Subject) -> bool:
    return any(isinstance(layer.mixer, LatentAttention) for layer in subject.model.layers)


def _layers(subject: Subject, size: int) -> list[Pages | None]:
    found: list[Pages | None] = []
    for stage, indices in enumerate(subject.stages):
        for index in indices:
            mixer = subject.model.layers[index].mixer
            if isinstance(mixer, Attention) and mixer.causal and mixer.kind in ("full", "sliding_window"):
                if mixer.index_head_dim:
                    raise OutOfReach("a block selector's cache")
                window = mixer.window_tokens if mixer.kind == "sliding_window" else None
                own = None if mixer.shares_kv_cache else Pages(stage, size * _token_bytes(subject, mixer), window)
                found.append(own)
            elif isinstance(mixer, LatentAttention) and mixer.index_head_dim is None:
                found.append(Pages(stage, size * _latent_bytes(subject, mixer), None))
            else:
                raise OutOfReach("the cache of states, chunks, encoders or indexers")
    return found


def stored_dtype(subject: Subject) -> str:
    """What `--kv-cache-dtype` of the plan stores."""
    dtype, model = subject.plan.kv_cache_dtype, subject.model
    if model.architecture in CACHES_ALWAYS_16_BIT:
        return "auto"
    native = model.native_quantization
    if dtype == "auto" and native is not None and subject.engine.checkpoint_kv_cache_dtype:
        of_this_checkpoint = native.quantization == subject.plan.quantization
        dtype = native.kv_cache_dtype or "auto" if of_this_checkpoint else "auto"
    major = (subject.gpu.compute_capability or (0,))[0]
    return "fp8_e4m3" if dtype == "auto" and major == 10 and model.architecture in FP8_ON_10 else dtype


def element_bytes(subject: Subject) -> int:
    """Bytes of one element: 2, or 4 where a model runs in float32 because the card has no bfloat16."""
    capability = subject.gpu.compute_capability
    old = capability is not None and capability < (8, 0)
    return 4 if old and subject.model.model_type in NEVER_FLOAT16 else 2


def _elements(subject: Subject) -> int:
    dtype = stored_dtype(subject)
    if dtype in ("auto", "bfloat16", "float16"):
        return element_bytes(subject)
    if dtype in EIGHT_BIT:
        return 1
    raise OutOfReach(f"a cache in {dtype}")


def _token_bytes(subject: Subject, mixer: Attention) -> int:
    heads = max(1, mixer.num_key_value_heads // subject.ranks)
    return heads * (mixer.head_dim + mixer.v_head_dim) * _elements(subject)


def _latent_bytes(subject: Subject, mixer: LatentAttention) -> int:
    row, aligned = mixer.kv_lora_rank + mixer.qk_rope_head_dim, subject.engine.latent_row_alignment_elements
    return ceil(row / aligned) * aligned * _elements(subject)


def _without_windows(layers: list[Pages]) -> list[Pages]:
    if all(page.window for page in layers):
        return layers
    return [Pages(page.stage, page.bytes, None) for page in layers]


def _groups(layers: list[Pages], stages: int) -> tuple[tuple[int | None, ...], tuple[int, ...]]:
    """Windows of the groups, and bytes of a block per stage.

    Layers that keep alike share a group; different kinds are split into groups as large as the smallest kind (or the
    largest, when it is less than 1.5 times that), dealt in turn, and a block is as large as the largest group.
    """
    kinds: dict[int | None, list[Pages]] = {}
    for page in layers:
        kinds.setdefault(page.window, []).append(page)
    if len(kinds) == 1:
        whole = tuple(sum(page.bytes for page in layers if page.stage == at) for at in range(stages))
        return tuple(kinds), whole
    counts = [len(pages) for pages in kinds.values()]
    size = max(counts) if max(counts) < 1.5 * min(counts) else min(counts)
    windows: list[int | None] = []
    largest = [0] * stages
    for window, pages in kinds.items():
        parts = ceil(len(pages) / size)
        for part in range(parts):
            windows.append(window)
            dealt = pages[part::parts]
            for at in range(stages):
                largest[at] = max(largest[at], sum(page.bytes for page in dealt if page.stage == at))
    return tuple(windows), tuple(largest)
