"""The syntax tree of shell text, by tree-sitter's bash grammar."""

from collections.abc import Sequence
from typing import Any

from vllm_opt.optimizer.serve_lines.placed_text import PlacedText, whole


def syntax_tree(text: str) -> tuple[Any, Sequence[int]]:
    """Return the root node, and the character position of each byte position.

    Source of the grammar: https://github.com/tree-sitter/tree-sitter-bash
    """
    import tree_sitter
    import tree_sitter_bash

    encoded = text.encode("utf-8", errors="replace")
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))
    root = parser.parse(encoded).root_node
    if len(encoded) == len(text):
        return root, range(len(text) + 2)
    offsets: list[int] = []
    for index, character in enumerate(text):
        offsets += [index] * len(character.encode("utf-8", errors="replace"))
    return root, [*offsets, len(text), len(text) + 1]


def parsed_word(text: str) -> tuple[PlacedText, Sequence[int], Any]:
    """One word that stands alone, e.g. the default of a variable; the node is None where it is no word."""
    source = whole(f": {text}")
    root, offset = syntax_tree(source.text)
    command = root.children[0] if len(root.children) == 1 and not root.has_error else None
    words = command.children[1:] if command is not None and command.type == "command" else []
    return source, offset, words[0] if len(words) == 1 else None
