"""YAML of any answer or manifest: the JSON document, key for key, without anchors."""

from typing import Any


def as_yaml(*documents: dict[str, Any]) -> str:
    """Return the documents, separated by '---' when there are several; a long string stays on one line."""
    import yaml

    class WithoutAnchors(yaml.SafeDumper):
        """Writes a repeated value out again: readers of manifests do not expect '&id001'."""

        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
            return True

    text: str = yaml.dump_all(documents, Dumper=WithoutAnchors, sort_keys=False, allow_unicode=True, width=10_000)
    return text
