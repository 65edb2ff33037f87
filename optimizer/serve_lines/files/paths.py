"""What to read when files, folders and patterns are given."""

import os
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from vllm_opt.optimizer.serve_lines.files.sources import KINDS, kind_of
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import MAX_USER_FILE_BYTES

SHELL_ENDINGS = (".sh", ".bash", ".zsh", ".slurm", ".sbatch", ".bats", ".env")
SKIPPED_FOLDERS = frozenset(
    ("node_modules", "__pycache__", ".git", ".venv", "venv", "site-packages", ".mypy_cache", ".tox", "build", "dist")
)
MOST_FILES = 50_000
_WORTH_READING = re.compile(rb"vllm|VLLM|tensor[-_]parallel|gpu[-_]memory[-_]util|max[-_]model[-_]len|modelURL")


def files_of(paths: Sequence[str], exclude: Sequence[str] = ()) -> tuple[list[Path], bool]:
    """Return the files in the order given, each once, and whether any came from a folder or a pattern.

    Of a folder, files are taken whose name can hold a command and whose text mentions vLLM.

    Raises:
        InvalidRequest: a path that does not exist, a pattern that matches nothing, or too many files.
    """
    found: dict[Path, None] = {}
    searched = False
    for path in paths:
        place = Path(path)
        if place.is_dir():
            searched = True
            found.update(dict.fromkeys(each for each in _below(place) if not _excluded(each, exclude)))
        elif place.exists():
            found[place] = None
        elif any(mark in path for mark in "*?["):
            searched = True
            found.update(dict.fromkeys(each for each in _matching(path) if not _excluded(each, exclude)))
        else:
            raise InvalidRequest(f"cannot read '{path[-200:]}': No such file or directory")
        if len(found) > MOST_FILES:
            raise InvalidRequest(f"more than {MOST_FILES:,} files; name fewer folders, or exclude some")
    return list(found), searched


def _matching(pattern: str) -> list[Path]:
    base = Path(Path(pattern).anchor)
    files = sorted(base.glob(str(Path(pattern).relative_to(base)))) if base.parts else sorted(Path().glob(pattern))
    if not files:
        raise InvalidRequest(f"no file matches '{pattern[-200:]}'")
    return [file for file in files if file.is_file() and _mentions_vllm(file)]


def _below(folder: Path) -> Iterator[Path]:
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name not in SKIPPED_FOLDERS and (not name.startswith(".") or name == ".github")
        )
        for name in sorted(names):
            file = Path(base) / name
            if _can_hold_a_command(name) and file.is_file() and _mentions_vllm(file):
                yield file


def _can_hold_a_command(name: str) -> bool:
    suffix = Path(name).suffix.lower()
    return suffix in KINDS or suffix in SHELL_ENDINGS or kind_of(name) == "dockerfile"


def _mentions_vllm(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return _WORTH_READING.search(stream.read(MAX_USER_FILE_BYTES)) is not None
    except OSError:
        return True


def _excluded(file: Path, patterns: Sequence[str]) -> bool:
    return any(fnmatch(file.as_posix(), pattern) or fnmatch(file.name, pattern) for pattern in patterns)
