"""Where an answer goes: standard output, or a file that is written whole or not at all."""

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path

import click

from vllm_opt.profiles.errors import InvalidRequest


def write_answer(answer: str, output: str | None) -> None:
    """Write the answer, ending in a line break, to the file or to standard output.

    Raises:
        InvalidRequest: the file cannot be written; what stood there before is untouched.
        OSError: standard output cannot be written.
    """
    answer = answer if answer.endswith("\n") else answer + "\n"
    if output is not None and output != "-":
        replace_file(Path(output), answer)
        return
    write_standard_output(answer)


def write_standard_output(answer: str) -> None:
    """Write to standard output; characters that its encoding lacks become '?'.

    Raises:
        InvalidRequest: there is no standard output.
    """
    if sys.stdout is None:
        raise InvalidRequest("standard output is closed; give --output FILE")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    click.echo(answer, nl=False)
    sys.stdout.flush()


def replace_file(path: Path, content: str) -> None:
    """Write a file through a temporary neighbour, so that a reader sees the old content or the new, never a part.

    Raises:
        InvalidRequest: the folder is missing or unwritable, or the disk is full.
    """
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            _write_device(path, content)
            return
        _replace_regular_file(path, content)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        raise InvalidRequest(f"cannot write '{str(path)[-200:]}': {reason or error}") from None


def _write_device(path: Path, content: str) -> None:
    """A pipe or a device cannot be replaced, only written."""
    with path.open("w", encoding="utf-8", errors="replace") as stream:
        stream.write(content)


def _replace_regular_file(path: Path, content: str) -> None:
    target = path.resolve()
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.", suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace", newline="\n") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        _keep_owner(target, Path(temporary))
        Path(temporary).chmod(_mode_for(target))
        Path(temporary).replace(target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _keep_owner(target: Path, temporary: Path) -> None:
    """A file that is replaced keeps its owner and group, where this user may give them."""
    if target.exists():
        owner = target.stat()
        with contextlib.suppress(OSError, AttributeError):
            os.chown(temporary, owner.st_uid, owner.st_gid)


def _mode_for(target: Path) -> int:
    """The permissions the file has, or those that a plain `open` would give."""
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
