"""The folder of a deployment: written whole, never over anybody else's file, and compared when it is checked.

`.vllm-opt.json` lists the files of the last write with their hashes. A file that is not in it, or that was edited
since, is never overwritten. While files are exchanged the list holds the old and the new hash of each, so that a run
after a crash still knows its own; a new folder is built beside its place and moved there.
"""

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vllm_opt.optimizer.deployment.deployment import Deployment
from vllm_opt.optimizer.deployment.files import DEFAULT_EMIT, files_of
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.whole_file import TEMPORARY_SUFFIX, replace_file

MANIFEST = ".vllm-opt.json"
SCHEMA = "vllm-opt/deploy-folder/1"
MOST_SHOWN = 5


@dataclass(frozen=True)
class FolderReport:
    """What was written or, of a check, what is stale and how it differs."""

    directory: Path
    files: tuple[str, ...]
    changed: tuple[str, ...]
    diff: str = ""

    @property
    def stale(self) -> bool:
        """Whether anything differs: what a check found, or what a write changed."""
        return bool(self.changed)


def write_folder(
    deployment: Deployment, directory: str | Path, emit: Sequence[str] = DEFAULT_EMIT, *, check: bool = False
) -> FolderReport:
    """Write the files of a deployment, or with `check` only say what differs, as a unified diff.

    Raises:
        InvalidRequest: the folder cannot be written, or holds a file in the way that is not its own or was edited.
    """
    return write_files(files_of(deployment, emit), Path(directory), check=check)


def write_files(files: Mapping[str, str], directory: Path, *, check: bool = False) -> FolderReport:
    """The same for given files, by their path in the folder."""
    own = _own_hashes(directory)
    if check:
        return _checked(files, directory, own)
    try:
        if not directory.exists() and not directory.is_symlink():
            _build_aside(files, directory)
            return FolderReport(directory, tuple(files), tuple(files))
        if not directory.is_dir():
            raise InvalidRequest(f"cannot write the folder '{directory}': a file of that name is in the way")
        return _exchange(files, directory, own)
    except OSError as error:
        raise InvalidRequest(f"cannot write the folder '{directory}': {error.strerror or error}") from None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _own_hashes(directory: Path) -> dict[str, list[str]]:
    """Path -> hashes that this program gave it; nothing when there is no list that can be read."""
    try:
        stored = json.loads((directory / MANIFEST).read_bytes())
        files = stored["files"] if stored.get("schema") == SCHEMA else {}
        return {str(path): [str(value) for value in values] for path, values in files.items() if _is_plain(str(path))}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _is_plain(path: str) -> bool:
    """Whether a path of the list stays inside the folder: the list is a file that anybody may have edited."""
    parts = Path(path).parts
    return bool(parts) and not Path(path).is_absolute() and ".." not in parts


def _manifest(hashes: Mapping[str, Sequence[str]]) -> str:
    document = {"schema": SCHEMA, "files": {path: list(values) for path, values in sorted(hashes.items())}}
    return json.dumps(document, indent=1) + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def _build_aside(files: Mapping[str, str], directory: Path) -> None:
    directory.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name[:80]}.", suffix=TEMPORARY_SUFFIX))
    try:
        for path, text in files.items():
            target = aside / path
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, text, durable=False)
            _make_runnable(target)
        manifest = _manifest({path: [_hash(_encoded(text))] for path, text in files.items()})
        replace_file(aside / MANIFEST, manifest, durable=False)
        mask = os.umask(0)
        os.umask(mask)
        aside.chmod(0o777 & ~mask)
        aside.rename(directory)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _make_runnable(target: Path) -> None:
    if target.suffix == ".sh":
        mode = target.stat().st_mode
        target.chmod(mode | ((mode & 0o444) >> 2))


def _exchange(files: Mapping[str, str], directory: Path, own: Mapping[str, Sequence[str]]) -> FolderReport:
    leftovers = [path for path in own if path not in files and (directory / path).is_file()]
    _check_in_the_way(files, leftovers, directory, own)
    changed = [path for path, text in files.items() if not _holds(directory / path, text)]
    new = {path: _hash(_encoded(text)) for path, text in files.items()}
    if changed or leftovers or {path: [value] for path, value in new.items()} != own:
        both = {path: list(dict.fromkeys([*own.get(path, ()), value])) for path, value in new.items()}
        replace_file(directory / MANIFEST, _manifest({**own, **both}), follow_link=False)
    for path in changed:
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_file(target, files[path], follow_link=False)
        _make_runnable(target)
    for path in leftovers:
        (directory / path).unlink(missing_ok=True)
        _remove_empty(directory, (directory / path).parent)
    replace_file(directory / MANIFEST, _manifest({path: [value] for path, value in new.items()}), follow_link=False)
    return FolderReport(directory, tuple(files), (*changed, *leftovers))


def _remove_empty(directory: Path, folder: Path) -> None:
    while folder != directory:
        try:
            folder.rmdir()
        except OSError:
            return
        folder = folder.parent


def _check_in_the_way(
    files: Mapping[str, str], leftovers: Sequence[str], directory: Path, own: Mapping[str, Sequence[str]]
) -> None:
    for path in (*files, *leftovers):
        for parent in (directory / path).parents:
            if parent == directory:
                break
            if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
                raise InvalidRequest(f"cannot write '{directory / path}': '{parent}' is no folder of its own")
    foreign, edited = [], []
    for path in (*files, *leftovers):
        target = directory / path
        if not os.path.lexists(target) or (path in files and _holds(target, files[path])):
            continue
        if not target.is_file() or target.is_symlink() or path not in own:
            foreign.append(path)
        elif _hash(target.read_bytes()) not in own[path]:
            edited.append(path)
    for found, words in ((foreign, "were not written by vllm-opt"), (edited, "were edited since they were written")):
        if found:
            shown = ", ".join(sorted(found)[:MOST_SHOWN]) + (" and more" if len(found) > MOST_SHOWN else "")
            raise InvalidRequest(
                f"'{directory}' holds files that {words}: {shown}; move them away, or name another folder"
            )


def _holds(target: Path, text: str) -> bool:
    try:
        return not target.is_symlink() and target.read_bytes() == _encoded(text)
    except OSError:
        return False


def _checked(files: Mapping[str, str], directory: Path, own: Mapping[str, Sequence[str]]) -> FolderReport:
    parts: list[str] = []
    changed: list[str] = []
    for path in sorted({*files, *own}):
        before, after = _text_of(directory / path), files.get(path)
        if before == after:
            continue
        changed.append(path)
        old = "/dev/null" if before is None else f"a/{path}"
        new = "/dev/null" if after is None else f"b/{path}"
        parts += difflib.unified_diff(_lines(before), _lines(after), fromfile=old, tofile=new)
    return FolderReport(directory, tuple(files), tuple(changed), "".join(parts))


def _text_of(path: Path) -> str | None:
    try:
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return None


def _lines(text: str | None) -> list[str]:
    """Lines with their ends; a last one without gets one, as a diff cannot show it."""
    return [f"{line}\n" for line in text.removesuffix("\n").split("\n")] if text else []
