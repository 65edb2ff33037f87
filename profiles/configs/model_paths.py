"""A model that is a folder or file of this machine: its path is its name, and it must reach a command as it came in."""

import unicodedata
from pathlib import Path, PurePath

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

PATH_STARTS = ("/", "./", "../", "~")
BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the order of what is shown: a path with one reads as another path."""


def is_path(name: str) -> bool:
    """Whether a name is spelled as a path, whatever exists."""
    return name in (".", "..") or name.startswith(PATH_STARTS)


def path_id(path: str | Path) -> str:
    """The name of a model at a path: the folder that vLLM is given, spelled so that nothing takes it for a Hub id.

    `config.json` stands for its folder; another file keeps its own name. A relative path begins with `./` or `../`.

    Raises:
        InvalidRequest: a line break, control character or change of direction, which no shell line or file can show.
    """
    found = PurePath(path)
    if found.name == "config.json":
        found = found.parent
    text = found.as_posix()
    unsafe = next((character for character in text if _hides(character)), None)
    if unsafe is not None:
        raise InvalidRequest(
            f"the path of the model, {printable(ascii(text[:120]))}, holds the character U+{ord(unsafe):04X}, which a "
            "command or a file cannot show: rename the folder"
        )
    return text if is_path(text) else f"./{text}"


def served_folder(name: str) -> str:
    """What `vllm serve` takes for a model of this name: a file's folder, anything else as it is."""
    if not (is_path(name) and name.endswith(".json")):
        return name
    folder = PurePath(name).parent.as_posix()
    return folder if is_path(folder) else f"./{folder}"


def short_name(name: str) -> str:
    """The last part of a Hub id or of a path; of '.' and '..' that of the folder itself."""
    if not is_path(name):
        return name.rsplit("/", 1)[-1]
    found = PurePath(served_folder(name))
    return (found.name if found.name not in ("", "..") else Path(found).resolve().name) or "model"


def _hides(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in BIDIRECTIONAL
