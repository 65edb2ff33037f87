"""All fixes of one file together: their edits, proven, or withheld with a reason."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.linter.fixes.correction import Correction, edited
from vllm_opt.optimizer.linter.fixes.proof import as_meant, no_new_problem, read_again
from vllm_opt.optimizer.linter.fixes.yaml_edits import Edit
from vllm_opt.optimizer.linter.subject.report import Fix, TextEdit
from vllm_opt.optimizer.serve_lines.files.sources import SourceFile
from vllm_opt.optimizer.serve_lines.placed_text import Lines
from vllm_opt.profiles.nouns.engine import EngineProfile

MISREAD = "the mended text would not be read as the same command with only these flags changed, so it stays as it is"


@dataclass(frozen=True)
class Proposed:
    """One command's correction, and the release that reads it."""

    correction: Correction
    engine: EngineProfile


def fixed_text(source: SourceFile, proposed: Sequence[Proposed]) -> tuple[str, dict[int, str]]:
    """Return the file with every fix that can be proven, and why others were withheld, by the command's number."""
    chosen = [number for number, each in enumerate(proposed) if each.correction.changes_something]
    withheld: dict[int, str] = {}
    while chosen:
        text = edited(source.text, _edits(proposed, chosen))
        wrong = _unproven(source, text, proposed, chosen)
        if not wrong:
            return text, withheld
        withheld.update(dict.fromkeys(wrong, MISREAD))
        chosen = [number for number in chosen if number not in wrong]
    return source.text, withheld


def _edits(proposed: Sequence[Proposed], chosen: Sequence[int]) -> list[Edit]:
    """Edits of all commands, each once: two commands may share an array or an anchor's text."""
    found: dict[Edit, None] = {}
    for number in chosen:
        for edit in proposed[number].correction.edits():
            if edit.start == edit.end or not any(edit.start < other.end and other.start < edit.end for other in found):
                found[edit] = None
    return list(found)


def _unproven(source: SourceFile, text: str, proposed: Sequence[Proposed], chosen: Sequence[int]) -> list[int]:
    again = read_again(source, text)
    if again is None or len(again) != len(proposed):
        return list(chosen)
    wrong = []
    for number, (each, command) in enumerate(zip(proposed, again, strict=True)):
        correction = each.correction
        if number not in chosen:
            same = [word.text for word in command.arguments] == [word.text for word in correction.command.arguments]
            if not same:
                return list(chosen)
        elif not as_meant(correction, command) or not no_new_problem(correction.parsed, command, each.engine):
            wrong.append(number)
    return wrong


def described(correction: Correction, *, safe: bool) -> Fix | None:
    """A correction as edits with lines and columns; None when there is nothing that may be edited."""
    if not correction.changes_something or correction.refused:
        return None
    lines = Lines(correction.command.text)
    edits = correction.edits()
    return Fix(safe=safe, edits=tuple(_described(edit, lines) for edit in edits)) if edits else None


def _described(edit: Edit, lines: Lines) -> TextEdit:
    return TextEdit(
        start_line=lines.line(edit.start),
        start_column=lines.column(edit.start),
        end_line=lines.line(edit.end),
        end_column=lines.column(edit.end),
        text=edit.text,
    )
