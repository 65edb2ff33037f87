"""The output folder: whole files only, records of finished cells that `--resume` reads, and what a run may delete.

`cells/KEY.json` holds one record under the hash of everything it depends on, so that a record that is there is valid.
Every file is written beside its place and moved over it: after a kill -9 a file is the old one, the new one or absent.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.batches.cells import Cell
from vllm_opt.optimizer.batches.vllm_config import HEADER_START
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.whole_file import TEMPORARY_SUFFIX, locked, replace_file

LOCK = ".lock"
INDEX_SCHEMA = "vllm-opt/batch-index/1"
RECORD_SCHEMA = "vllm-opt/batch-cell/1"
NOT_KEPT = ("failed", "unknown")
"""Answers that another try may change: `--resume` asks again."""
_CONFIG_PATH = re.compile(r"configs(/[A-Za-z0-9._+-]+){3}\.yaml")


class BatchFolder:
    """One output folder."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Create the folder, and keep every other run out of it for the while.

        Raises:
            InvalidRequest: it cannot be written, holds something else than a batch, or another run writes it.
        """
        self._create()
        busy = f"another batch is writing '{self.path}'; wait for it, or use --output"
        with locked(self.path / "cells" / LOCK, busy):
            yield

    def _create(self) -> None:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.path.iterdir()}
            if names and "cells" not in names:
                raise InvalidRequest(
                    f"'{self.path}' holds files that no batch wrote; name an empty or new folder with --output"
                )
            (self.path / "cells").mkdir(exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"cannot write the folder '{self.path}': {error.strerror or error}") from None

    def record_of(self, cell: Cell) -> dict[str, Any] | None:
        """The stored record of a cell, or None when there is none that is whole."""
        try:
            stored = json.loads(self._record_path(cell.key).read_bytes())
            record = stored["record"]
            whole = stored["schema"] == RECORD_SCHEMA and stored["key"] == cell.key and "status" in record
        except (OSError, ValueError, TypeError, KeyError):
            return None
        return record if whole else None

    def keep(self, cell: Cell, record: dict[str, Any]) -> None:
        """Store the record of a finished cell."""
        if record["status"] not in NOT_KEPT:
            content = {"schema": RECORD_SCHEMA, "key": cell.key, "record": record}
            self.write(f"cells/{cell.key}.json", json.dumps(content, allow_nan=False) + "\n")

    def write(self, name: str, content: str) -> None:
        """Write one file whole; one that already holds this content is left alone.

        Raises:
            InvalidRequest: the disk is full or the folder unwritable.
        """
        target = self.path / name
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"cannot write '{target}': {error.strerror or error}") from None
        replace_file(target, content, follow_link=False, durable=False)

    def previous_index(self) -> dict[str, Any] | None:
        """The index of the last complete run, if there is one that can be read."""
        for name in ("index.json", "cells/previous-index.json"):
            index = self._read_index(name)
            if index is not None and index.get("complete") is True:
                return index
        return None

    def set_previous_index_aside(self) -> None:
        """Keep the index of the last complete run before a partial one takes its place."""
        index = self._read_index("index.json")
        if index is not None and index.get("complete") is True:
            self.write("cells/previous-index.json", (self.path / "index.json").read_text(encoding="utf-8"))

    def remove_leftovers(self, cells: Iterable[Cell], files: Iterable[str], previous: dict[str, Any] | None) -> None:
        """After a complete run: delete records of other runs, part files, and configurations that no longer exist."""
        keys, current = {f"{cell.key}.json" for cell in cells}, set(files)
        for entry in (self.path / "cells").iterdir():
            if entry.is_file() and entry.name != LOCK and entry.name not in keys:
                entry.unlink(missing_ok=True)
        for part in (self.path / "configs").rglob(f".*{TEMPORARY_SUFFIX}"):
            part.unlink(missing_ok=True)
        for row in previous["cells"] if previous else ():
            name = row.get("file") if isinstance(row, dict) else None
            if isinstance(name, str) and name not in current and _CONFIG_PATH.fullmatch(name) and ".." not in name:
                self._remove_config(self.path / name)

    def remove_config(self, name: str) -> None:
        """Delete the configuration of a cell that has none any more."""
        self._remove_config(self.path / name)

    def _remove_config(self, file: Path) -> None:
        try:
            with file.open(encoding="utf-8") as stream:
                ours = stream.readline().startswith(HEADER_START)
            if not ours:
                return
            file.unlink()
            for folder in (file.parent, file.parent.parent):
                folder.rmdir()
        except (OSError, ValueError):
            return

    def _record_path(self, key: str) -> Path:
        return self.path / "cells" / f"{key}.json"

    def _read_index(self, name: str) -> dict[str, Any] | None:
        try:
            index = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError, RecursionError):
            return None
        known = isinstance(index, dict) and index.get("schema") == INDEX_SCHEMA and isinstance(index.get("cells"), list)
        return index if known else None
