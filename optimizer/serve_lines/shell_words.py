"""Shell text as words: quotes, line continuations, comments, operators, and the variables that the text itself sets.

Nothing is executed. What only a running shell knows (`$(…)`, unset variables) is left as it stands and marked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_opt.profiles.errors import InvalidRequest

MAX_TEXT_CHARACTERS = 2 * 1024 * 1024
MAX_WORDS = 50_000
_OPERATOR = re.compile(r"&&|\|\||;;|\|&|[;|()]|&(?!>)|\n")
_REDIRECTION = re.compile(r"(?:\d{0,3}(?:<<<|>>|>&|<&|>\||<>|>|<)|&>>?)")
_HEREDOC = re.compile(r"\d{0,3}<<(-?)[ \t]*(['\"]?)([A-Za-z_][\w.-]{0,80})\2")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w{0,200})|\{([A-Za-z_]\w{0,200})(?:(:?[-=])([^{}]{0,500}))?\})")
_PLAIN = re.compile(r"[^\s'\"\\$`;|&()<>]+")


@dataclass(frozen=True)
class Word:
    """One word of a command: its text after quotes and variables, and where it stands in the source."""

    text: str
    start: int
    end: int
    line: int
    unresolved: tuple[str, ...] = field(default=())
    """What only a running shell could fill in."""
    source: str = ""
    """Where the word comes from when not from the command itself, e.g. the name of a --config file."""


@dataclass(frozen=True)
class Operator:
    """What ends a command: a line break, `;`, `&&`, `|` …"""

    text: str


Token = Word | Operator


def shell_tokens(text: str, variables: Mapping[str, str] | None = None) -> list[Token]:
    """Split shell text into words and operators.

    Raises:
        InvalidRequest: a quote that is never closed, or text that is too long.
    """
    if len(text) > MAX_TEXT_CHARACTERS:
        raise InvalidRequest(f"the text is longer than {MAX_TEXT_CHARACTERS:,} characters; give the vLLM command alone")
    return _Reader(text, dict(variables or {})).read()


class _Reader:
    def __init__(self, text: str, variables: dict[str, str]) -> None:
        self.text, self.variables = text, variables
        self.position, self.line = 0, 1
        self.tokens: list[Token] = []
        self.heredocs: list[str] = []

    def read(self) -> list[Token]:
        while self.position < len(self.text):
            self._step()
            if len(self.tokens) > MAX_WORDS:
                raise InvalidRequest(f"the text holds more than {MAX_WORDS:,} words; give the vLLM command alone")
        self._remember_assignments()
        return self.tokens

    def _step(self) -> None:
        text, at = self.text, self.position
        if text[at] in " \t\r":
            self.position += 1
        elif _continuation(text, at):
            self.position += _continuation(text, at)
            self.line += 1
        elif text[at] == "#":
            end = text.find("\n", at)
            self.position = len(text) if end < 0 else end
        elif match := _HEREDOC.match(text, at):
            self.heredocs.append(match.group(3))
            self.position = match.end()
        elif match := _REDIRECTION.match(text, at):
            self.position = match.end()
            self._skip_target()
        elif match := _OPERATOR.match(text, at):
            self._operator(match)
        else:
            self._word()

    def _operator(self, match: re.Match[str]) -> None:
        self._remember_assignments()
        self.tokens.append(Operator(match.group()))
        self.position = match.end()
        if match.group() == "\n":
            self.line += 1
            self._skip_heredocs()

    def _skip_heredocs(self) -> None:
        while self.heredocs:
            delimiter = self.heredocs.pop(0)
            while self.position < len(self.text):
                end = self.text.find("\n", self.position)
                end = len(self.text) if end < 0 else end
                body = self.text[self.position : end]
                self.position = min(len(self.text), end + 1)
                self.line += 1
                if body.strip() == delimiter:
                    break

    def _skip_target(self) -> None:
        """The word after a redirection names a file, not an argument."""
        while self.position < len(self.text) and self.text[self.position] in " \t":
            self.position += 1
        if self.position < len(self.text) and self.text[self.position] not in "\n;|&()<>":
            self._word()
            self.tokens.pop()

    def _word(self) -> None:
        start, line = self.position, self.line
        parts: list[str] = []
        unresolved: list[str] = []
        while self.position < len(self.text):
            character = self.text[self.position]
            if skipped := _continuation(self.text, self.position):
                self.position += skipped
                self.line += 1
            elif character in " \t\r\n;|&()<>":
                break
            elif character == "'":
                parts.append(self._single_quoted())
            elif character == '"':
                self._double_quoted(parts, unresolved)
            elif character == "\\":
                parts.append(self.text[self.position + 1 : self.position + 2])
                self.position += 2
            elif character in "$`":
                self._expansion(parts, unresolved)
            else:
                match = _PLAIN.match(self.text, self.position)
                piece = match.group() if match else character
                parts.append(piece)
                self.position += len(piece)
        end = min(self.position, len(self.text))
        self.tokens.append(Word("".join(parts), start, end, line, tuple(unresolved)))

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise InvalidRequest(f"line {self.line}: the quote ' is never closed; close it")
        inner = self.text[self.position + 1 : end]
        self.line += inner.count("\n")
        self.position = end + 1
        return inner

    def _double_quoted(self, parts: list[str], unresolved: list[str]) -> None:
        opened = self.line
        self.position += 1
        while self.position < len(self.text):
            character = self.text[self.position]
            if character == '"':
                self.position += 1
                return
            if character == "\\" and self.text[self.position + 1 : self.position + 2] in ('"', "\\", "$", "`", "\n"):
                escaped = self.text[self.position + 1]
                self.line += escaped == "\n"
                parts.append("" if escaped == "\n" else escaped)
                self.position += 2
            elif character in "$`":
                self._expansion(parts, unresolved)
            else:
                self.line += character == "\n"
                parts.append(character)
                self.position += 1
        raise InvalidRequest(f'line {opened}: the quote " is never closed; close it')

    def _expansion(self, parts: list[str], unresolved: list[str]) -> None:
        match = _VARIABLE.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
            name, default = match.group(1) or match.group(2), match.group(4)
            value = self.variables.get(name, default)
            if value is None or "$" in value or "`" in value:
                unresolved.append(match.group())
                value = match.group()
            parts.append(value)
            return
        end = self._end_of_substitution()
        piece = self.text[self.position : end]
        if len(piece) > 1:
            unresolved.append(piece)
        parts.append(piece)
        self.line += piece.count("\n")
        self.position = end

    def _end_of_substitution(self) -> int:
        text, at = self.text, self.position
        if text[at] == "`":
            closing = text.find("`", at + 1)
            return len(text) if closing < 0 else closing + 1
        if text[at : at + 2] not in ("$(", "${"):
            return at + 1
        opening, closing_character = text[at + 1], ")" if text[at + 1] == "(" else "}"
        depth = 0
        for index in range(at + 1, len(text)):
            depth += (text[index] == opening) - (text[index] == closing_character)
            if depth == 0:
                return index + 1
        return len(text)

    def _remember_assignments(self) -> None:
        """A command of nothing but assignments (or `export A=b`) sets variables for what follows."""
        words: list[Word] = []
        for token in reversed(self.tokens):
            if isinstance(token, Operator):
                break
            words.append(token)
        words.reverse()
        if words and words[0].text in ("export", "declare", "readonly", "local"):
            words = words[1:]
        pairs = [assignment(word) for word in words]
        if pairs and all(pair is not None for pair in pairs):
            self.variables.update(pair for pair in pairs if pair is not None)


def _continuation(text: str, at: int) -> int:
    """How many characters a backslash before a line break takes; 0 when there is none."""
    if text.startswith("\\\n", at):
        return 2
    return 3 if text.startswith("\\\r\n", at) else 0


def assignment(word: Word) -> tuple[str, str] | None:
    """Return the name and value of `NAME=value`, or None."""
    name, separator, value = word.text.partition("=")
    return (name, value) if separator and re.fullmatch(r"[A-Za-z_]\w{0,200}", name) else None
