"""The forms that every kind of answer has: a table for the terminal, a page, JSON and YAML."""

from collections.abc import Callable
from typing import Any, Protocol


class Dumped(Protocol):
    """An answer as its pydantic type."""

    def model_dump(self, *, mode: str) -> dict[str, Any]:
        """The answer as plain JSON."""
        ...


def written_as(answer: Dumped, format_name: str, table: Callable[[], str], page: Callable[[], str]) -> str | None:
    """The answer in one of those forms, drawn by `table` or `page`; None for a format that is none of them."""
    if format_name == "table":
        return table()
    if format_name == "html":
        return page()
    return document_as(answer.model_dump(mode="json"), format_name) if format_name in ("json", "yaml") else None


def document_as(document: dict[str, Any], format_name: str) -> str:
    """A document as JSON or YAML."""
    if format_name == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        return as_json(document)
    return as_yaml(document)


def as_yaml(*documents: dict[str, Any]) -> str:
    """Return the documents, separated by '---' when there are several; a long string stays on one line."""
    import yaml

    class WithoutAnchors(yaml.SafeDumper):
        """Writes a repeated value out again: readers of manifests do not expect '&id001'."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    text: str = yaml.dump_all(documents, Dumper=WithoutAnchors, sort_keys=False, allow_unicode=True, width=10_000)
    return text
