"""A container of compose or Kubernetes: entry point and arguments, lists or text, filled in and read."""

import re
from collections.abc import Mapping
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import InnerScript, ServeCommand
from vllm_opt.optimizer.serve_lines.containers import server_in_image
from vllm_opt.optimizer.serve_lines.files.filling_in import Filler
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.images import image_hardware, image_version, is_unversioned
from vllm_opt.optimizer.serve_lines.placed_text import HOLE, OPEN, PlacedText, clean, unmarked
from vllm_opt.optimizer.serve_lines.shell.plain_words import placed_words
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.optimizer.serve_lines.words import Word, finished

_TEMPLATE_LINE = re.compile(r"[ \t]*(?:\{\{[^\n]*\}\}[ \t]*)?\n")
_BLOCK = re.compile(r"\{\{-?\s*(if|range|with|end)\b")
_ADDS_ITEMS = re.compile(r"^[ \t]*(\{\{[^\n]*(?:toYaml|include|tpl|range|template)[^\n]*\}\})[ \t]*$", re.MULTILINE)


class YamlContainer:
    """Reads the commands of one container."""

    def __init__(self, document: Document, fill: Filler, environment: Mapping[str, str]) -> None:
        self.document, self.fill, self.environment = document, fill, environment
        self.scripts: dict[int, PlacedText] = {}

    def words(self, node: Node | None) -> list[Word] | None:
        """The words of a list, or of a text that is split as a shell would; None where nothing is given."""
        if node is None or (node.kind == "scalar" and node.text in ("", "null", "~") and node.style is None):
            return None
        if node.kind == "list":
            optional = _conditional_lines(self.document.file.text, node.start, node.end)
            words = [
                replace(word, conditional=any(start <= item.start < end for start, end in optional))
                for item in self.document.items(node)
                for word in [self._item(item, node)]
            ]
            self.scripts.update({id(word): self._script(item) for word, item in zip(words, node.items, strict=True)})
            return [*words, *self._templates(node)]
        if node.kind != "scalar":
            return None
        filled = self.fill(self.document.placed(node), False)
        words = placed_words(filled, {})
        return [replace(word, literal=False) for word in words] if node.uses > 1 else words

    def _templates(self, node: Node) -> list[Word]:
        """Lines of a template between or behind the items may add any others."""
        text = self.document.file.text
        end = node.end
        while (match := _TEMPLATE_LINE.match(text, end)) is not None:
            end = match.end()
        found = _ADDS_ITEMS.search(text, node.start, end)
        if found is None:
            return []
        spelled = found.group(1).strip()
        return [Word(spelled, -1, -1, self.document.file.line(found.start()), (spelled,), literal=False, many=True)]

    def _item(self, item: Node, parent: Node) -> Word:
        if item.kind != "scalar":
            return Word("", -1, -1, self.document.file.line(item.start), ("?",), literal=False, many=True)
        source = self.document.placed(item)
        filled = self.fill(source, True)
        line = self.document.file.line(item.start)
        literal = filled.text == source.text and item.uses == 1 and parent.uses == 1 and HOLE not in item.text
        where = (item.start, item.end) if parent.uses == 1 and item.uses == 1 else (-1, -1)
        word = finished(filled.text, *where, line, literal=literal)
        if OPEN in filled.text or HOLE in filled.text:
            word = replace(word, raw=item.text.replace(HOLE, ""), text=_spelled(self.document, item, word))
            alone = unmarked(filled.text).strip() in word.unresolved or not filled.text.strip(HOLE)
            word = replace(word, many=alone and HOLE in filled.text, raw="")
        return word

    def _script(self, item: Node) -> PlacedText:
        """An item as a script of the container's shell."""
        return self.fill(self.document.placed(item), False)

    def read(self, image: str, entry: Node | None, command: Node | None) -> Reading:
        """The servers that the container starts."""
        first, rest = self.words(entry), self.words(command)
        every = [*(first or []), *(rest or [])]
        file = self.document.file.text
        found = server_in_image(image, first, rest or [], file, self.environment)
        last = command if rest else entry
        reading = Reading()
        if isinstance(found, ServeCommand):
            in_list = last is not None and last.kind == "list"
            shared = last is not None and last.uses > 1
            end = 0 if shared else found.arguments_end
            reading.commands = [self._around(replace(found, in_list=in_list, arguments_end=end), image)]
        elif isinstance(found, InnerScript):
            source = self.scripts.get(id(found.script))
            if source is None or not any(word is found.script for word in every):
                return reading
            state = ShellState(dict(self.environment), set(self.environment), found.parameters[1:])
            reading = read_shell(source, state)
            reading.commands = [self._around(each, image) for each in reading.commands]
        return reading

    def _around(self, command: ServeCommand, image: str) -> ServeCommand:
        return replace(
            command,
            environment={**self.environment, **command.environment},
            image_version=image_version(image) or command.image_version,
            hardware=image_hardware(image) or command.hardware,
            unversioned=is_unversioned(image),
            in_container=True,
            leading=command.leading or ("vllm", "serve"),
        )


def _conditional_lines(text: str, start: int, end: int) -> list[tuple[int, int]]:
    """Where between two positions a template's `if`, `range` or `with` is open."""
    found: list[tuple[int, int]] = []
    depth = opened = 0
    for match in _BLOCK.finditer(text, start, end):
        if match.group(1) != "end":
            opened = match.end() if depth == 0 else opened
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                found.append((opened, match.start()))
    return [*found, (opened, end)] if depth else found


def _spelled(document: Document, item: Node, word: Word) -> str:
    """An item as the file spells it, without its quotes."""
    raw = document.file.text[item.start : item.end]
    if item.style in ("'", '"') and len(raw) > 1:
        raw = raw[1:-1]
    return clean(raw) if "{{" in raw and "\n" not in raw else word.text


def environment_of(document: Document, node: Node | None, fill: Filler) -> dict[str, str]:
    """Read a mapping, a list of 'NAME=value', or a list of {name, value}; unknown parts are marked."""
    found: dict[str, str] = {}
    for name, value in document.members(node).items():
        found[name] = _value(document, value, fill)
    for item in document.items(node):
        pair = document.members(item)
        if not pair:
            name, separator, _ = item.text.partition("=")
            if separator:
                found[name] = _value(document, item, fill).partition("=")[2]
        elif "value" in pair:
            found[document.scalar(pair.get("name")) or ""] = _value(document, pair["value"], fill)
    return found


def _value(document: Document, node: Node, fill: Filler) -> str:
    return fill(document.placed(node), True).text if node.kind == "scalar" else ""
