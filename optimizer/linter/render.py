"""A `LintReport` as a table for the terminal, JSON, SARIF 2.1.0, GitHub's annotations, or the corrected text alone."""

from typing import TYPE_CHECKING

from vllm_opt.optimizer.linter.annotations import github, sarif
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, LintReport, Optimum
from vllm_opt.optimizer.rendering.as_json import as_json
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

TITLES = {
    "error": "Errors: vLLM does not start, or not as meant",
    "warning": "Warnings: it works, but not as well as it could",
    "note": "Notes",
    "advice": "Advice: what could be better, at a price",
}
NOT_CHECKED = {"warning": "Warnings"}
"""Titles where it is not known whether the command starts."""


def render_lint(report: LintReport, format_name: str, screen: Screen) -> str:
    """Return the report as 'table', 'json', 'sarif', 'github', or 'fixed' for the corrected text."""
    if format_name == "json":
        return as_json(report.model_dump(mode="json"))
    if format_name == "sarif":
        return as_json(sarif(report))
    if format_name == "github":
        return github(report)
    if format_name == "fixed":
        return report.fixed_text
    return lint_table(report, screen)


def lint_table(report: LintReport, screen: Screen) -> str:
    """Draw every command with its findings, then what to type next."""
    from vllm_opt.optimizer.rendering.plan import line

    sections: list[RenderableType] = []
    files = {command.file for command in report.commands}
    for command in report.commands:
        many = len(report.commands) > 1 or bool(command.place)
        sections += _command(command, many=many, with_file=len(files) > 1)
    sections += _unread(report)
    sections += ["", line(_summary(report))]
    return drawn(*sections, screen=screen).lstrip("\n")


def _unread(report: LintReport) -> list["RenderableType"]:
    from vllm_opt.optimizer.rendering.plan import heading

    if not report.unread:
        return []
    shown = [f"{f'{each.file}, ' if each.file else ''}line {each.line}: {each.reason}" for each in report.unread[:20]]
    more = [f"and {len(report.unread) - 20} more"] if len(report.unread) > 20 else []
    return [heading("Not read"), *(printable(text) for text in (*shown, *more))]


def _command(command: CommandReport, *, many: bool, with_file: bool = False) -> list["RenderableType"]:
    from rich.text import Text

    from vllm_opt.optimizer.rendering.plan import heading

    where = f"line {command.line}" + (f", {command.place}" if command.place else "") + ": " if many else ""
    where = f"{command.file}, {where}" if with_file else where
    verdict = {True: "starts", False: "does not start", None: "not checked"}[command.starts]
    if command.starts is None and command.unresolved:
        verdict = "depends on what is filled in"
    words = f"{where}{command.model or 'unknown model'} on {command.gpu_count} x {command.gpu or 'unknown GPU'}, vLLM "
    words += f"{command.release}, judged as {command.vllm_version}" if command.release else command.vllm_version
    words += f": {verdict}"
    style = {True: "bold green", False: "bold red", None: "bold yellow"}[command.starts]
    sections: list[RenderableType] = ["", Text(printable(words), style=style)]
    if command.startup_log:
        sections += [heading("vLLM would print"), *(printable(text) for text in command.startup_log)]
    for level, title in TITLES.items():
        found = [finding for finding in command.findings if finding.level == level]
        if found:
            sections += [heading(NOT_CHECKED.get(level, title) if command.starts is None else title), _findings(found)]
    said = [note for note in command.notes if command.release and note.startswith("vLLM ")]
    sections += [heading("Release"), *(printable(note) for note in said)] if said else []
    if command.withheld:
        sections += [heading("No fix"), printable(command.withheld)]
    sections += _optima(command.optima)
    if command.fixed_command != command.command:
        sections += [heading(_corrected(command)), printable(command.fixed_command)]
    return sections


def _corrected(command: CommandReport) -> str:
    """The heading of the fixed command, which says where an error takes a decision that no fix may make."""
    errors = [finding for finding in command.findings if finding.level == "error"]
    left = [finding for finding in errors if finding.fix is None or not finding.fix.safe]
    return f"Corrected, but for {counted(len(left), 'error')} left to you" if left else "Corrected"


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
    flags = ", ".join(finding.message.partition(" ")[0] for finding in equal)
    message = f"{flags} say what this release does by default here; they can go, or stay to pin the values"
    kept = [finding for finding in found if finding.rule != "equals_default"]
    return [*kept, Finding(rule="equals_default", level="note", message=message)]


def _lines(finding: Finding) -> list[str]:
    lines = [finding.message]
    if finding.unresolved and finding.rule not in ("unresolved_variable", "unresolved_arguments"):
        lines.append(f"   depends on {', '.join(finding.unresolved[:4])}")
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
            for gain, name in (
                (optimum.throughput_gain, f"{optimum.counted_in}/s"),
                (optimum.concurrency_gain, "sequences"),
            )
            if gain is not None
        ]
        servers = f", {optimum.replicas} separate servers" if optimum.replicas > 1 else ""
        known = "" if optimum.checkpoint else " (no such checkpoint is known: it has to be made)"
        words = f"{optimum.title}{known}: {optimum.output_tokens_per_s:,.0f} {optimum.counted_in}/s, "
        words += f"{optimum.max_concurrency:,.1f} sequences{servers}" + (f" ({', '.join(gains)})" if gains else "")
        sections += [line(words), "  " + printable(optimum.command)]
    return sections


def _summary(report: LintReport) -> str:
    counts = ((report.errors, "error"), (report.warnings, "warning"), (report.notes, "note"))
    words = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for number, name in counts)
    fixable = any(finding.changes for finding in report.findings)
    words += f", {report.advice} advice" if report.advice else ""
    words += f"; {report.suppressed} silenced" if report.suppressed else ""
    return f"{words}." + (" --fix prints the corrected text, --fix-all with the improvements in." if fixable else "")
