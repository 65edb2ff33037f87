"""The YAML file of `vllm serve --config FILE`: its keys are flags, and the command line has the last word.

Source: vLLM 0.33 `utils/argparse_utils.py:load_config_file, _pull_args_from_config`.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import FlagTable
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.reading.user_files import read_user_file, shown_name, with_home


def with_config_file(command: ServeCommand, folder: Path | None, engine: EngineProfile) -> tuple[ServeCommand, str]:
    """Put the flags of the config file in front of those of the command, as vLLM does; a note where it is not here.

    A container's paths are not this machine's, so there the file is never looked for.

    Raises:
        InvalidRequest: the file is there and holds no flags.
    """
    texts = [word.text for word in command.arguments]
    if "--config" not in texts or texts.index("--config") + 1 >= len(texts):
        return command, ""
    index = texts.index("--config")
    word = command.arguments[index + 1]
    shown = shown_name(Path(word.text))
    if command.in_container or command.elsewhere:
        where = "the path is inside the container" if command.in_container else "the file did not come with the command"
        return command, _unread(shown, where)
    if word.unresolved:
        return command, _unread(shown, "nothing here says which file it is")
    try:
        path = with_home(word.text)
    except InvalidRequest:
        return command, _unread(shown, "the home folder is not known")
    if not path.is_absolute() and folder is not None:
        path = folder / path
    if not path.is_file():
        return command, _unread(shown, "there is no such file beside it")
    content = read_user_file(path)
    if not isinstance(content, dict):
        raise InvalidRequest(f"{shown_name(path)} must hold flags as 'name: value' lines")
    words = config_words(content, engine, source=path.name)
    model = [word for word in command.arguments[:1] if not word.text.startswith("-")]
    if not model and "model" in content:
        model = [Word(str(content["model"]), -1, -1, 1, source=path.name)]
        words = [word for word in words if word.text not in ("--model", str(content["model"]))]
        rest = command.arguments
    else:
        rest = command.arguments[len(model) :]
    return replace(command, arguments=(*model, *words, *rest)), ""


def _unread(shown: str, why: str) -> str:
    return f"the flags in --config {shown} are not known: {why}, so what depends on them is not judged"


def config_words(content: Mapping[object, object], engine: EngineProfile, source: str, line: int = 1) -> list[Word]:
    """The flags of a config file as the words of a command."""
    spellings = FlagTable(engine).spellings
    texts: list[str] = []
    for key, value in content.items():
        flag = f"--{key}"
        if isinstance(value, bool):
            negative = f"--no-{key}"
            if value:
                texts.append(flag)
            elif negative.replace("_", "-") in spellings:
                texts.append(negative)
            elif flag.replace("_", "-") in spellings and spellings[flag.replace("_", "-")][0].takes_truth:
                texts.append(f"{flag}=False")
        elif isinstance(value, list):
            texts += [flag, *(str(item) for item in value)] if value else []
        elif isinstance(value, dict):
            texts += [flag, json.dumps(value)]
        else:
            texts += [flag, str(value)]
    return [Word(text, -1, -1, line, source=source) for text in texts]
