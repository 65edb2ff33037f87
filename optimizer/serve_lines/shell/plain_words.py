"""Shell text as words without structure, for what the grammar of `tree.py` cannot read, such as a command in prose.

Nothing is executed. What only a running shell knows (`$(…)`, unset variables) is left as it stands and marked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from vllm_opt.optimizer.serve_lines.commands import ServeCommand, server_in
from vllm_opt.optimizer.serve_lines.containers import cloud_run, container_run, exported
from vllm_opt.optimizer.serve_lines.placed_text import OPEN, PlacedText, unknown
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word, assignment, finished
from vllm_opt.profiles.errors import InvalidRequest

MAX_WORDS = 50_000
_OPERATOR = re.compile(r"&&|\|\||;;|\|&|[;|()]|&(?!>)|\n")
_REDIRECTION = re.compile(r"(?:\d{0,3}(?:<<<|>>|>&|<&|>\||<>|>|<)|&>>?)")
_HEREDOC = re.compile(r"\d{0,3}<<(-?)[ \t]*(['\"]?)([A-Za-z_][\w.-]{0,80})\2")
_VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w{0,200})|\{([A-Za-z_]\w{0,200})(?:(:?[-=])([^{}]{0,500}))?\})")
_SPECIAL = ("@", "*", "#", "?", *"0123456789")
_ALONE = re.compile(r"\"?\$(?:\w+|\{[^{}]*\}|\([^()]*\)|[@*])\"?")
_LIST = re.compile(r"\"\$(?:@|\{[^{}]*\[[@*]\]\})\"")
_PLAIN = re.compile(r"[^\s'\"\\$`;|&()<>]+")


@dataclass(frozen=True)
class Operator:
    """What ends a command: a line break, `;`, `&&`, `|` …"""

    text: str


Token = Word | Operator


def shell_tokens(text: str, variables: Mapping[str, str] | None = None, line: int = 1) -> list[Token]:
    """Split shell text into words and operators; `line` is the number of its first line.

    Raises:
        InvalidRequest: a quote that is never closed, or too many words.
    """
    return _Reader(text, dict(variables or {}), line).read()


def placed_words(source: PlacedText, variables: Mapping[str, str] | None = None) -> list[Word]:
    """The words of a text of words alone, such as the string of a compose `command`, with their places in the file.

    Raises:
        InvalidRequest: as `shell_tokens`.
    """
    tokens = shell_tokens(source.text, variables, source.line(0) if source.text else source.first_line)
    return [_placed(token, source) for token in tokens if isinstance(token, Word)]


def plain_commands(source: PlacedText, state: ShellState) -> list[ServeCommand]:
    """The servers in a text, each a row of words between operators.

    Raises:
        InvalidRequest: as `shell_tokens`.
    """
    known = {name: value for name, value in state.values.items() if isinstance(value, str) and OPEN not in value}
    found: list[ServeCommand] = []
    simple: list[Word] = []
    tokens = shell_tokens(source.text, known, source.line(0) if source.text else source.first_line)
    for token in [*tokens, Operator("\n")]:
        if isinstance(token, Word):
            simple.append(_placed(token, source))
            continue
        if simple:
            command = _started(simple, source, state)
            found += [command] if command is not None else []
        simple = []
    return found


def _started(words: list[Word], source: PlacedText, state: ShellState) -> ServeCommand | None:
    environment = {**state.environment(), **exported(words)}
    text = source.file.text
    run = container_run(words, text, environment)
    if run is not None:
        return run[0].around(run[1]) if isinstance(run[1], ServeCommand) else None
    found = cloud_run(words, text, environment) or server_in(words, text, environment)
    return found if isinstance(found, ServeCommand) else None


def _placed(word: Word, source: PlacedText) -> Word:
    start, end = source.span(word.start, word.end)
    raw = source.file.text[start:end] if not word.literal and start >= 0 else word.raw
    return replace(word, start=start, end=end, line=source.line(word.start), raw=raw)


class _Reader:
    def __init__(self, text: str, variables: dict[str, str], line: int) -> None:
        self.text, self.variables = text, variables
        self.position, self.line = 0, line
        self.expanded = False
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
        self.expanded, quoted = False, False
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
                quoted = True
                self._double_quoted(parts)
            elif character == "\\":
                parts.append(self.text[self.position + 1 : self.position + 2])
                self.position += 2
            elif character in "$`":
                self._expansion(parts)
            else:
                match = _PLAIN.match(self.text, self.position)
                piece = match.group() if match else character
                parts.append(piece)
                self.position += len(piece)
        end = min(self.position, len(self.text))
        spelled, text = self.text[start:end], "".join(parts)
        alone = _ALONE.fullmatch(spelled) is not None and (not quoted or _LIST.fullmatch(spelled) is not None)
        raw = spelled if self.expanded else ""
        self.tokens.append(
            finished(text, start, end, line, literal=not self.expanded, many=alone and OPEN in text, raw=raw)
        )

    def _single_quoted(self) -> str:
        end = self.text.find("'", self.position + 1)
        if end < 0:
            raise InvalidRequest(f"line {self.line}: the quote ' is never closed; close it")
        inner = self.text[self.position + 1 : end]
        self.line += inner.count("\n")
        self.position = end + 1
        return inner

    def _double_quoted(self, parts: list[str]) -> None:
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
                self._expansion(parts)
            else:
                self.line += character == "\n"
                parts.append(character)
                self.position += 1
        raise InvalidRequest(f'line {opened}: the quote " is never closed; close it')

    def _expansion(self, parts: list[str]) -> None:
        match = _VARIABLE.match(self.text, self.position)
        if match is not None:
            self.position = match.end()
            self.expanded = True
            name, default = match.group(1) or match.group(2), match.group(4)
            value = self.variables.get(name, default)
            parts.append(unknown(match.group()) if value is None or "$" in value or "`" in value else value)
            return
        end = self._end_of_substitution()
        piece = self.text[self.position : end]
        self.expanded = self.expanded or len(piece) > 1
        parts.append(unknown(piece) if len(piece) > 1 else piece)
        self.line += piece.count("\n")
        self.position = end

    def _end_of_substitution(self) -> int:
        text, at = self.text, self.position
        if text[at] == "`":
            closing = text.find("`", at + 1)
            return len(text) if closing < 0 else closing + 1
        if text[at : at + 2] not in ("$(", "${"):
            return at + 1 + (text[at + 1 : at + 2] in _SPECIAL)
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
