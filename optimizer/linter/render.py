"""A `LintReport` as a table for the terminal, JSON, SARIF 2.1.0, or the corrected text alone."""

from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.linter.rules import RULES
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, LintReport, Optimum
from vllm_opt.optimizer.rendering.as_json import as_json
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.profiles.printable import printable

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLES = {
    "error": "Errors: vLLM does not start, or not as meant",
    "warning": "Warnings: it works, but not as well as it could",
    "note": "Notes",
}
SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
COMMAND_LINE_URI = "command-line"


def render_lint(report: LintReport, format_name: str, screen: Screen) -> str:
    """Return the report as 'table', 'json', 'sarif', or 'fixed' for the corrected text."""
    if format_name == "json":
        return as_json(report.model_dump(mode="json"))
    if format_name == "sarif":
        return as_json(sarif(report))
    if format_name == "fixed":
        return report.fixed_text
    return lint_table(report, screen)


def lint_table(report: LintReport, screen: Screen) -> str:
    """Draw every command with its findings, then what to type next."""
    from vllm_opt.optimizer.rendering.plan import line

    sections: list[RenderableType] = []
    for command in report.commands:
        sections += _command(command, many=len(report.commands) > 1 or bool(command.place))
    sections += ["", line(_summary(report))]
    return drawn(*sections, screen=screen).lstrip("\n")


def _command(command: CommandReport, *, many: bool) -> list["RenderableType"]:
    from rich.text import Text

    from vllm_opt.optimizer.rendering.plan import heading

    where = f"line {command.line}" + (f", {command.place}" if command.place else "") + ": " if many else ""
    verdict = {True: "starts", False: "does not start", None: "not checked"}[command.starts]
    words = f"{where}{command.model or 'unknown model'} on {command.gpu_count} x {command.gpu}, vLLM "
    words += f"{command.vllm_version}: {verdict}"
    style = {True: "bold green", False: "bold red", None: "bold yellow"}[command.starts]
    sections: list[RenderableType] = ["", Text(printable(words), style=style)]
    if command.startup_log:
        sections += [heading("vLLM would print"), *(printable(text) for text in command.startup_log)]
    for level, title in TITLES.items():
        found = [finding for finding in command.findings if finding.level == level]
        if found:
            sections += [heading(title), _findings(found)]
    sections += _optima(command.optima)
    if command.fixed_command != command.command:
        sections += [heading("Corrected"), printable(command.fixed_command)]
    return sections


def _findings(found: list[Finding]) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(ratio=1)
    for finding in _merged(found):
        grid.add_row(Text(finding.rule), Text(printable("\n".join(_lines(finding)))))
    return grid


def _merged(found: list[Finding]) -> list[Finding]:
    """Flags that equal a default share one entry."""
    equal = [finding for finding in found if finding.rule == "equals_default"]
    if len(equal) < 2:
        return found
    flags = ", ".join(finding.flag or "" for finding in equal)
    message = f"{flags} say what this release does by default here; they can go, or stay to pin the values"
    kept = [finding for finding in found if finding.rule != "equals_default"]
    return [*kept, Finding(rule="equals_default", level="note", message=message)]


def _lines(finding: Finding) -> list[str]:
    lines = [finding.message]
    if finding.changes:
        lines.append("-> " + " and ".join(change.words for change in finding.changes) + _from(finding))
    if finding.gain_text:
        lines.append(f"   gain: {finding.gain_text}")
    lines += [f"   or {other}" for other in finding.alternatives]
    return lines


def _from(finding: Finding) -> str:
    plain = finding.to is not None and not isinstance(finding.to, bool) and finding.from_value is not None
    return f" (now {finding.from_value})" if plain and finding.from_value != finding.to else ""


def _optima(optima: tuple[Optimum, ...]) -> list["RenderableType"]:
    from vllm_opt.optimizer.rendering.plan import heading, line

    if not optima:
        return []
    sections: list[RenderableType] = [heading("The solver's best on the same GPUs, for the same context")]
    for optimum in optima:
        gains = [
            f"{gain * 100:+.0f} % {name}"
            for gain, name in ((optimum.throughput_gain, "output tokens/s"), (optimum.concurrency_gain, "sequences"))
            if gain is not None
        ]
        servers = f", {optimum.replicas} separate servers" if optimum.replicas > 1 else ""
        known = "" if optimum.checkpoint else " (no such checkpoint is known: it has to be made)"
        words = f"{optimum.title}{known}: {optimum.output_tokens_per_s:,.0f} output tokens/s, "
        words += f"{optimum.max_concurrency:,.1f} sequences{servers}" + (f" ({', '.join(gains)})" if gains else "")
        sections += [line(words), "  " + printable(optimum.command)]
    return sections


def _summary(report: LintReport) -> str:
    counts = ((report.errors, "error"), (report.warnings, "warning"), (report.notes, "note"))
    words = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counts)
    fixable = any(finding.changes for finding in report.findings)
    return f"{words}." + (" --fix prints the corrected text, --fix-all with the improvements in." if fixable else "")


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
                        "rules": [{"id": rule, "shortDescription": {"text": RULES.get(rule, rule)}} for rule in used],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    _result(finding, command, used.index(finding.rule), report.file)
                    for command in report.commands
                    for finding in command.findings
                ],
            }
        ],
    }


def _result(finding: Finding, command: CommandReport, index: int, file: str | None) -> dict[str, Any]:
    from urllib.parse import quote

    text = finding.message
    if finding.changes:
        text += ": " + " and ".join(change.words for change in finding.changes)
    if finding.gain_text:
        text += f" ({finding.gain_text})"
    place = {
        "artifactLocation": {"uri": quote(file or COMMAND_LINE_URI)},
        "region": {"startLine": max(1, finding.line)},
    }
    shown = finding.model_dump(mode="json", include={"flag", "from_value", "to", "gain", "alternatives"})
    return {
        "ruleId": finding.rule,
        "ruleIndex": index,
        "level": finding.level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "properties": {**shown, "command": command.fixed_command},
    }
