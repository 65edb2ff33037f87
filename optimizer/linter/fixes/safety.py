"""Which changes --fix makes by itself, and which it only shows.

A fix must not lose anything that the author wanted. It touches words whose every part is literal, takes away flags only
where the release is known to have dropped them or where a value cannot mean anything else, and never trades accuracy
for room.
"""

from vllm_opt.optimizer.linter.subject.report import Change, Finding
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import FlagProblem, ParsedCommand

_SHOWN_ONLY = frozenset(
    ("unknown_flag", "missing_value", "quantization_without_checkpoint", "plugin_flag", "one_node", "gpu_count",
     "fp8_kv_cache", "flag_not_yet_existing", "missing_companion", "unknown_json_key", "flag_conflict")
)  # fmt: skip
"""Rules whose remedy is a choice, unless it is a plain new name for the same thing."""
_CHANGES_THE_MODEL = frozenset(
    ("--quantization", "--rope-scaling", "--rope-theta", "--hf-overrides", "--speculative-model",
     "--speculative-config", "--dtype", "--task",
     "--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size")
)  # fmt: skip
"""Flags that decide what is served and on how many GPUs: they are not taken away, nor are GPUs asked for."""
_LESS_EXACT = frozenset(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "int8", "nvfp4", "fp8_ds_mla"))


def lowers_quality(change: Change) -> bool:
    """Whether a change makes answers less exact, or sequences shorter than the author allowed."""
    if change.flag == "--kv-cache-dtype":
        return str(change.to) in _LESS_EXACT and str(change.from_value).lower() not in _LESS_EXACT
    return change.flag == "--quantization" and change.to is not None


def safe_to_fix(finding: Finding, command: ServeCommand, parsed: ParsedCommand) -> bool:
    """Whether --fix may make this finding's changes."""
    if finding.unresolved or any(lowers_quality(change) for change in finding.changes):
        return False
    if finding.source:
        return True
    renamed = len(finding.changes) == 2 and finding.changes[0].to is None and finding.changes[1].to is not None
    if finding.rule in _SHOWN_ONLY and not renamed:
        return False
    for change in finding.changes:
        if change.to is None and change.flag in _CHANGES_THE_MODEL and not _useless(change, command, parsed):
            return False
    if finding.rule in ("wrong_type", "wrong_choice") and finding.to is None:
        return False
    needs_gpus = any(change.flag in _PARALLEL and change.to is not None for change in finding.changes)
    return (
        not needs_gpus
        or renamed
        or finding.rule in ("divisibility", "wrong_type", "conflicting_flags", "duplicate_flag")
    )


_PARALLEL = ("--tensor-parallel-size", "--pipeline-parallel-size", "--data-parallel-size")


def _useless(change: Change, command: ServeCommand, parsed: ParsedCommand) -> bool:
    """A RoPE flag may go where no longer context is asked for; a layout flag where it only repeats the default."""
    if change.flag == "--task":
        return str(change.from_value) in ("auto", "generate", "transcription")
    if change.flag in ("--rope-scaling", "--rope-theta"):
        longer = command.environment.get("VLLM_ALLOW_LONG_MAX_MODEL_LEN", "0") in ("1", "true", "True")
        return not longer and not parsed.given("max-model-len")
    return change.flag in _PARALLEL or change.flag == "--dtype"


def mends_itself(problem: FlagProblem, parsed: ParsedCommand) -> bool:
    """Whether a word that belongs to no flag can be mended by itself: split in two, or given its real dashes.

    A stray literal word goes only where the model is named, the word cannot be a model, and nothing unknown stands in
    the command that it might belong to.
    """
    if problem.rule == "typographic_dash":
        return problem.suggestion is not None
    if problem.rule == "flag_takes_no_value" and problem.suggestion is None:
        return not problem.words[0].text.startswith("-")
    if problem.rule != "stray_word":
        return False
    text = problem.words[0].text
    if text.startswith("--") and " " in text:
        return len(text.split()) == 2 and not any(mark in text for mark in "'\"{}$`;|&<>\\")
    known_model = parsed.model is not None and not parsed.model_unresolved
    return known_model and not parsed.open_words and text.isalpha() and problem.words[0].editable
