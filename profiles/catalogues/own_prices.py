"""A user's imported prices: kept in the user's data folder, one list per provider, written whole or not at all."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.reading.data_files import parse_rows
from vllm_opt.profiles.whole_file import replace_file

SCHEMA = "vllm-opt/own-prices/1"
LOCK_SECONDS = 10.0


class OwnList(NamedTuple):
    """What was imported of one provider."""

    provider: str
    as_of: str
    source: str
    offers: tuple[Offer, ...]


def own_prices_path() -> Path:
    """Where the imported lists are kept."""
    from platformdirs import user_data_path

    return user_data_path("vllm-opt", appauthor=False) / "prices.json"


def load_own_prices() -> tuple[OwnList, ...]:
    """Every imported list; none when nothing was imported.

    Raises:
        InvalidRequest: the file is damaged.
    """
    path = own_prices_path()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(_damaged(getattr(error, "strerror", None) or "not UTF-8 text")) from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(_damaged("not JSON")) from None
    if not isinstance(content, dict) or content.get("schema") != SCHEMA or not isinstance(content.get("lists"), list):
        raise InvalidRequest(_damaged("no list of prices"))
    return tuple(_list_of(entry) for entry in content["lists"])


def keep_own_prices(new: OwnList) -> Path:
    """Keep an imported list; it replaces what was imported of the same provider.

    Raises:
        InvalidRequest: the folder cannot be written, another process holds it, or what is there is damaged.
    """
    return _changed(lambda lists: (*(one for one in lists if one.provider != new.provider), new))


def forget_own_prices(provider: str | None = None) -> int:
    """Forget the imported list of one provider, or all of them, damaged ones too; return how many there were.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    path = own_prices_path()
    if not path.exists():
        return 0
    if provider is None:
        with suppress(InvalidRequest):
            count = len(load_own_prices())
            _removed(path)
            return count
        _removed(path)
        return 1
    before = load_own_prices()
    kept = tuple(one for one in before if one.provider != provider)
    _changed(lambda _: kept)
    return len(before) - len(kept)


def _list_of(entry: Any) -> OwnList:
    if not isinstance(entry, dict) or not all(
        isinstance(entry.get(key), str) for key in ("provider", "as_of", "source")
    ):
        raise InvalidRequest(_damaged("a list without provider, date or source"))
    try:
        offers = parse_rows(Offer, entry.get("offers"), own_prices_path().name, "offers")
    except InvalidRequest as error:
        raise InvalidRequest(_damaged(str(error)[:200])) from None
    return OwnList(entry["provider"], entry["as_of"], entry["source"], offers)


def _damaged(why: str) -> str:
    return f"the imported prices in {own_prices_path()} cannot be used ({why}); `vllm-opt prices --forget` removes them"


def _changed(change: Any) -> Path:
    """Read, change and write the lists while no other process does."""
    from filelock import FileLock, Timeout

    path = own_prices_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_SECONDS):
            lists = change(load_own_prices())
            rows = [
                {**one._asdict(), "offers": [offer.model_dump(mode="json") for offer in one.offers]} for one in lists
            ]
            replace_file(path, json.dumps({"schema": SCHEMA, "lists": rows}, ensure_ascii=False, indent=1) + "\n")
    except Timeout:
        raise InvalidRequest(f"another process is writing {path}; try again") from None
    except OSError as error:
        raise InvalidRequest(f"cannot write {path}: {error.strerror or 'not a usable path'}") from None
    return path


def _removed(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise InvalidRequest(f"cannot remove {path}: {error.strerror or 'not a usable path'}") from None
