"""What --fix changes, file by file, as a unified diff."""

import difflib
from dataclasses import dataclass
from pathlib import Path

from vllm_opt.optimizer.linter.subject.report import LintReport


@dataclass(frozen=True)
class Difference:
    """One file: its new text, as the bytes on disk are to be, and the diff."""

    file: str
    text: str
    diff: str


def differences(report: LintReport) -> list[Difference]:
    """Return the inputs whose fixed text differs from what stands there; line ends and a BOM stay as they are."""
    if report.files:
        pairs = [(each.file, each.fixed_text) for each in report.files]
    else:
        pairs = [(report.file or "", report.fixed_text)]
    found = []
    for file, fixed in pairs:
        before = _on_disk(file) if file else " ".join(command.command for command in report.commands)
        mark = "\ufeff" if before.startswith("\ufeff") else ""
        after = mark + fixed
        if after == before or (not file and report.commands and report.commands[0].fixed_command == before):
            continue
        lines = difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{file or 'command'}",
            f"b/{file or 'command'}", n=3,
        )  # fmt: skip
        found.append(Difference(file, after, "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)))
    return found


def _on_disk(file: str) -> str:
    with Path(file).open(encoding="utf-8", newline="") as stream:
        return stream.read()
