"""The corrected command: changes of flags as edits of the text, everything else left as it stands."""

import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from vllm_opt.optimizer.linter.fixes.safety import mends_itself, safe_to_fix
from vllm_opt.optimizer.linter.fixes.yaml_edits import Edit, config_edits, list_edits
from vllm_opt.optimizer.linter.subject.report import Change, Finding, spelled
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import FlagProblem, FlagUse, ParsedCommand
from vllm_opt.optimizer.serve_lines.words import Word

BLANKS = " \t\r\n\\"
PLAIN_VARIABLES = re.compile(r"(?:[\w./:=@%+,-]|\$\{\w+\}|\$\w+)+")
"""Text with variables and nothing else that a shell would act on within double quotes."""


@dataclass
class Correction:
    """The arguments of one command under change: per word what stands there instead, and what is added at the end."""

    command: ServeCommand
    parsed: ParsedCommand
    replaced: dict[int, tuple[str, ...]] = field(default_factory=dict)
    added: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Flags that would have to change in text that is not literal, or that has no place in the file."""
    joined_lines: bool = False
    """Blanks behind the backslashes that should continue a line are taken away."""
    entry_dropped: bool = False
    """Words that repeat the image's entry point are taken away."""

    def words(self) -> list[Word]:
        """The corrected arguments, without those that stand in a --config file."""
        return [word for word in self.placed_words() if not word.source]

    def placed_words(self) -> list[Word]:
        """The corrected arguments, each where it comes from."""
        kept: list[Word] = []
        for index, word in enumerate(self.command.arguments):
            texts = self.replaced.get(index)
            kept += [word] if texts is None else [replace(word, text=text, raw="") for text in texts]
        return [*kept, *(Word(word, -1, -1, self.command.line) for _, words in self.added for word in words)]

    def edits(self) -> list[Edit]:
        """The same as edits of the command's text; words without a place there cannot be edited."""
        added = [words for _, words in self.added]
        if self.command.entry == "config" and not self.command.in_list:
            return config_edits(self.command, self.placed(), added)
        if self.command.in_list:
            return list_edits(self.command, self.placed(), added)
        found: list[Edit] = []
        if self.joined_lines:
            found += [Edit(word.start, word.end, "\\") for word in self.command.cut_lines if word.start >= 0]
        for word, replacement in self.placed():
            if replacement:
                found.append(Edit(word.start, word.end, quoted(replacement)))
            else:
                found.append(Edit(_gap_start(self.command.text, word), word.end, ""))
        gap = self._gap()
        end = self.command.arguments_end
        if end > 0:
            found += [Edit(end, end, gap + quoted(words)) for words in added]
        return found

    def placed(self) -> list[tuple[Word, tuple[str, ...]]]:
        """Replaced words that have a place in the text."""
        words = self.command.arguments
        pairs = [(words[index], replacement) for index, replacement in self.replaced.items()]
        if self.entry_dropped:
            pairs += [(word, ()) for word in self.command.repeated_entry]
        return [(word, replacement) for word, replacement in pairs if word.start >= 0 and not word.source]

    @property
    def changes_something(self) -> bool:
        """Whether any edit is to be made."""
        return bool(self.replaced or self.added or self.joined_lines or self.entry_dropped)

    def _gap(self) -> str:
        """What separates flags in this command: a blank, or a continued line and its indent."""
        for use in reversed(self.parsed.uses):
            first = use.words[0]
            if first.start > 0 and not first.source:
                gap = self.command.text[_gap_start(self.command.text, first) : first.start]
                return gap if "\n" in gap else " "
        return " "


def quoted(words: Sequence[str]) -> str:
    """Words as shell text that says exactly them: no dollar sign in them comes alive."""
    return shlex.join(words)


def shell_spelling(word: Word) -> str:
    """A word of the command as shell text: what a shell still has to fill in stays as it was spelled."""
    if word.raw and (word.unresolved or word.many):
        return word.raw
    return f'"{word.text}"' if word.unresolved and PLAIN_VARIABLES.fullmatch(word.text) else shlex.quote(word.text)


def corrected(
    command: ServeCommand, parsed: ParsedCommand, findings: Iterable[Finding], *, everything: bool, safely: bool = True
) -> Correction:
    """Apply the changes of the errors (and flags given twice), or of every finding, in order.

    `safely` leaves out what a person should decide (`safety.py`); without it the command becomes what its parser would
    accept, which is what an estimate is about.
    """
    correction = Correction(command, parsed)
    for problem in parsed.problems:
        if problem.level == "error" and (mends_itself(problem, parsed) or not (safely or problem.flag)):
            _mend(correction, problem)
    for finding in findings:
        wanted = everything or finding.level == "error" or finding.rule in ("duplicate_flag", "conflicting_flags")
        if not wanted or (safely and not safe_to_fix(finding, command, parsed)):
            continue
        if finding.rule == "broken_continuation":
            correction.joined_lines = all(word.start >= 0 for word in command.cut_lines)
        elif finding.rule == "repeated_entry_point":
            correction.entry_dropped = all(word.editable for word in command.repeated_entry)
        for change in finding.changes:
            _apply(correction, change, safely=safely)
    return correction


def _mend(correction: Correction, problem: FlagProblem) -> None:
    """A word that belongs to no flag: split '--flag value', write real dashes, or take it away."""
    if not all(word.editable for word in problem.words):
        return
    for word in problem.words:
        if problem.rule == "typographic_dash" and problem.suggestion is not None:
            _replace(correction, word, (problem.suggestion,))
        else:
            split = word.text.split() if word.text.startswith("--") else []
            _replace(correction, word, tuple(split))


def _replace(correction: Correction, word: Word, replacement: tuple[str, ...]) -> None:
    for index, candidate in enumerate(correction.command.arguments):
        if candidate is word or (candidate.start == word.start >= 0 and not candidate.source):
            correction.replaced[index] = replacement


def _apply(correction: Correction, change: Change, *, safely: bool) -> None:
    touched = [word for occurrence in _occurrences(correction.parsed, change.flag) for word in occurrence.words]
    hidden = change.flag in {f"--{use.name}" for use in correction.parsed.unknown_values}
    nowhere = not touched and change.to is not None and (correction.command.arguments_end <= 0 or hidden)
    if safely and (nowhere or not all(_may_change(word, correction.command) for word in touched)):
        correction.refused.append(change.flag)
        return
    correction.added = [(flag, words) for flag, words in correction.added if flag != change.flag]
    occurrences = _occurrences(correction.parsed, change.flag)
    words = written(change)
    if not occurrences:
        if words:
            correction.added.append((change.flag, words))
        return
    for occurrence in occurrences:
        for word in occurrence.words:
            _replace(correction, word, ())
    if not words:
        return
    last = next((each for each in reversed(occurrences) if not each.words[0].source), None)
    if last is None:
        correction.added.append((change.flag, words))
        return
    if correction.command.entry == "config":
        _replace(correction, last.words[0], words)
    elif len(words) == len(last.words) == 2 and isinstance(last, FlagUse):
        # The flag keeps the spelling it was given, such as -tp.
        _replace(correction, last.words[0], (last.words[0].text,))
        _replace(correction, last.words[1], (words[1],))
    elif len(words) == len(last.words):
        for word, replacement in zip(last.words, words, strict=True):
            _replace(correction, word, (replacement,))
    else:
        _replace(correction, last.words[0], words)


def _may_change(word: Word, command: ServeCommand) -> bool:
    """A value in a file of flags has no place of its own: its line is edited by its key."""
    behind_its_key = command.entry == "config" and word.start < 0 and word.literal and not word.unresolved
    return word.editable or bool(word.source) or behind_its_key


def _occurrences(parsed: ParsedCommand, flag: str) -> list[FlagUse | FlagProblem]:
    if flag == "MODEL":
        return []
    uses = [use for use in parsed.uses if f"--{use.name}" == flag]
    problems = [problem for problem in parsed.problems if problem.flag == flag and problem.level == "error"]
    return [*uses, *problems]


def written(change: Change) -> tuple[str, ...]:
    """A change as the words of a command; none when the flag goes."""
    if change.to is None:
        return ()
    if isinstance(change.to, bool):
        return (spelled(change.flag, value=change.to),)
    value = f"{change.to:g}" if isinstance(change.to, float) else str(change.to)
    return (change.flag, value)


def _gap_start(text: str, word: Word) -> int:
    """Where the blanks (and continued lines) before a word begin."""
    at = word.start
    while at > 0 and text[at - 1] in BLANKS:
        at -= 1
    return at


def edited(text: str, edits: Iterable[Edit]) -> str:
    """The text with all edits, which do not overlap; insertions at one place keep their order."""
    parts: list[str] = []
    position = 0
    for edit in sorted(edits, key=lambda each: (each.start, each.end)):
        if edit.start < position:
            continue
        parts += [text[position : edit.start], edit.text]
        position = edit.end
    return "".join([*parts, text[position:]])


def one_line(command: ServeCommand, words: Sequence[Word]) -> str:
    """The command on one line, with its arguments replaced."""
    leading = list(command.leading)
    if command.entry in ("image", "config") and not leading:
        leading = ["vllm", "serve"]
    if leading[:1] and leading[-1] == "serve":
        leading = ["vllm", "serve"]
    if not leading:
        leading = ["vllm", "serve"]
    return " ".join([quoted(leading), *map(shell_spelling, words)])
