"""A user's calibration: read from the file named, else from the user's data folder, and written whole or not at all."""

import contextlib
import json
import stat
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.own_calibration import OwnCalibration
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import with_home
from vllm_opt.profiles.whole_file import replace_file

LOCK_SECONDS = 10.0
LARGEST_FILE_BYTES = 64 << 20


def own_calibration_path() -> Path:
    """Where a calibration is kept when no file is named."""
    from platformdirs import user_data_path

    return user_data_path("vllm-opt", appauthor=False) / "calibration.json"


def load_own_calibration(path: Path | None = None) -> OwnCalibration | None:
    """Return the calibration of a file, by default the user's; None where the user has none.

    Raises:
        InvalidRequest: a named file is missing, or a file cannot be used.
    """
    named = path is not None
    place = with_home(path) if path is not None else own_calibration_path()
    shown = printable(str(place)[-200:])
    try:
        if not stat.S_ISREG(place.stat().st_mode):
            raise InvalidRequest(f"the calibration '{shown}' is not a file")
        with place.open("rb") as stream:
            raw = stream.read(LARGEST_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise InvalidRequest(f"there is no calibration '{shown}'; `vllm-opt calibrate` writes one") from None
        return None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise InvalidRequest(f"cannot read the calibration '{shown}': {reason}") from None
    return parsed(raw, shown)


def parsed(raw: bytes, shown: str) -> OwnCalibration:
    """Read the bytes of a calibration.

    Raises:
        InvalidRequest: they are too many, no JSON, or another file's.
    """

    def refusal(why: str) -> InvalidRequest:
        remedy = "move it away, or name another with --calibration-file"
        return InvalidRequest(f"the calibration '{shown}' cannot be used ({why}); {remedy}")

    if len(raw) > LARGEST_FILE_BYTES:
        raise refusal(f"larger than {LARGEST_FILE_BYTES >> 20} MiB")
    try:
        content = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        raise refusal("not JSON") from None
    if not isinstance(content, dict) or content.get("schema") != "vllm-opt/calibration/1":
        raise refusal("no calibration of this program")
    try:
        return OwnCalibration.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        raise refusal(printable(f"{where}: {first['msg']}"[:160])) from None


def write_own_calibration(calibration: OwnCalibration, path: Path | None = None) -> Path:
    """Write a calibration; hold `calibration_lock` around reading and writing.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    place = with_home(path) if path is not None else own_calibration_path()
    document = calibration.model_dump(mode="json", exclude_defaults=True)
    document = {"schema": calibration.schema_name, **document}
    replace_file(place, json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    return place


@contextlib.contextmanager
def calibration_lock(path: Path | None = None) -> Iterator[None]:
    """Keep other processes from changing a calibration for the while.

    Raises:
        InvalidRequest: another process holds it, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    place = with_home(path) if path is not None else own_calibration_path()
    shown = printable(str(place)[-200:])
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place.with_name(place.name + ".lock"), timeout=LOCK_SECONDS)
        lock.acquire()
    except Timeout:
        raise InvalidRequest(f"another process is writing '{shown}'; try again") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a usable path"
        raise InvalidRequest(f"cannot write '{shown}': {reason}") from None
    try:
        yield
    finally:
        lock.release()
        with contextlib.suppress(OSError):
            Path(lock.lock_file).unlink(missing_ok=True)
