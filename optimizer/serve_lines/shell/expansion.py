"""The words that one node of the shell's syntax tree becomes: quotes, variables, arrays, field splitting."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from vllm_opt.optimizer.serve_lines.placed_text import HOLE, OPEN, PlacedText, joined, unknown, unmarked
from vllm_opt.optimizer.serve_lines.shell.fields import Part, ansi_decoded, elsewhere, fields_of, marked, unescaped
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word, finished

_PARAMETER = re.compile(
    r"(?P<name>[A-Za-z_]\w*|\d+|[@*])(?P<index>\[[^\]]*\])?(?:(?P<operator>:?[-=+?])(?P<rest>.*))?", re.DOTALL
)
_ESCAPED_IN_QUOTES = '"\\$`\n'
_QUOTED_PIECE = re.compile(r"'[^']*'|\"(?:[^\"\\]|\\.)*\"|[^'\"]+|['\"]", re.DOTALL)
_LONGEST_VALUE = 200_000
_DEEPEST_DEFAULT = 8


class Expander:
    """Expands nodes of one text's tree. `offset` turns a byte position into one of characters."""

    def __init__(self, source: PlacedText, offset: Sequence[int] | range, state: ShellState, depth: int = 0) -> None:
        self.source, self.offset, self.state, self.depth = source, offset, state, depth

    def place(self, node: Any) -> tuple[int, int]:
        """Where a node begins and ends in the text."""
        return self.offset[node.start_byte], self.offset[node.end_byte]

    def spelled(self, node: Any) -> str:
        """A node's own text."""
        start, end = self.place(node)
        return self.source.text[start:end]

    def fields(self, node: Any) -> list[Word]:
        """The words that a node becomes; none when it is an empty expansion."""
        parts = list(self._parts(node))
        start, end = self.place(node)
        where, line = self.source.span(start, end), self.source.line(start)
        spelled = self.source.file.text[where[0] : where[1]] if where[0] >= 0 else self.source.text[start:end]
        if not any(part.expanded for part in parts):
            text = "".join(part.text for part in parts)
            alone = bool(text) and not text.strip(HOLE)
            return [finished(text, *where, line, many=alone, raw=spelled if HOLE in text else "")]
        whole = all(part.splits or part.words is not None for part in parts)
        made = list(fields_of(parts))
        found: list[Word] = []
        for item in made:
            if isinstance(item, Word):
                found.append(item)
                continue
            many = whole and OPEN in item
            raw = spelled if len(made) == 1 else ""
            placed = where if len(made) == 1 else (-1, -1)
            found.append(finished(item, *placed, line, literal=False, many=many, raw=raw))
        return found

    def value(self, node: Any) -> str:
        """A node as one text, as in an assignment: nothing is split."""
        return "".join(
            " ".join(marked(word) for word in part.words) if part.words is not None else part.text
            for part in self._parts(node)
        )

    def script(self, node: Any) -> PlacedText:
        """A word that a shell reads as a script, each of its characters with its place."""
        return joined(self._placed(node), self.source.file, self.source.line(self.place(node)[0]))

    # --- pieces of words --------------------------------------------------------------------------------------------

    def _parts(self, node: Any, *, quoted: bool = False) -> Iterator[Part]:
        kind = node.type
        if kind == "raw_string":
            yield Part(self.spelled(node)[1:-1])
        elif kind == "ansi_c_string":
            yield Part(ansi_decoded(self.spelled(node)[2:-1]))
        elif kind in ("string", "translated_string"):
            yield from self._string(node)
        elif kind == "concatenation" or (kind == "command_name" and node.children):
            yield from self._gaps(node, quoted=quoted)
        elif kind in ("simple_expansion", "expansion"):
            yield from self._parameter(self.spelled(node), quoted=quoted)
        elif kind in ("command_substitution", "arithmetic_expansion", "process_substitution"):
            yield Part(unknown(self.spelled(node)), splits=not quoted, expanded=True)
        else:
            yield Part(unescaped(self.spelled(node)))

    def _gaps(self, node: Any, *, quoted: bool) -> Iterator[Part]:
        """Children, and the text between them."""
        at, end = self.place(node)
        for child in node.children:
            start, stop = self.place(child)
            if start > at:
                yield Part(unescaped(self.source.text[at:start]))
            yield from self._parts(child, quoted=quoted)
            at = stop
        if end > at:
            yield Part(unescaped(self.source.text[at:end]))

    def _string(self, node: Any) -> Iterator[Part]:
        yield Part("")
        for text, _, child in self._inside_quotes(node):
            if child is None:
                yield Part(text)
            else:
                yield from self._parts(child, quoted=True)

    def _inside_quotes(self, node: Any) -> Iterator[tuple[str, list[int] | None, Any]]:
        """What stands between double quotes: text with its escapes undone, or a node that expands."""
        start, end = self.place(node)
        text = self.source.text
        at, end = text.index('"', start) + 1, end - 1
        for child in node.children:
            if child.type in ('"', "string_content"):
                continue
            first, last = self.place(child)
            if first > at:
                yield (*self._quoted_text(at, first), None)
            yield "", None, child
            at = max(at, last)
        if end > at:
            yield (*self._quoted_text(at, end), None)

    def _quoted_text(self, start: int, end: int) -> tuple[str, list[int]]:
        text, places = self.source.text, self.source.places
        characters: list[str] = []
        where: list[int] = []
        at = start
        while at < end:
            character = text[at]
            if character == "\\" and at + 1 < end and text[at + 1] in _ESCAPED_IN_QUOTES:
                at += 1
                character = "" if text[at] == "\n" else text[at]
            if character:
                characters.append(character)
                where.append(places[at])
            at += 1
        return "".join(characters), where

    def _parameter(self, spelled: str, *, quoted: bool) -> Iterator[Part]:
        inner = spelled[2:-1] if spelled.startswith("${") else spelled[1:]
        match = _PARAMETER.fullmatch(inner)
        if match is None:
            yield Part(unknown(spelled), splits=not quoted, expanded=True)
            return
        name, index, operator = match.group("name"), match.group("index"), match.group("operator") or ""
        rest = match.group("rest") or ""
        if name in "@*" or index in ("[@]", "[*]"):
            yield from self._list(spelled, name, index or "", (operator, rest), quoted=quoted)
            return
        known = self._known(name, index)
        if known is not None and OPEN in known and operator.lstrip(":") not in ("", "?"):
            known, operator = unknown(spelled), ""
        if self._stands_in(known, operator, rest):
            yield from self._instead(rest, quoted=quoted)
            return
        chosen = unknown(spelled) if known is None else known
        if operator.endswith(("-", "=")) and known == "" and operator.startswith(":"):
            chosen = unknown(spelled)  # An empty default leaves the value to whoever starts the script.
        elif operator.endswith("+") and known is not None:
            chosen = ""
        yield Part(chosen[:_LONGEST_VALUE], splits=not quoted, expanded=True)

    @staticmethod
    def _stands_in(known: str | None, operator: str, rest: str) -> bool:
        """Whether the text after the operator takes the place of the value."""
        nothing = known is None or (known == "" and operator.startswith(":"))
        if operator.endswith(("-", "=")):
            return nothing and bool(rest.strip("\"'"))
        return operator.endswith("+") and not nothing

    def _known(self, name: str, index: str | None) -> str | None:
        if name.isdecimal():
            number = int(name) if len(name) < 6 else 0
            given = self.state.parameters
            if number == 0 or given is None or any(word.many for word in given[:number]):
                return None
            return marked(given[number - 1]) if number <= len(given) else ""
        value = self.state.values.get(name)
        if isinstance(value, tuple):
            at = 0 if index is None else int(index[1:-1]) if index[1:-1].isdecimal() and len(index) < 8 else -1
            if at < 0 or any(word.many for word in value[: at + 1]):
                return unknown(f"${{{name}{index or ''}}}")
            return marked(value[at]) if at < len(value) else ""
        return value if index is None or value is None else unknown(f"${{{name}{index}}}")

    def _list(self, spelled: str, name: str, index: str, after: tuple[str, str], *, quoted: bool) -> Iterator[Part]:
        value = self.state.parameters if name in "@*" else self.state.values.get(name)
        if isinstance(value, str):
            value = (finished(value, -1, -1, 1, literal=False),)
        operator, rest = after
        if value is None or (operator and operator.lstrip(":") != "+"):
            raw = f'"{spelled}"' if quoted else spelled
            yield Part(words=(Word(spelled, -1, -1, 1, (spelled,), literal=False, many=True, raw=raw),), expanded=True)
            return
        if operator and rest.strip('"') not in (f"${name}", f"${{{name}{index}}}"):
            if value:
                yield from self._instead(rest, quoted=quoted)
            return
        if any(word.text == "" and not quoted for word in value):
            value = tuple(word for word in value if word.text)
        if quoted and "*" in (name, index[1:-1]):
            yield Part(" ".join(marked(word) for word in value)[:_LONGEST_VALUE], expanded=True)
            return
        yield Part(words=tuple(elsewhere(word) for word in value), expanded=True)

    def _instead(self, rest: str, *, quoted: bool) -> Iterator[Part]:
        """The text after `:-`: its own quotes hold it together, unless the whole stands in double quotes already."""
        if quoted:
            yield Part(self._in_quotes(rest.replace('"', ""))[:_LONGEST_VALUE], expanded=True)
            return
        left = _LONGEST_VALUE
        for piece in _QUOTED_PIECE.findall(rest):
            if piece[:1] == "'":
                text = piece[1:-1]
            else:
                text = self._in_quotes(piece.strip('"')) if piece[:1] == '"' or "$" in piece else unescaped(piece)
            yield Part(text[:left], splits=piece[:1] not in ("'", '"'), expanded=True)
            left -= len(text)
            if left <= 0:
                return

    def _in_quotes(self, text: str) -> str:
        if not any(mark in text for mark in "$`\\"):
            return text
        if self.depth >= _DEEPEST_DEFAULT:
            return unknown(text)
        from vllm_opt.optimizer.serve_lines.shell.tree import parsed_word

        source, offset, node = parsed_word(f'"{text}"')
        return unknown(text) if node is None else Expander(source, offset, self.state, self.depth + 1).value(node)

    # --- scripts with places ----------------------------------------------------------------------------------------

    def _placed(self, node: Any) -> Iterator[tuple[str, Sequence[int] | None]]:
        start, end = self.place(node)
        text, places = self.source.text, self.source.places
        if node.type == "raw_string":
            yield text[start + 1 : end - 1], places[start + 1 : end - 1]
        elif node.type == "string":
            for piece, where, child in self._inside_quotes(node):
                yield from [(piece, where)] if child is None else self._filled(child)
        elif node.type in ("concatenation", "command_name"):
            for child in node.children:
                yield from self._placed(child)
        elif node.type in ("word", "number", "string_content"):
            inner = unescaped(text[start:end])
            yield inner, places[start:end] if inner == text[start:end] else None
        else:
            yield from self._filled(node)

    def _filled(self, node: Any) -> Iterator[tuple[str, Sequence[int] | None]]:
        start, end = self.place(node)
        value = self.value(node)
        known = OPEN not in value
        yield (value, None) if known else (unmarked(value), None) if value != unknown(self.spelled(node)) else (
            self.source.text[start:end], self.source.places[start:end]
        )  # fmt: skip
