"""The parts of a YAML node that has already passed the checks of `profiles.user_files`."""

import re
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.serve_lines.shell_words import Word


def members(node: Any) -> dict[str, Any]:
    """Keys and value nodes of a mapping; empty for anything else."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return {}
    return {str(key.value): value for key, value in node.value if isinstance(key, yaml.ScalarNode)}


def items(node: Any) -> list[Any]:
    """Nodes of a list; empty for anything else."""
    import yaml

    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def scalar(node: Any) -> str | None:
    """The text of a scalar; None for anything else."""
    import yaml

    return str(node.value) if isinstance(node, yaml.ScalarNode) else None


class Place:
    """The file's text, and what to add to a position in the document to get one in the file."""

    def __init__(self, text: str, shift: int) -> None:
        self.text, self.shift = text, shift

    def span(self, node: Any) -> tuple[int, int]:
        """Where a node stands in the file."""
        return node.start_mark.index + self.shift, node.end_mark.index + self.shift

    def line(self, position: int) -> int:
        """The line of a position, from 1."""
        return self.text.count("\n", 0, position) + 1

    def words(self, node: Any) -> list[Word]:
        """The items of a list of words."""
        found = []
        for item in items(node):
            start, end = self.span(item)
            found.append(Word(scalar(item) or "", start, end, self.line(start)))
        return found


def found_again(words: list[Word], text: str, start: int, end: int, place: Place) -> list[Word]:
    """Find each word's own text in the file, one after the other; YAML may fold, indent or escape between them."""
    found = []
    cursor = start
    for word in words:
        raw = text[word.start : word.end]
        match = re.compile(rf"(?<![^\s'\"\[,;=&|(>-]){re.escape(raw)}").search(place.text, cursor, end)
        if match is None:
            found.append(replace(word, start=-1, end=-1, line=place.line(start)))
            continue
        cursor = match.end()
        found.append(replace(word, start=match.start(), end=match.end(), line=place.line(match.start())))
    return found
