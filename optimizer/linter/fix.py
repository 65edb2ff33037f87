"""The corrected command: changes of flags as edits of the text, everything else left as it stands."""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from vllm_opt.optimizer.linter.fix_yaml import Edit, config_edits, list_edits
from vllm_opt.optimizer.linter.subject.context import FLAGS, LintContext
from vllm_opt.optimizer.linter.subject.report import Change, Finding, spelled
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import FlagProblem, FlagUse, ParsedCommand
from vllm_opt.optimizer.serve_lines.shell_words import Word

BLANKS = " \t\r\n\\"
PLAIN_VARIABLES = re.compile(r"(?:[\w./:=@%+,-]|\$\{\w+\}|\$\w+)+")
"""Text with variables and nothing else that a shell would act on within double quotes."""


@dataclass
class Correction:
    """The arguments of one command under change: per word what stands there instead, and what is added at the end."""

    command: ServeCommand
    parsed: ParsedCommand
    replaced: dict[int, tuple[str, ...]]
    added: list[tuple[str, tuple[str, ...]]]

    def words(self) -> list[str]:
        """The corrected arguments, without those that stand in a --config file."""
        return [word.text for word in self.placed_words() if not word.source]

    def placed_words(self) -> list[Word]:
        """The corrected arguments, each where it comes from."""
        kept: list[Word] = []
        for index, word in enumerate(self.command.arguments):
            kept += [replace(word, text=text) for text in self.replaced.get(index, (word.text,))]
        return [*kept, *(Word(word, -1, -1, self.command.line) for _, words in self.added for word in words)]

    def edits(self) -> list[Edit]:
        """The same as edits of the command's text; words without a place there cannot be edited."""
        added = [words for _, words in self.added]
        if self.command.entry == "config":
            return config_edits(self.command, self.placed(), added)
        if self.command.in_list:
            return list_edits(self.command, self.placed(), added)
        found: list[Edit] = []
        alive = alive_words(self.command)
        for word, replacement in self.placed():
            if replacement:
                found.append(Edit(word.start, word.end, quoted(replacement, alive)))
            else:
                found.append(Edit(_gap_start(self.command.text, word), word.end, ""))
        gap = self._gap()
        end = self.command.arguments_end
        if end > 0:
            found += [Edit(end, end, gap + quoted(words, alive)) for words in added]
        return found

    def placed(self) -> list[tuple[Word, tuple[str, ...]]]:
        """Replaced words that have a place in the text."""
        words = self.command.arguments
        pairs = [(words[index], replacement) for index, replacement in self.replaced.items()]
        return [(word, replacement) for word, replacement in pairs if word.start >= 0 and not word.source]

    def _gap(self) -> str:
        """What separates flags in this command: a blank, or a continued line and its indent."""
        for use in reversed(self.parsed.uses):
            first = use.words[0]
            if first.start > 0 and not first.source:
                gap = self.command.text[_gap_start(self.command.text, first) : first.start]
                return gap if "\n" in gap else " "
        return " "


def quoted(words: Sequence[str], alive: Mapping[str, str] = MappingProxyType({})) -> str:
    """Words as shell text that says exactly them.

    `alive`: words that the shell fills in, as the source writes them; any other dollar sign stands for itself.
    """
    return " ".join(alive.get(word) or shlex.quote(word) for word in words)


def alive_words(command: ServeCommand) -> dict[str, str]:
    """The words of a command that only a running shell can fill in, each with its own spelling of that.

    A text that also stands there literally (in single quotes) is taken literally: nothing that was quoted may run.
    """
    literal = {word.text for word in command.arguments if not word.unresolved}
    found = {}
    for word in command.arguments:
        if word.unresolved and word.start >= 0 and not word.source and word.text not in literal:
            spelled_so = command.text[word.start : word.end]
            if command.in_list or command.entry == "config":
                spelled_so = f'"{word.text}"' if PLAIN_VARIABLES.fullmatch(word.text) else ""
            found[word.text] = spelled_so
    return {text: spelling for text, spelling in found.items() if spelling}


def corrected(
    command: ServeCommand, parsed: ParsedCommand, findings: Iterable[Finding], *, everything: bool
) -> Correction:
    """Apply the changes of the errors (and flags given twice), or of every finding, in order."""
    correction = Correction(command, parsed, {}, [])
    for problem in parsed.problems:
        dash_or_stray = problem.rule in ("typographic_dash", "stray_word")
        if dash_or_stray or (problem.level == "error" and not problem.words[0].text.startswith("-")):
            _mend(correction, problem)
    for finding in findings:
        if everything or finding.level == "error" or finding.rule in ("duplicate_flag", "conflicting_flags"):
            for change in finding.changes:
                _apply(correction, change)
    return correction


def compatible(context: LintContext, findings: Iterable[Finding]) -> list[Finding]:
    """The findings whose changes start together: each is added unless vLLM then refuses."""
    names = {flag: name for name, flag in FLAGS.items()}
    kept = []
    for finding in findings:
        changes = {names[change.flag]: change.to for change in finding.changes if change.flag in names}
        if finding.level != "error" and changes:
            if not context.starts(changes):
                continue
            context = context.with_changes(changes)
        kept.append(finding)
    return kept


def _mend(correction: Correction, problem: FlagProblem) -> None:
    """A word that belongs to no flag: split '--flag value', write real dashes, or take it away."""
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


def _apply(correction: Correction, change: Change) -> None:
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
    if len(words) == len(last.words) == 2 and isinstance(last, FlagUse):
        # The flag keeps the spelling it was given, such as -tp.
        _replace(correction, last.words[0], (last.words[0].text,))
        _replace(correction, last.words[1], (words[1],))
    elif len(words) == len(last.words):
        for word, replacement in zip(last.words, words, strict=True):
            _replace(correction, word, (replacement,))
    else:
        _replace(correction, last.words[0], words)


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


def one_line(command: ServeCommand, words: Sequence[str]) -> str:
    """The command on one line, with its arguments replaced."""
    leading = list(command.leading)
    if command.entry in ("image", "config") and not leading:
        leading = ["vllm", "serve"]
    if leading[:1] and leading[-1] == "serve":
        leading = ["vllm", "serve"]
    return quoted([*leading, *words], alive_words(command))
