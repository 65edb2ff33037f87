"""A YAML document as nodes with positions: anchors and merge keys followed, nothing constructed, size limited.

The events come from PyYAML (its C parser where it was built in); a node keeps where it stands, so that a fix can change
the text itself. Tags are left alone: no object is ever made from them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_opt.optimizer.serve_lines.placed_text import HOLE, Lines, PlacedText
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import MAX_NESTING, MAX_NODES

MOST_EXPANDED_NODES = 200_000
"""Nodes that are looked at when aliases are followed: a few anchors may stand for billions."""
_ESCAPE_LENGTHS = {"x": 4, "u": 6, "U": 10}
_BLANKS = " \t\r\n"


@dataclass
class Node:
    """A scalar, list or mapping. `start` and `end` are positions in the file."""

    kind: str
    start: int
    end: int = 0
    text: str = ""
    style: str | None = None
    items: list["Node"] = field(default_factory=list)
    pairs: list[tuple["Node", "Node"]] = field(default_factory=list)
    uses: int = 1
    """How often the document refers to it; a fix in a shared node would change every place."""


EMPTY = Node("scalar", -1)


class Document:
    """One document of a file, with the budget for looking at its nodes."""

    def __init__(self, top: Node, file: Lines, repeated: Sequence[tuple[int, str]] = ()) -> None:
        self.top, self.file = top, file
        self.repeated = repeated
        """Lines on which a key is given again."""
        self.left = MOST_EXPANDED_NODES

    def members(self, node: Node | None) -> dict[str, Node]:
        """Keys and values of a mapping, merge keys followed, a mapping's own keys first; empty for anything else."""
        found: dict[str, Node] = {}
        if node is None or node.kind != "map":
            return found
        merged: list[Node] = []
        for key, value in node.pairs:
            self._count()
            if key.text == "<<" and key.style is None and value.kind in ("map", "list"):
                merged += value.items if value.kind == "list" else [value]
            elif key.kind == "scalar":
                found[key.text] = value
        for source in merged:
            for name, value in self.members(source).items():
                found.setdefault(name, value)
        return found

    def items(self, node: Node | None) -> list[Node]:
        """Entries of a list; empty for anything else."""
        if node is None or node.kind != "list":
            return []
        self._count(len(node.items))
        return node.items

    def scalar(self, node: Node | None) -> str | None:
        """The text of a scalar; None for anything else."""
        return node.text if node is not None and node.kind == "scalar" else None

    def at(self, node: Node | None, *keys: str) -> Node | None:
        """The node that a path of keys leads to."""
        for key in keys:
            node = self.members(node).get(key)
        return node

    def text_at(self, node: Node | None, *keys: str) -> str:
        """The scalar that a path of keys leads to, or an empty text."""
        return self.scalar(self.at(node, *keys)) or ""

    def scalars(self, node: Node | None) -> Iterator[Node]:
        """Every scalar below a node."""
        if node is None:
            return
        self._count()
        if node.kind == "scalar":
            yield node
        for child in (*node.items, *(value for _, value in node.pairs)):
            yield from self.scalars(child)

    def placed(self, node: Node) -> PlacedText:
        """A scalar's text, each character with its place in the file."""
        raw = self.file.text[node.start : node.end]
        line = self.file.line(node.start)
        if raw == node.text:
            return PlacedText(node.text, self.file, range(node.start, node.end), line)
        return PlacedText(node.text, self.file, _aligned(node, raw), line)

    def _count(self, number: int = 1) -> None:
        self.left -= number
        if self.left < 0:
            raise InvalidRequest(f"its anchors stand for more than {MOST_EXPANDED_NODES:,} values; write less of them")


def documents(file: Lines, text: str, start: int, name: str) -> Document | None:
    """Read one document, whose text begins at position `start` of the file; None when it is empty.

    Raises:
        InvalidRequest: not well-formed, nested deeper than 32 levels, or more than 50,000 values.
    """
    import yaml

    try:
        composer = _Composer(file, start, name)
        top = composer.compose(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = printable((error.problem or "unreadable").replace("\n", " "))[:120]
        line = file.line(start) + (mark.line if mark else 0)
        raise InvalidRequest(f"{name}, line {line}: not valid YAML ({problem})") from None
    except yaml.YAMLError as error:
        problem = printable(str(error).splitlines()[0])[:120]
        raise InvalidRequest(f"{name}: not valid YAML ({problem})") from None
    return Document(top, file, composer.repeated) if top is not None else None


class _Composer:
    def __init__(self, file: Lines, start: int, name: str) -> None:
        self.file, self.start, self.name = file, start, name
        self.anchors: dict[str, Node] = {}
        self.open: list[Node] = []
        self.keys: list[Node | None] = []
        self.seen: list[set[str]] = []
        self.top: Node | None = None
        self.repeated: list[tuple[int, str]] = []

    def compose(self, events: Any) -> Node | None:
        import yaml

        for count, event in enumerate(events, start=1):
            if count > MAX_NODES:
                self._refuse(event, f"holds more than {MAX_NODES:,} values")
            if isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, yaml.ScalarEvent):
                style = None if event.style in ("", None) else event.style
                self._begin(event, Node("scalar", 0, 0, str(event.value), style))
            elif isinstance(event, yaml.CollectionStartEvent):
                kind = "list" if isinstance(event, yaml.SequenceStartEvent) else "map"
                node = self._begin(event, Node(kind, 0))
                self.open.append(node)
                self.keys.append(None)
                self.seen.append(set())
                if len(self.open) > MAX_NESTING:
                    self._refuse(event, f"nested deeper than {MAX_NESTING} levels")
            elif isinstance(event, yaml.CollectionEndEvent):
                node = self.open.pop()
                node.end = self.start + (event.end_mark.index if event.end_mark is not None else 0)
                self.keys.pop()
                self.seen.pop()
        self._share_downwards()
        return self.top

    def _share_downwards(self) -> None:
        """Whatever stands below a shared node is shared, too."""
        remaining = [node for node in self.anchors.values() if node.uses > 1]
        seen: set[int] = set()
        while remaining:
            node = remaining.pop()
            if id(node) in seen:
                continue
            seen.add(id(node))
            node.uses = max(node.uses, 2)
            remaining += [*node.items, *(value for _, value in node.pairs)]

    def _alias(self, event: Any) -> None:
        node = self.anchors.get(event.anchor)
        if node is None or node in self.open:
            self._refuse(event, f"the alias *{printable(str(event.anchor))[:40]} stands for nothing that is complete")
        else:
            node.uses += 1
            self._attach(node, event)

    def _begin(self, event: Any, node: Node) -> Node:
        node.start, node.end = self.start + event.start_mark.index, self.start + event.end_mark.index
        if event.anchor:
            self.anchors[event.anchor] = node
            node.start = self._behind_anchor(node.start)
        self._attach(node, event)
        return node

    def _behind_anchor(self, start: int) -> int:
        """The mark of an anchored node may begin at its anchor."""
        text = self.file.text
        while text[start : start + 1] in ("&", "!"):
            while start < len(text) and text[start] not in _BLANKS:
                start += 1
            while start < len(text) and text[start] in _BLANKS:
                start += 1
        return start

    def _attach(self, node: Node, event: Any) -> None:
        if not self.open:
            self.top = node
            return
        parent = self.open[-1]
        if parent.kind == "list":
            parent.items.append(node)
        elif self.keys[-1] is None:
            if node.kind == "scalar" and node.text != "<<":
                if node.text in self.seen[-1]:
                    line = self.file.line(self.start) + event.start_mark.line
                    self.repeated.append(
                        (line, f"the key {printable(repr(node.text))[:80]} is given twice; the last counts")
                    )
                self.seen[-1].add(node.text)
            self.keys[-1] = node
        else:
            parent.pairs.append((self.keys[-1], node))
            self.keys[-1] = None

    def _refuse(self, event: Any, problem: str) -> None:
        line = self.file.line(self.start) + event.start_mark.line
        raise InvalidRequest(f"{self.name}, line {line}: {problem}")


def _aligned(node: Node, raw: str) -> list[int]:
    """Where each character of a scalar's text stands: quotes, escapes, indents and folds are stepped over."""
    text, style = node.text, node.style
    places = [-1] * len(text)
    index, at = 0, 1 if style in ("'", '"') else 0
    if style in ("|", ">"):
        at = raw.find("\n") + 1
    while index < len(text) and at < len(raw):
        wanted, found = text[index], raw[at]
        if style == '"' and found == "\\":
            following = raw[at + 1 : at + 2]
            if following in ("\n", "\r"):
                at += 2
                while at < len(raw) and raw[at] in _BLANKS:
                    at += 1
                continue
            places[index] = node.start + at + 1 if following == wanted else -1
            index, at = index + 1, at + _ESCAPE_LENGTHS.get(following, 2)
        elif wanted in (found, HOLE) or (wanted in " \n" and found in _BLANKS):
            places[index] = node.start + at
            index, at = index + 1, at + (2 if style == "'" and found == "'" else 1)
        elif found in _BLANKS:
            at += 1
        else:
            break
    return places
