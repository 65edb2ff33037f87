"""What the shell offers behind an option: names read from the data files, without loading the catalogue.

Switched on once per shell, for bash: `eval "$(_VLLM_OPT_COMPLETE=bash_source vllm-opt)"`; zsh and fish likewise.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

DATA = Path(__file__).parents[2] / "profiles" / "data"
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _offered(names: Callable[[], Iterable[tuple[str, str]]]) -> Completer:
    """Offer the names that begin with, or after their owner's '/' begin with, what stands there; never fail."""

    def complete(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        start = incomplete.lower()
        try:
            return [
                CompletionItem(name, help=words or None)
                for name, words in names()
                if name.lower().startswith(start) or name.lower().rpartition("/")[2].startswith(start)
            ]
        except (OSError, ValueError, KeyError, TypeError):
            return []

    return complete


def _rows(file: str, key: str, words: str) -> Callable[[], Iterable[tuple[str, str]]]:
    def names() -> Iterable[tuple[str, str]]:
        for row in json.loads((DATA / file).read_text(encoding="utf-8"))[key]:
            yield row["id"], str(row.get(words) or "")

    return names


def _models() -> Iterable[tuple[str, str]]:
    for name in json.loads((DATA / "models" / "index.json").read_text(encoding="utf-8"))["models"]:
        yield name, ""


def _engines() -> Iterable[tuple[str, str]]:
    for file in sorted((DATA / "engines").glob("*.json")):
        yield file.stem, ""


models = _offered(_models)
gpus = _offered(_rows("gpus.json", "gpus", "name"))
quantizations = _offered(_rows("quantizations.json", "quantizations", "title"))
kv_cache_dtypes = _offered(_rows("kv_cache_dtypes.json", "kv_cache_dtypes", "title"))
workloads = _offered(_rows("workloads.json", "workloads", "description"))
engines = _offered(_engines)
