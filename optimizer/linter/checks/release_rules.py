"""Findings about flags that a release refuses together.

Read from vLLM 0.33: `config/parallel.py`, `engine/arg_utils.py:create_engine_config`, `entrypoints/common/cli_args.py:
validate_parsed_serve_args`, `model_executor/models/config.py:MambaModelConfig`.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

from vllm_opt.constraints.decisions.engine_defaults import prefix_caching_default
from vllm_opt.optimizer.linter.subject.context import LintContext
from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.optimizer.serve_lines.flag_history import version_parts
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand
from vllm_opt.optimizer.serve_lines.stated import stated_values
from vllm_opt.profiles.nouns.model import StateSpace

READ_SINCE = (0, 33)
"""The first release whose own rules were read; older ones are not judged by them."""
Rule = Callable[[ParsedCommand], str | None]


def release_rule_findings(context: LintContext, parsed: ParsedCommand) -> Iterator[Finding]:
    """Combinations that the release's configuration refuses, in its own words."""
    if version_parts(context.engine.version) < READ_SINCE:
        return
    for flag, rule in RULES:
        words = rule(parsed)
        if words is not None:
            yield _finding(context, words, flag)
    if "model" in context.fields:
        yield from _mamba(context)
        yield from _resolved_limits(context, parsed)
        yield from _whole_items(context, parsed)


def _finding(context: LintContext, message: str, flag: str) -> Finding:
    return Finding(rule="flag_conflict", level="error", message=message, flag=flag, line=context.line_of(flag))


def _mamba(context: LintContext) -> Iterator[Finding]:
    """State-space layers cache prefixes only where prompts are cut."""
    if context.fields.get("enable_chunked_prefill") is not False:
        return
    model = context.setting()[0].model
    cached = context.fields.get("enable_prefix_caching", prefix_caching_default(context.engine, model))
    if cached and any(isinstance(kind.mixer, StateSpace) for kind in model.layer_kinds):
        yield _finding(
            context,
            "AssertionError: Chunked prefill is required for Mamba prefix caching; drop --no-enable-chunked-prefill, "
            "or add --no-enable-prefix-caching",
            "--enable-chunked-prefill",
        )


def _resolved_limits(context: LintContext, parsed: ParsedCommand) -> Iterator[Finding]:
    """Limits of the scheduler beyond what the release sets where the command leaves it open."""
    flags = context.setting()[0].flags
    for name, limit_name, limit in (
        ("long-prefill-token-threshold", "max_model_len", flags.max_model_len),
        ("max-num-active-seqs", "max_num_seqs", flags.max_num_seqs),
    ):
        value = parsed.value(name)
        if isinstance(value, int) and value > limit and not parsed.given(limit_name.replace("_", "-")):
            field = name.replace("-", "_")
            yield _finding(
                context, f"{field} ({value}) cannot be greater than {limit_name} ({limit}), the default", f"--{name}"
            )


def _whole_items(context: LintContext, parsed: ParsedCommand) -> Iterator[Finding]:
    """An image or a video that may not be cut must fit into one step."""
    setting = context.setting()[0]
    tokens, media = setting.flags.max_num_batched_tokens, setting.layout.media
    if parsed.value("disable-chunked-mm-input") is not True or media is None or media.item_tokens <= tokens:
        return
    yield _finding(
        context,
        f"Chunked MM input disabled but max_tokens_per_mm_item ({media.item_tokens}) is larger than "
        f"max_num_batched_tokens ({tokens}). Please increase max_num_batched_tokens",
        "--disable-chunked-mm-input",
    )


def _size(parsed: ParsedCommand, name: str) -> int | None:
    """A size that is given or defaults to 1; None when it is not known."""
    if any(use.name == name for use in parsed.unknown_values):
        return None
    value = parsed.value(name)
    return 1 if value is None else value if isinstance(value, int) else None


def _json(parsed: ParsedCommand, name: str) -> dict[str, Any]:
    try:
        value = json.loads(str(stated_values(parsed).get(name) or "{}"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _both(first: str, second: str, words: str) -> Rule:
    return lambda parsed: words if parsed.value(first) is True and parsed.value(second) is True else None


def _twice(flag: str, config: str, key: str) -> Rule:
    def check(parsed: ParsedCommand) -> str | None:
        if parsed.given(flag) and key in _json(parsed, config):
            return f"--{flag} and --{config} {{'{key}': …}} are mutually exclusive; keep one"
        return None

    return check


def _eplb(parsed: ParsedCommand) -> str | None:
    if parsed.value("enable-eplb") is not True:
        return None
    if parsed.value("enable-expert-parallel") is not True:
        return "enable_expert_parallel must be True to use EPLB; add --enable-expert-parallel"
    sizes = [_size(parsed, name) for name in _EPLB_SIZES]
    if all(size == 1 for size in sizes):
        return "EPLB requires tensor, prefill-context, or data parallelism; all three are 1"
    return None


def _local_ranks(parsed: ParsedCommand) -> str | None:
    local, total = parsed.value("data-parallel-size-local"), _size(parsed, "data-parallel-size")
    if isinstance(local, int) and total is not None and local > total:
        return f"data_parallel_size_local ({local}) must be <= data_parallel_size ({total})"
    return None


def _hybrid_lb(parsed: ParsedCommand) -> str | None:
    if parsed.value("data-parallel-hybrid-lb") is True and parsed.given("data-parallel-external-lb"):
        return "--data-parallel-hybrid-lb and --data-parallel-external-lb cannot be enabled together"
    return None


def _threshold(parsed: ParsedCommand) -> str | None:
    threshold, length = parsed.value("long-prefill-token-threshold"), parsed.value("max-model-len")
    if isinstance(threshold, int) and isinstance(length, int) and 0 < length < threshold:
        return f"long_prefill_token_threshold ({threshold}) cannot be greater than the max_model_len ({length})"
    return None


def _active(parsed: ParsedCommand) -> str | None:
    active, sequences = parsed.value("max-num-active-seqs"), parsed.value("max-num-seqs")
    if isinstance(active, int) and isinstance(sequences, int) and active > sequences:
        return f"max_num_active_seqs ({active}) cannot be greater than max_num_seqs ({sequences})"
    return None


def _two_batches(parsed: ParsedCommand) -> str | None:
    if parsed.value("enable-dbo") is not True or parsed.value("all2all-backend") in TWO_BATCHES:
        return None
    return (
        f"--enable-dbo only supports the all2all backends {', '.join(TWO_BATCHES)}; add --all2all-backend with one of "
        "them, --data-parallel-size and --enable-expert-parallel, or drop it"
    )


TWO_BATCHES = ("deepep_low_latency", "deepep_high_throughput", "nixl_ep")
_EPLB_SIZES = ("tensor-parallel-size", "prefill-context-parallel-size", "data-parallel-size")
RULES: tuple[tuple[str, Rule], ...] = (
    ("--enable-eplb", _eplb),
    ("--data-parallel-size-local", _local_ranks),
    ("--data-parallel-hybrid-lb", _hybrid_lb),
    ("--long-prefill-token-threshold", _threshold),
    ("--max-num-active-seqs", _active),
    ("--enable-dbo", _two_batches),
    ("--attention-backend", _twice("attention-backend", "attention-config", "backend")),
    ("--cudagraph-capture-sizes", _twice("cudagraph-capture-sizes", "compilation-config", "cudagraph_capture_sizes")),
    (
        "--max-cudagraph-capture-size",
        _twice("max-cudagraph-capture-size", "compilation-config", "max_cudagraph_capture_size"),
    ),
    (
        "--enable-per-request-metrics",
        _both(
            "enable-per-request-metrics", "disable-log-stats",
            "--enable-per-request-metrics requires engine statistics logging; remove --disable-log-stats",
        ),
    ),
)  # fmt: skip
"""The flag to point at, and the rule."""
