"""Files that are written whole or not at all, and the lock that keeps a second writer of a folder out."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from vllm_opt.profiles.errors import InvalidRequest

TEMPORARY_SUFFIX = ".part"
"""A file that was not finished: '.NAME.xxxx.part' beside its place."""


def replace_file(path: Path, content: str | bytes, *, follow_link: bool = True, durable: bool = True) -> None:
    """Write a file through a temporary neighbour, so that a reader sees the old content or the new, never a part.

    A file that already holds the content is left alone. A link is followed, or with `follow_link=False` replaced.
    `durable` also waits until the disk has it, which thousands of files cannot afford.

    Raises:
        InvalidRequest: the folder is missing or unwritable, or the disk is full; what stood there is untouched.
    """
    encoded = content if isinstance(content, bytes) else content.encode("utf-8", errors="replace")
    try:
        target = path.resolve() if follow_link else path.parent.resolve() / path.name
        if target.exists() and not stat.S_ISREG(target.stat().st_mode):
            target.write_bytes(encoded)  # a pipe or a device cannot be replaced, only written
        elif not _holds(target, encoded):
            _replace_regular_file(target, encoded, durable=durable)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a usable path"
        raise InvalidRequest(f"cannot write '{str(path)[-200:]}': {reason or error}") from None


@contextlib.contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold an exclusive lock on a file for the while; the file is made when it is missing, and never written.

    A link in its place is refused, so that nobody's file is touched through it. On a platform without such locks
    nothing is held.

    Raises:
        InvalidRequest: somebody else holds it (`busy` says so), or it cannot be opened.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise InvalidRequest(f"cannot open the lock '{str(path)[-200:]}': {error.strerror or error}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidRequest(busy) from None
        yield
    finally:
        os.close(descriptor)


def _holds(target: Path, encoded: bytes) -> bool:
    try:
        return not target.is_symlink() and target.read_bytes() == encoded
    except OSError:
        return False


def _replace_regular_file(target: Path, encoded: bytes, *, durable: bool) -> None:
    descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:80]}.", suffix=TEMPORARY_SUFFIX)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(encoded)
            stream.flush()
            if durable:
                os.fsync(stream.fileno())
        _keep_owner(target, temporary)
        temporary.chmod(_mode_for(target))
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
