"""What mkdocs does beyond its own: links that leave docs/ are shown as the file's name, and no page is left out."""

import logging
import re
from pathlib import Path
from typing import Any

LOG = logging.getLogger("mkdocs.hooks.site")
ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
LINK_OUT = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<path>\.\./[^)#\s]+)(?:#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Append pages that the table of contents does not name, so that a new page is found as soon as it is written."""
    named = set(_pages(config["nav"]))
    guides = [page.name for page in sorted(DOCS.glob("*.md")) if page.name not in named]
    rules = [f"lint/{page.name}" for page in sorted((DOCS / "lint").glob("*.md")) if f"lint/{page.name}" not in named]
    for section in config["nav"]:
        if "Guides" in section:
            section["Guides"] += guides
        if "Reference" in section:
            section["Reference"].append({"Lint rules": rules})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Show a link to a file outside docs/ as that file's path: the site holds the documents alone."""
    folder = (DOCS / page.file.src_uri).parent

    def shown(match: re.Match[str]) -> str:
        target = (folder / match["path"]).resolve()
        if target.is_relative_to(DOCS):
            return match[0]
        if not target.exists():
            LOG.warning("%s: %s leads nowhere", page.file.src_uri, match["path"])
        path = target.relative_to(ROOT).as_posix()
        return f"`{path}`" if match["text"].strip("`") in (path, target.name) else f"{match['text']} (`{path}`)"

    return LINK_OUT.sub(shown, markdown)


def _pages(entry: Any) -> list[str]:
    if isinstance(entry, str):
        return [entry]
    inner = entry.values() if isinstance(entry, dict) else entry
    return [page for each in inner for page in _pages(each)]
