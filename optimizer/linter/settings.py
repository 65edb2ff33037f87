"""`[lint]` in `vllm-opt.toml` of the current folder: what the options say otherwise."""

import tomllib
from pathlib import Path
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.reading.user_files import read_user_text

FILE = "vllm-opt.toml"
KEYS = ("select", "ignore", "exclude", "advice", "gpu", "vllm_version", "target_context", "concurrency")


def lint_settings(folder: Path) -> dict[str, Any]:
    """Return the table `[lint]`, empty where there is none.

    Raises:
        InvalidRequest: the file is not TOML, or the table holds an unknown key.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        content = tomllib.loads(read_user_text(file))
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest(f"'{FILE}': not valid TOML ({error})") from None
    table = content.get("lint", {})
    if not isinstance(table, dict):
        raise InvalidRequest(f"'{FILE}': [lint] must be a table")
    for key in table:
        if key.replace("-", "_") not in KEYS:
            raise InvalidRequest(f"'{FILE}': [lint] has no key '{key[:60]}'{did_you_mean(key, KEYS)}")
    return {key.replace("-", "_"): value for key, value in table.items()}
