"""Files that hold measurements: found in folders, opened plain or gzipped, read as a stream within stated bounds.

Bounds: 5,000 files in all; of a log any length up to 8 GiB of text, in blocks of 1 MiB, of a line
64 KiB; of a document that must be read whole (JSON) 64 MiB. Links are not followed in folders.
"""

import gzip
import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import with_home

MOST_FILES = 5_000
MOST_LOG_BYTES = 8 << 30
BLOCK_BYTES = 1 << 20
LONGEST_LINE_BYTES = 64 << 10
LARGEST_DOCUMENT_BYTES = 64 << 20
HEAD_BYTES = 8 << 10
READABLE = (".json", ".jsonl", ".ndjson", ".csv", ".log", ".txt", ".out", ".err", ".gz")
"""Endings of files that are read out of a folder; a file named by itself may end in anything."""


class Unreadable(Exception):  # noqa: N818 - what a file is
    """One file that cannot be used, in one clause."""


def files_of(names: tuple[str, ...]) -> list[Path]:
    """Every file named, and those inside folders, in the order of their names; each once.

    Raises:
        InvalidRequest: a path is missing or no file and no folder, or there are too many files.
    """
    found: dict[Path, None] = {}
    for name in names:
        path, shown = with_home(name), printable(name[-200:])
        try:
            folder, there = path.is_dir(), path.exists()
        except (OSError, ValueError):
            folder, there = False, False
        if not there:
            raise InvalidRequest(f"there is no file or folder '{shown}'; give logs, results or folders of them")
        if not folder and not path.is_file():
            raise InvalidRequest(f"'{shown}' is neither a file nor a folder")
        for file in _inside(path) if folder else (path,):
            found[file] = None
            if len(found) > MOST_FILES:
                raise InvalidRequest(f"more than {MOST_FILES:,} files; give a folder that holds fewer")
    return list(found)


def _inside(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if (
                name.lower().endswith(READABLE)
                and not name.startswith(".")
                and not file.is_symlink()
                and file.is_file()
            ):
                yield file


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file as bytes, unpacked where it is gzipped.

    Raises:
        Unreadable: it cannot be opened, or the packed stream is damaged.
    """
    try:
        with path.open("rb") as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            if packed:
                with gzip.open(stream) as unpacked:
                    yield cast(IO[bytes], unpacked)
            else:
                yield stream
    except (EOFError, gzip.BadGzipFile, zlib.error):
        raise Unreadable("the gzip stream is damaged or ends early") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"cannot be read: {getattr(error, 'strerror', None) or 'not a usable path'}") from None


def blocks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """A log in blocks of whole lines of about 1 MiB; ends after 8 GiB, or where a packed stream breaks off.

    Of a line that is longer than a block only the first block is kept.
    """
    read, begun, inside_long = 0, b"", False
    while read < MOST_LOG_BYTES:
        try:
            block = stream.read(BLOCK_BYTES)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            break
        if not block:
            break
        read += len(block)
        cut = block.rfind(b"\n") + 1
        if inside_long:
            first = block.find(b"\n") + 1
            if not first:
                continue
            block, cut, inside_long = block[first:], cut - first, False
        if cut:
            yield begun + block[:cut]
            begun = block[cut:]
        elif len(begun) < BLOCK_BYTES:
            begun += block
        else:
            inside_long = True
            yield begun + b"\n"
            begun = b""
    if begun:
        yield begun


def lines_of(stream: IO[bytes]) -> Iterator[str]:
    """Lines of a table or of JSON lines, each cut after 64 KiB; ends where a packed stream breaks off."""
    read = 0
    while read < MOST_LOG_BYTES:
        try:
            line = stream.readline(LONGEST_LINE_BYTES)
            rest = line
            while len(rest) == LONGEST_LINE_BYTES and not rest.endswith(b"\n"):
                rest = stream.readline(LONGEST_LINE_BYTES)
                read += len(rest)
        except (EOFError, gzip.BadGzipFile, zlib.error):
            return
        if not line:
            return
        read += len(line)
        yield line.decode("utf-8", errors="replace")


def head_of(path: Path) -> str:
    """The beginning of a file as text.

    Raises:
        Unreadable: as `opened`.
    """
    with opened(path) as stream:
        return stream.read(HEAD_BYTES).decode("utf-8-sig", errors="replace")


def document_of(path: Path) -> Any:
    """The JSON value of a whole file.

    Raises:
        Unreadable: too large, not UTF-8, not JSON, cut off, or nested too deeply.
    """
    with opened(path) as stream:
        raw = stream.read(LARGEST_DOCUMENT_BYTES + 1)
    if len(raw) > LARGEST_DOCUMENT_BYTES:
        raise Unreadable(f"more than {LARGEST_DOCUMENT_BYTES >> 20} MiB of JSON; benchmark without --save-detailed")
    return json_value(raw.decode("utf-8-sig", errors="replace"))


def json_value(text: str) -> Any:
    """A JSON value; NaN and the infinities, which benchmarks write, become null.

    Raises:
        Unreadable: it is none.
    """
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except RecursionError:
        raise Unreadable("JSON nested too deeply") from None
    except ValueError:
        raise Unreadable("not JSON, or cut off in the middle") from None
