"""What nothing in the text fills in: said once, and every finding that depends on it says so."""

from collections.abc import Iterator, Sequence

from vllm_opt.optimizer.linter.subject.context import FIELDS
from vllm_opt.optimizer.linter.subject.report import Finding
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.left_out import NOT_MODELLED
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand

PLUGIN_MARKS = {"--omni": "vLLM-Omni"}
"""Flags by which a plugin of vLLM is known; it brings further flags of its own."""
OWN_PARSERS = frozenset(("vLLM-Omni",))
"""Plugins that read the whole command line themselves."""
PLUGIN_METHODS = {"ascend": "vllm-ascend"}
"""Values of --quantization that a plugin brings."""
_SIZES = frozenset(
    ("tensor-parallel-size", "pipeline-parallel-size", "data-parallel-size", "decode-context-parallel-size",
     "enable-expert-parallel", "quantization", "kv-cache-dtype", "block-size")
)  # fmt: skip
_OF_LAYOUT = ("divisibility", "compatibility", "gpu_count", "one_node", "shared_memory")
_OF_WORDS = frozenset(
    ("removed_flag", "flag_not_yet_existing", "unknown_flag", "abbreviated_flag", "ambiguous_flag",
     "flag_takes_no_value", "wrong_type", "wrong_choice", "missing_value", "stray_word", "typographic_dash",
     "duplicate_flag", "conflicting_flags", "config_ignored", "value_out_of_range", "unresolved_variable",
     "unresolved_arguments", "environment", "broken_continuation", "repeated_entry_point", "unknown_json_key",
     "other_hardware", "plugin_flag", "unknown_model", "model_by_name", "not_judged", "release_not_known",
     "equals_default")
)  # fmt: skip
"""Rules that look at words that are there: nothing unknown can take them back."""


def plugin_of(parsed: ParsedCommand) -> str | None:
    """The plugin that brings flags of its own to this command."""
    for problem in parsed.problems:
        if problem.flag in PLUGIN_MARKS:
            return PLUGIN_MARKS[problem.flag]
        if problem.flag == "--quantization" and problem.value in PLUGIN_METHODS:
            return PLUGIN_METHODS[problem.value]
    return None


def matters(parsed: ParsedCommand, config_note: str = "") -> bool:
    """Whether what is unknown could change memory, the layout, or which flags there are."""
    hidden = {use.name for use in parsed.unknown_values}
    return bool(
        parsed.open_words or parsed.model_unresolved or config_note or hidden & (set(FIELDS) | set(NOT_MODELLED))
    )


def unresolved_findings(command: ServeCommand, parsed: ParsedCommand, config_note: str) -> Iterator[Finding]:
    """One note for words that may be any flags, one for a --config file that is not here."""
    spelled = tuple(dict.fromkeys(text for word in parsed.open_words for text in word.unresolved))
    if spelled:
        shown = ", ".join(spelled[:4]) + (" …" if len(spelled) > 4 else "")
        yield Finding(
            rule="unresolved_arguments",
            level="note",
            message=f"{shown[:200]} may hold any flags: what is absent here may be given there, and nothing is judged "
            "for certain that another flag would change",
            line=max(1, parsed.open_words[0].line),
            unresolved=spelled,
        )
    if config_note:
        yield Finding(rule="unresolved_arguments", level="note", message=config_note, line=command.line)


_OF_RELEASE = frozenset(
    ("unknown_flag", "wrong_choice", "unknown_json_key", "flag_not_yet_existing", "removed_flag", "flag_conflict")
)


def in_doubt(
    findings: Sequence[Finding], command: ServeCommand, asked: str | None, stands_in: str | None
) -> list[Finding]:
    """Errors that the release might not have, as warnings: a build without a release, or one judged by another's."""
    if command.unversioned and asked is None:
        doubted, why = _OF_RELEASE, "the image's release is not known"
    elif stands_in is not None:
        doubted, why = frozenset(("wrong_choice", "unknown_json_key", "flag_conflict")), f"vLLM {stands_in} may differ"
    else:
        return list(findings)
    return [
        finding.model_copy(update={"level": "warning", "message": f"{finding.message} ({why})"})
        if finding.level == "error" and finding.rule in doubted
        else finding
        for finding in findings
    ]


def depending(findings: Sequence[Finding], parsed: ParsedCommand, config_note: str) -> list[Finding]:
    """Findings that what is unknown could take back name it, and are no errors."""
    if not matters(parsed, config_note):
        return list(findings)
    return [_depending(finding, parsed, config_note) for finding in findings]


def _depending(finding: Finding, parsed: ParsedCommand, config_note: str) -> Finding:
    if finding.rule in _OF_WORDS:
        return finding
    hidden = {use.name for use in parsed.unknown_values}
    anything = parsed.open_words or parsed.model_unresolved or config_note
    if not anything and finding.rule in _OF_LAYOUT and not hidden & _SIZES:
        return finding
    changes = {"unresolved": parsed.unresolved or ("--config",)}
    level = "warning" if finding.level == "error" else finding.level
    return finding.model_copy(update={**changes, "level": level})
