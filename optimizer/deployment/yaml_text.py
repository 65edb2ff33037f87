"""YAML of manifests: keys in their order, no anchors, and comments that cannot be left."""

from collections.abc import Iterable
from typing import Any

from vllm_opt.profiles.printable import one_line

OTHER_LINE_ENDS = frozenset("\x85\u2028\u2029")
"""read as line ends by YAML 1.1, so a plain text with one of them would come back with a blank"""
GENERATED = "Written by vllm-opt; predictions are in expected.json."


def comment_lines(lines: Iterable[str]) -> str:
    """Lines behind `#`, each on one line whatever it holds."""
    return "".join(f"# {one_line(line)}\n" for line in lines)


def yaml_text(documents: Iterable[dict[str, Any]], comments: Iterable[str] = ()) -> str:
    """Comments, then the documents, separated by '---' when there are several; a long string stays on one line."""
    import yaml

    class WithoutAnchors(yaml.SafeDumper):
        """Writes a repeated value out again: readers of manifests do not expect '&id001'."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

        def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002
            """Lists stand below their key, as yamllint and Helm users expect."""
            super().increase_indent(flow, False)

    def lines(dumper: yaml.SafeDumper, data: str) -> yaml.ScalarNode:
        """A text of several lines stands as it is, where YAML allows that; other line ends are written as escapes."""
        style = "|" if "\n" in data and data.isascii() else None
        style = '"' if OTHER_LINE_ENDS.intersection(data) else style
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    WithoutAnchors.add_representer(str, lines)
    text: str = yaml.dump_all(
        documents, Dumper=WithoutAnchors, sort_keys=False, allow_unicode=True, width=10_000, explicit_start=False
    )
    return comment_lines(comments) + text
