"""Rules about commands that work and could be better."""

from vllm_opt.optimizer.linter.pages.page import Page

ALL = "--fix-all makes the change where vLLM still starts with it."
SHOWN = "None: it trades accuracy for room, so it is only shown."


class AsyncSchedulingOff(Page):
    """Async scheduling is switched off."""

    levels = ("note",)
    fix = ALL


class ChunkedPrefillOff(Page):
    """Chunked prefill is switched off.

    A step then holds a whole prompt: running answers stall behind it, and its activations take memory from the pool.
    """

    levels = ("warning",)
    fix = ALL


class Concurrency(Page):
    """Fewer sequences run at once than are asked.

    Reported when `--concurrency` is given. The changes that admit and hold them are tried one by one.
    """

    levels = ("warning",)
    fix = ALL


class EagerMode(Page):
    """CUDA graphs are switched off."""

    levels = ("warning", "note")
    fix = ALL


class EqualsDefault(Page):
    """A flag repeats the release's default."""

    levels = ("note",)
    fix = "--fix-all takes it away, unless it pins a value whose default differs between GPUs and releases."


class Fp8KvCache(Page):
    """An fp8 KV cache would hold more sequences.

    It halves the bytes per token at a small loss of accuracy. Silent without --advice, unless the sequences asked would
    otherwise not run at once.
    """

    levels = ("advice", "note")
    fix = SHOWN


class MaxModelLenAboveNeed(Page):
    """max_model_len exceeds the context needed."""

    levels = ("warning", "note")
    fix = ALL


class MaxModelLenBelowNeed(Page):
    """max_model_len is below the context needed."""


class MaxNumSeqsAbovePool(Page):
    """max_num_seqs is far above what the KV pool holds."""

    levels = ("note",)
    fix = ALL


class MaxNumSeqsBelowPool(Page):
    """max_num_seqs is below what the KV pool holds."""

    levels = ("warning",)
    fix = ALL


class PrefixCachingOff(Page):
    """Prefix caching is switched off."""

    levels = ("warning",)
    fix = ALL


class SlidingWindowInFlight(Page):
    """A prompt needs its windows and the tokens in flight free before it starts.

    It gives most of that back while it decodes, so a narrower step lets prompts start in a fuller pool.
    """

    levels = ("note",)
    fix = ALL


class TensorParallelBeyondKvHeads(Page):
    """Tensor parallelism beyond the KV heads holds copies of them."""

    levels = ("note",)


class Throughput(Page):
    """Fewer output tokens per second than asked."""

    levels = ("warning",)
    fix = ALL


class Tpot(Page):
    """The time per output token exceeds the limit asked."""

    levels = ("warning",)
    fix = ALL


class Ttft(Page):
    """The time to first token exceeds the limit asked."""

    levels = ("warning",)
    fix = ALL


class UtilizationUnused(Page):
    """Memory of the GPU stays unused.

    Silent without --advice: a lower share is often meant, and on GPUs that share their memory with the CPU the rest is
    the operating system's.
    """

    levels = ("advice", "warning")
    fix = ALL


class UtilizationWithoutEffect(Page):
    """gpu_memory_utilization has no effect on the pool."""

    levels = ("warning",)
    fix = ALL


PAGES: tuple[type[Page], ...] = (
    AsyncSchedulingOff, ChunkedPrefillOff, Concurrency, EagerMode, EqualsDefault, Fp8KvCache, MaxModelLenAboveNeed,
    MaxModelLenBelowNeed, MaxNumSeqsAbovePool, MaxNumSeqsBelowPool, PrefixCachingOff, SlidingWindowInFlight,
    TensorParallelBeyondKvHeads, Throughput, Tpot, Ttft, UtilizationUnused, UtilizationWithoutEffect,
)  # fmt: skip
