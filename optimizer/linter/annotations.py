"""Findings for other programs: SARIF 2.1.0, and the workflow commands that GitHub shows beside the code."""

from typing import Any
from urllib.parse import quote

from vllm_opt.optimizer.linter.rules import RULE_PAGES, RULES
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, Fix, LintReport
from vllm_opt.profiles.printable import printable

SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
COMMAND_LINE_URI = "command-line"
_SARIF_LEVELS = {"error": "error", "warning": "warning", "note": "note", "advice": "note"}
_GITHUB_LEVELS = {"error": "error", "warning": "warning", "note": "notice", "advice": "notice"}


def github(report: LintReport) -> str:
    """One `::error file=…,line=…,title=…::message` per finding, and a notice per part that was not read.

    Source: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
    """
    lines = [
        _annotation(_GITHUB_LEVELS[finding.level], command.file, finding.line, finding.rule, _text(finding, command))
        for command in report.commands
        for finding in command.findings
    ]
    lines += [_annotation("notice", each.file, each.line, "not read", each.reason) for each in report.unread]
    return "\n".join(lines)


def _annotation(level: str, file: str | None, line: int, title: str, message: str) -> str:
    place = f"file={_property(file)}," if file else ""
    return f"::{level} {place}line={line},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return printable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _text(finding: Finding, command: CommandReport) -> str:
    text = finding.message
    if finding.changes:
        text += ": " + " and ".join(change.words for change in finding.changes)
    if finding.gain_text:
        text += f" ({finding.gain_text})"
    if finding.unresolved:
        text += f" [depends on {', '.join(finding.unresolved[:4])}]"
    return f"{text} (vLLM {command.release} judged as {command.vllm_version})" if command.release else text


def sarif(report: LintReport) -> dict[str, Any]:
    """Return a SARIF 2.1.0 log: one run, one result per finding."""
    from vllm_opt.profiles.version import installed_version

    used = sorted({finding.rule for finding in report.findings})
    return {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "vllm-opt lint",
                        "version": installed_version(),
                        "rules": [
                            {
                                "id": rule,
                                "shortDescription": {"text": RULES.get(rule, rule)},
                                "help": {"text": RULES.get(rule, rule), "markdown": RULE_PAGES.get(rule, rule)},
                            }
                            for rule in used
                        ],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "properties": {
                    "judged_by_another_release": [
                        {
                            "file": each.file,
                            "line": each.line,
                            "release": each.release,
                            "vllm_version": each.vllm_version,
                        }
                        for each in report.commands
                        if each.release is not None
                    ]
                },
                "results": [
                    _result(finding, command, used.index(finding.rule), command.file or report.file)
                    for command in report.commands
                    for finding in command.findings
                ],
            }
        ],
    }


def _result(finding: Finding, command: CommandReport, index: int, file: str | None) -> dict[str, Any]:
    artifact = {"uri": quote(file or COMMAND_LINE_URI)}
    shown = finding.model_dump(mode="json", include={"flag", "from_value", "to", "gain", "alternatives", "unresolved"})
    result: dict[str, Any] = {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": _SARIF_LEVELS[finding.level],
        "message": {"text": _text(finding, command)},
        "locations": [
            {"physicalLocation": {"artifactLocation": artifact, "region": {"startLine": max(1, finding.line)}}}
        ],
        "properties": {**shown, "command": command.fixed_command, "release": command.release},
    }
    if finding.fix is not None:
        result["fixes"] = [_fix(finding.fix, artifact)]
    return result


def _fix(fix: Fix, artifact: dict[str, str]) -> dict[str, Any]:
    replacements = [
        {
            "deletedRegion": {
                "startLine": edit.start_line,
                "startColumn": edit.start_column,
                "endLine": edit.end_line,
                "endColumn": edit.end_column,
            },
            "insertedContent": {"text": edit.text},
        }
        for edit in fix.edits
    ]
    return {"artifactChanges": [{"artifactLocation": artifact, "replacements": replacements}]}
