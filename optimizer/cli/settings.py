"""Settings that stand for options: environment variables and `vllm-opt.toml`, for the command line alone.

An option takes its value from the command line, else from `VLLM_OPT_<OPTION>`, else from `./vllm-opt.toml`, else from
the user's `vllm-opt.toml`, else its default. A file holds options by name, at the top for every command that has
them, or under the name of one command. Python calls read no settings.
"""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from vllm_opt.profiles.errors import InvalidRequest, did_you_mean

PREFIX = "VLLM_OPT_"
FILE_NAME = "vllm-opt.toml"
LARGEST_FILE_BYTES = 2**20
NOT_OPTIONS = ("DEBUG",)
"""Variables with the prefix that are read elsewhere."""
TRUE_WORDS, FALSE_WORDS = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
NEVER_SET = frozenset(("help", "version", "requests", "output", "dump-model", "schema", "fix", "fix-all"))
"""Options that make sense for one call only."""


@dataclass
class Settings:
    """The values of one command's parameters, by parameter name, and where each comes from."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def take(self, parameter: click.Parameter, value: Any, place: str) -> None:
        """Keep a value, unless an earlier place has said one."""
        if parameter.name is not None and parameter.name not in self.values:
            self.values[parameter.name] = value
            self.places[parameter.name] = place


def settings_for(command: click.Command, known: Mapping[str, click.Command] | None = None) -> Settings:
    """Collect the settings of one command.

    `known` gives every command, to tell an option of another one from a mistake; without it names are not judged.

    Raises:
        InvalidRequest: a file cannot be read, holds an unknown key, or a value that no option takes.
    """
    found = Settings()
    options = _options(command)
    for name, parameter in options.items():
        variable = PREFIX + name.upper().replace("-", "_")
        if os.environ.get(variable):
            found.take(parameter, _from_environment(parameter, os.environ[variable], variable), variable)
    every = {name for each in (known or {}).values() for name in _options(each)} | set(options)
    for path, shown in settings_files():
        content = _read(path, shown)
        if content is None:
            continue
        own = content.get(command.name or "")
        for table in (own if isinstance(own, dict) else {}, content):
            for key, value in table.items():
                name = key.replace("_", "-")
                if name in options and not (table is content and isinstance(value, dict) and key in (known or {})):
                    found.take(options[name], _from_file(options[name], value, key, shown), shown)
        _refuse_unknown(content, every, known or {}, shown)
    return found


def settings_wanted() -> bool:
    """Whether there is any setting at all: most calls have none and need not load what judges them."""
    return any(name.startswith(PREFIX) for name in os.environ) or any(path.exists() for path, _ in settings_files())


def settings_files() -> tuple[tuple[Path, str], ...]:
    """The files that are looked for, the stronger one first, and how they are shown."""
    from platformdirs import user_config_path

    user = user_config_path("vllm-opt", appauthor=False) / FILE_NAME
    return (Path(FILE_NAME), f"./{FILE_NAME}"), (user, str(user))


def unknown_variables(commands: Mapping[str, click.Command]) -> list[str]:
    """A sentence per environment variable with our prefix that names no option of any command."""
    known = {PREFIX + name.upper().replace("-", "_") for each in commands.values() for name in _options(each)}
    known |= {PREFIX + name for name in NOT_OPTIONS}
    return [
        f"{name} names no option{did_you_mean(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known
    ]


def place_of_setting(context: click.Context, sentence: str) -> str:
    """Say where a value came from that a sentence complains about, when it was not typed."""
    places = context.obj.places if isinstance(context.obj, Settings) else {}
    for name, place in places.items():
        option = "--" + name.replace("_", "-")
        taken = context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP
        if taken and (sentence.startswith(f"{option}:") or f"{option} " in sentence):
            return f" (set in {place})"
    return ""


def settings_note(context: click.Context) -> str:
    """Name every place whose settings this call uses, with the options; empty when there is none."""
    if not isinstance(context.obj, Settings):
        return ""
    used: dict[str, list[str]] = {}
    for name, place in context.obj.places.items():
        if context.get_parameter_source(name) is ParameterSource.DEFAULT_MAP:
            used.setdefault(place, []).append("--" + name.removesuffix("_name").replace("_", "-"))
    listed = "; ".join(
        place if place.startswith(PREFIX) else f"{', '.join(names)} from {place}" for place, names in used.items()
    )
    return f"settings used: {listed}" if listed else ""


def _options(command: click.Command) -> dict[str, click.Parameter]:
    """The options of a command by their long names, without dashes."""
    return {
        spelling.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for spelling in parameter.opts
        if spelling.startswith("--") and spelling.removeprefix("--") not in NEVER_SET
    }


def _from_environment(parameter: click.Parameter, text: str, variable: str) -> Any:
    if parameter.multiple if isinstance(parameter, click.Option) else False:
        return [part.strip() for part in text.split(",") if part.strip()]
    if getattr(parameter, "is_flag", False):
        word = text.strip().lower()
        if word not in (*TRUE_WORDS, *FALSE_WORDS):
            raise InvalidRequest(f"{variable} must be true or false, not '{text[:60]}'")
        return word in TRUE_WORDS
    return _checked(parameter, text, variable)


def _from_file(parameter: click.Parameter, value: Any, key: str, shown: str) -> Any:
    where = f"{shown}: {key}"
    if getattr(parameter, "is_flag", False):
        if not isinstance(value, bool):
            raise InvalidRequest(f"{where} must be true or false")
        return value
    if isinstance(value, dict):
        value = [f"{name}={number}" for name, number in value.items()]
    items = value if isinstance(value, list) else [value]
    if any(isinstance(item, bool | list | dict) for item in items):
        raise InvalidRequest(f"{where} must be a text, a number or a list of them")
    if getattr(parameter, "multiple", False):
        return [str(item) for item in items]
    if len(items) != 1:
        raise InvalidRequest(f"{where} must be one value")
    return _checked(parameter, str(items[0]), where)


def _checked(parameter: click.Parameter, text: str, where: str) -> str:
    """A value that has to be one of a few is judged here, where its place is known."""
    if isinstance(parameter.type, click.Choice) and text not in parameter.type.choices:
        listed = ", ".join(str(choice) for choice in parameter.type.choices)
        raise InvalidRequest(f"{where} must be one of {listed}, not '{text[:60]}'")
    return text


def _read(path: Path, shown: str) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise InvalidRequest(f"cannot read the settings {shown}: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > LARGEST_FILE_BYTES:
        raise InvalidRequest(f"the settings {shown} are larger than {LARGEST_FILE_BYTES} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise InvalidRequest(f"the settings {shown} are not UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise InvalidRequest(f"the settings {shown} are not TOML: {error}") from None


def _refuse_unknown(
    content: dict[str, Any], every: set[str], commands: Mapping[str, click.Command], shown: str
) -> None:
    for key, value in content.items():
        if isinstance(value, dict) and key in commands:
            own = _options(commands[key])
            for inner in value:
                if inner.replace("_", "-") not in own:
                    raise InvalidRequest(f"{shown}: [{key}] has no option '{inner[:60]}'{did_you_mean(inner, own)}")
        elif key.replace("_", "-") not in every:
            known = {*every, *commands}
            raise InvalidRequest(
                f"{shown}: no option or command '{key[:60]}'{did_you_mean(key.replace('_', '-'), known)}"
            )
