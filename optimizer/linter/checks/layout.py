"""Findings about windows, ranks and switches: what they cost in this layout, by estimating the other choice."""

from collections.abc import Iterator

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.gains import WORTH_A_WARNING, figures, growth, percent_words, pool_words
from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.profiles.nouns.model import Attention, StateSpace

SLIDING_WINDOW_STEP_TOKENS = 2048


def layout_findings(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """Sliding windows, ranks beyond the KV heads, and features that are switched off."""
    yield from _windows(context, estimate)
    yield from _idle_ranks(context, estimate)
    yield from _switched_off(context, estimate)


def _windows(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """The gate wants a window and the tokens in flight free for a prompt to start; a narrower step wants fewer."""
    model = context.setting()[0].model
    windows = any(
        isinstance(kind.mixer, Attention) and kind.mixer.kind == "sliding_window" for kind in model.layer_kinds
    )
    tokens = int(estimate.request["max_num_batched_tokens"])
    if not windows or tokens <= SLIDING_WINDOW_STEP_TOKENS:
        return
    changes: dict[str, int] = {"max_num_batched_tokens": SLIDING_WINDOW_STEP_TOKENS}
    if int(estimate.request["max_num_seqs"]) > SLIDING_WINDOW_STEP_TOKENS:
        changes["max_num_seqs"] = SLIDING_WINDOW_STEP_TOKENS
    after = context.estimate(changes)
    share = growth(estimate.memory.admission_concurrency, after.memory.admission_concurrency)
    if not after.fits or share < WORTH_A_WARNING:
        return
    yield context.finding(
        "sliding_window_in_flight", "note",
        f"a prompt starts only when its windows and the {tokens:,} tokens that one step may carry have room in every "
        "window group, though it gives most of it back while it decodes: a narrower step lets prompts start in a "
        "fuller pool, at a longer time to first token", changes, default=tokens, gain=figures(estimate, after),
        gain_text=f"{percent_words(share)} long prompts that may start together; {pool_words(estimate, after)}",
    )  # fmt: skip


def _idle_ranks(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    """Beyond the KV heads, ranks copy them: a token takes as many bytes per GPU as before."""
    model = context.setting()[0].model
    ranks = int(estimate.request.get("tensor_parallel_size", 1))
    heads = [kind.mixer.num_key_value_heads for kind in model.layer_kinds if isinstance(kind.mixer, Attention)]
    if not heads or ranks <= max(heads) or any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds):
        return
    size = max(heads)
    copies = ranks // size
    changes = {
        "tensor_parallel_size": size,
        "data_parallel_size": copies * int(context.fields.get("data_parallel_size", 1)),
    }
    after = context.estimate(changes)
    if not after.fits:
        return
    total = after.memory.running_concurrency * copies
    yield context.finding(
        "tensor_parallel_beyond_kv_heads", "note",
        f"TP {ranks} exceeds the {size} KV heads: each is held {copies} times, and a token takes as many bytes per GPU "
        f"as at TP {size}; {copies} engines of TP {size} hold {total:.0f} full-length sequences together, this one "
        f"{estimate.memory.running_concurrency:.0f}", changes, gain=figures(estimate, after),
    )  # fmt: skip


def _switched_off(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    fields = context.fields
    if fields.get("enforce_eager"):
        after = context.estimate({"enforce_eager": None})
        graphs = after.memory.cuda_graph_bytes / 2**30
        room = "and vLLM still starts with them" if after.fits else "but then vLLM does not start"
        yield context.finding(
            "eager_mode", "warning" if after.fits else "note",
            f"enforce_eager switches CUDA graphs off: every decode step then waits for kernels to be launched one by "
            f"one, which slows small batches most; graphs take {graphs:.2f} GiB per GPU here, {room}",
            {"enforce_eager": None} if after.fits else {}, flag="--enforce-eager", gain=figures(estimate, after),
        )  # fmt: skip
    hybrid = any(isinstance(kind.mixer, StateSpace) for kind in context.setting()[0].model.layer_kinds)
    if fields.get("enable_prefix_caching") is False and not hybrid and context.engine.engine == "v1":
        yield context.finding(
            "prefix_caching_off", "warning",
            "prefix caching is off: it costs no memory and no speed when requests share nothing, and saves the prefill "
            "of whatever they share (system prompts, chat history)", {"enable_prefix_caching": None},
        )  # fmt: skip
    if fields.get("enable_chunked_prefill") is False:
        yield from _chunked_prefill_off(context, estimate)
    if fields.get("async_scheduling") is False and context.engine.async_scheduling_default:
        yield context.finding(
            "async_scheduling_off", "note",
            "async scheduling is off: the GPU waits while the CPU prepares each step; the default is on",
            {"async_scheduling": None},
        )  # fmt: skip


def _chunked_prefill_off(context: LintContext, estimate: Estimate) -> Iterator[Finding]:
    after = context.estimate({"enable_chunked_prefill": None})
    if not after.fits:
        return
    yield context.finding(
        "chunked_prefill_off", "warning",
        f"chunked prefill is off: a step holds a whole prompt ({estimate.request['max_num_batched_tokens']:,} tokens "
        "here), running answers stall behind it, and its activations take memory from the KV pool",
        {"enable_chunked_prefill": None}, gain=figures(estimate, after), gain_text=pool_words(estimate, after),
    )  # fmt: skip
