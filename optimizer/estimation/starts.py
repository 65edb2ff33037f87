"""Whether vLLM starts, as a probability, and what is short of the confidence asked though it is expected to start."""

from dataclasses import replace

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.start_probability import Margin, tightest_margin
from vllm_opt.constraints.rules import violations
from vllm_opt.constraints.rules.state_blocks import blocks_for_sequences, needs_a_block_each
from vllm_opt.optimizer.contract.answer import Starts
from vllm_opt.optimizer.contract.quantities import gib
from vllm_opt.optimizer.estimation.resolution import Setting

REFUSED = Starts(probability=0.0, needed_bytes=0, available_bytes=0)
"""Of a layout that vLLM refuses before it counts memory."""
CERTAIN = frozenset(("divisibility", "compatibility", "context_length", "batching"))
BORROWED_LIMIT_SHARE = 0.5
"""Where a context is above the limit of another model with the same weight shapes: its own may be higher or not."""
UNCERTAIN = frozenset(("memory_budget", "startup_headroom", "state_blocks"))
"""Rules that compare fitted terms; the others are certain."""


def starts_of(setting: Setting, terms: MemoryTerms, flags: EngineFlags, central: tuple[Violation, ...]) -> Starts:
    """Return the probability of a start, 0 where a rule without uncertainty is broken by a limit that is known."""
    margin = _margin(setting, terms, flags)
    certain = {violation.rule for violation in central} & CERTAIN
    borrowed = setting.model.context_of is not None and certain == {"context_length"}
    refused = BORROWED_LIMIT_SHARE if borrowed else 0.0
    return Starts(
        probability=margin.probability * (refused if certain else 1.0),
        needed_bytes=margin.needed_bytes,
        available_bytes=margin.available_bytes,
    )


def _margin(setting: Setting, terms: MemoryTerms, flags: EngineFlags) -> Margin:
    return tightest_margin(terms, flags, blocks_needed=_blocks_needed(setting, terms, flags))


def cold_starts(setting: Setting, terms: MemoryTerms, flags: EngineFlags, confidence: float) -> tuple[Violation, ...]:
    """What is not sure enough only because the compile cache may be empty; asked where every other rule holds."""
    margin = _margin(setting, terms, flags)
    if margin.probability >= confidence or margin.warm_probability < confidence:
        return ()
    states = needs_a_block_each(terms)
    way = "lower max_num_seqs" if states else "lower max_model_len"
    message = (
        f"vLLM is expected to start, but with an empty compile cache a model with states may need some "
        f"{gib(margin.cold_bytes)} more while it times its kernels, and {gib(margin.available_bytes)} are there for "
        f"{gib(margin.needed_bytes)}; start twice on a kept cache (VLLM_CACHE_ROOT), or {way}"
    )
    rule = "state_blocks" if states else "memory_budget"
    needed = margin.needed_bytes + margin.cold_bytes
    return (Violation(rule=rule, message=message, needed=needed, available=margin.available_bytes, unit="bytes"),)


def _blocks_needed(setting: Setting, terms: MemoryTerms, flags: EngineFlags) -> int:
    """What the pool must hold: one longest request, or what `auto` leaves of it; a block per sequence with states."""
    length = 1 if setting.auto_model_len else flags.max_model_len
    needed = terms.kv.startup_blocks(length, flags.max_num_batched_tokens)
    return max(needed, blocks_for_sequences(terms, flags.max_num_seqs))


def unsure_starts(setting: Setting, deployment: Deployment, central: tuple[Violation, ...]) -> tuple[Violation, ...]:
    """Rules that hold by the central estimate and not at the deployment's confidence, in words that say so."""
    broken = {violation.rule for violation in central}
    if setting.auto_model_len:
        deployment = replace(deployment, flags=deployment.flags.model_copy(update={"max_model_len": 1}))
    others = frozenset(rule for rule in broken | {"ttft", "tpot", "throughput"} if rule not in UNCERTAIN)
    found = violations(deployment, without=others)
    return tuple(
        violation.model_copy(update={"message": _words(violation, deployment)})
        for violation in found
        if violation.rule in UNCERTAIN and violation.rule not in broken
    )


def _words(violation: Violation, deployment: Deployment) -> str:
    needed, available = violation.needed or 0, violation.available or 0
    sure = f"at confidence {deployment.confidence:g}"
    if violation.rule == "state_blocks":
        return (
            f"vLLM is expected to start, but {sure} only {available} blocks are there for max_num_seqs "
            f"{needed}, and with CUDA graphs a model with states needs one each; lower max_num_seqs to {available}"
        )
    what = "KV cache for one longest request" if violation.rule == "memory_budget" else "memory outside the budget"
    way = "lower max_model_len or raise gpu_memory_utilization"
    if violation.rule == "startup_headroom":
        way = "lower gpu_memory_utilization"
    return f"vLLM is expected to start, but {sure} {gib(available)} are there for {gib(needed)} of {what}; {way}"
