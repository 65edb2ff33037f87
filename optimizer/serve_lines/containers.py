"""Containers that hold vLLM: their image's entry point, and `docker run` with any option."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from vllm_opt.optimizer.serve_lines.commands import InnerScript, ServeCommand, made, server_in
from vllm_opt.optimizer.serve_lines.images import (
    image_hardware,
    image_version,
    is_unversioned,
    is_vllm_image,
    looks_like_vllm,
    starts_vllm_itself,
)
from vllm_opt.optimizer.serve_lines.words import Word, assignment

_RUNNERS = ("docker", "podman", "nerdctl", "finch")
_SWITCHES = re.compile(
    r"-[ditPq]+|--(?:detach|init|interactive|tty|rm|privileged|read-only|no-healthcheck|oom-kill-disable|publish-all|"
    r"sig-proxy|disable-content-trust|quiet|replace|no-hosts|rmi|tls-verify|env-host|help)"
)
"""Options of `docker run` that take no value (docker's and podman's references); every other one takes a word."""
_JOINED_SHORT = re.compile(r"-[evpwuhmlca].+")
_SHELL_NAMES = ("sh", "bash", "dash", "/bin/sh", "/bin/bash", "/usr/bin/bash", "/bin/dash")


@dataclass(frozen=True)
class Container:
    """What surrounds a command in a container."""

    image: str
    environment: dict[str, str] = field(default_factory=dict)
    gpu_count: int | None = None
    shared_memory: bool | None = None

    def around(self, command: ServeCommand) -> ServeCommand:
        """The command as it runs in here."""
        return replace(
            command,
            environment={**self.environment, **command.environment},
            image_version=image_version(self.image) or command.image_version,
            hardware=image_hardware(self.image) or command.hardware,
            unversioned=is_unversioned(self.image),
            gpu_count=self.gpu_count if self.gpu_count is not None else command.gpu_count,
            shared_memory=self.shared_memory,
            in_container=True,
        )


def server_in_image(
    image: str, entry: Sequence[Word] | None, words: Sequence[Word], text: str, environment: Mapping[str, str]
) -> ServeCommand | InnerScript | None:
    """Return the server that an image starts with these words; `entry` None leaves the image its own entry point."""
    if entry is not None:
        return server_in([*entry, *words], text, environment)
    own_entry = starts_vllm_itself(image)
    repeated = _repeated(words) if own_entry else 0
    if repeated:
        api = repeated > 2 or (repeated == 2 and words[1].text != "serve")
        command = made(words, repeated - 1, "api_server" if api else "image", text, environment)
        return replace(command, repeated_entry=tuple(words[:repeated]), leading=())
    found = server_in(words, text, environment)
    if found is not None:
        return found
    bare = bool(words) and not words[0].text.startswith("-") and words[0].text in _SHELL_NAMES
    if not bare and words and (is_vllm_image(image) or looks_like_vllm(list(words))):
        return made(words, -1, "image", text, environment)
    return None


def _repeated(words: Sequence[Word]) -> int:
    """How many words at the front say what the entry point says already."""
    texts = [word.text for word in words[:4]]
    if texts[:1] == ["serve"]:
        return 1
    if texts[:1] and texts[0].rsplit("/", 1)[-1] == "vllm" and texts[1:2] == ["serve"]:
        return 2
    if texts[1:2] == ["-m"] and texts[:1] and texts[0].rsplit("/", 1)[-1].startswith("python"):
        return 3 if texts[2:3] and texts[2].startswith("vllm.entrypoints") else 0
    return 0


def container_run(
    words: Sequence[Word], text: str, environment: Mapping[str, str]
) -> tuple[Container, ServeCommand | InnerScript | None] | None:
    """Read `docker run OPTIONS IMAGE WORDS`; None for any other command."""
    texts = [word.text for word in words]
    runner = next((i for i, word in enumerate(texts) if word.rsplit("/", 1)[-1] in _RUNNERS), -1)
    if runner < 0 or not {"run", "create"} & set(texts[runner : runner + 6]):
        return None
    index = next(i for i in range(runner, len(texts)) if texts[i] in ("run", "create")) + 1
    options, index = _options(texts, index, environment)
    if index >= len(texts):
        return None
    image = texts[index]
    rest = words[index + 1 :]
    entry = _entry_point(words, options.entry_point)
    container = Container(image, options.environment, options.gpu_count, options.shared_memory)
    found = server_in_image(image, entry, rest, text, options.environment)
    if isinstance(found, ServeCommand):
        found = replace(found, line=words[0].line)
        if not found.leading:
            found = replace(found, leading=tuple(texts[: index + 1]))
        if not found.arguments_end and not rest and words[index].end > 0:
            found = replace(found, arguments_end=words[index].end)
    return container, found


@dataclass
class _Options:
    environment: dict[str, str] = field(default_factory=dict)
    gpu_count: int | None = None
    shared_memory: bool = False
    entry_point: str | None = None


def _options(texts: list[str], index: int, outside: Mapping[str, str]) -> tuple[_Options, int]:
    found = _Options()
    while index < len(texts) and (texts[index].startswith("-") or texts[index].startswith("$")):
        text = texts[index]
        if text.startswith("$"):
            # Options in a variable, unless this is the image itself.
            if not any(each.startswith("-") or is_vllm_image(each) for each in texts[index + 1 : index + 3]):
                break
            index += 1
            continue
        name, separator, value = text.partition("=")
        if not name.startswith("--") and _JOINED_SHORT.fullmatch(text) and not _SWITCHES.fullmatch(text):
            name, value = text[:2], text[2:].removeprefix("=")
        elif not separator and not _SWITCHES.fullmatch(name) and index + 1 < len(texts):
            index += 1
            value = texts[index]
        _note(found, name, value, outside)
        index += 1
    return found, index


def _note(found: _Options, name: str, value: str, outside: Mapping[str, str]) -> None:
    if name in ("-e", "--env"):
        key, separator, setting = value.partition("=")
        found.environment[key] = setting if separator else outside.get(key, "")
    elif name == "--gpus":
        found.gpu_count = device_count(value)
    elif name == "--entrypoint":
        found.entry_point = value
    found.shared_memory = found.shared_memory or (name == "--ipc" and value == "host") or name == "--shm-size"


def _entry_point(words: Sequence[Word], entry: str | None) -> list[Word] | None:
    if entry is None:
        return None
    return [Word(entry, -1, -1, words[0].line, literal=False)] if entry else []


def device_count(value: str) -> int | None:
    """Read `--gpus 2` and `--gpus '"device=0,1"'`; 'all' says nothing."""
    text = value.strip("'\"")
    if text.isdecimal() and len(text) < 6:
        return int(text)
    if text.startswith("device="):
        return len(text.removeprefix("device=").split(","))
    return None


def cloud_run(words: Sequence[Word], text: str, environment: Mapping[str, str]) -> ServeCommand | None:
    """Read `gcloud run deploy --image=vLLM --args=a,b,c`; the arguments are one word, so no fix touches them."""
    texts = [word.text for word in words]
    if "gcloud" not in texts[:4] or not any(each.startswith("--args") for each in texts):
        return None
    values: dict[str, tuple[str, Word]] = {}
    for index, word in enumerate(words):
        name, separator, value = word.text.partition("=")
        if not separator and index + 1 < len(words):
            value = texts[index + 1]
        values[name] = (value, word)
    image, arguments = values.get("--image", ("", words[0]))[0], values["--args"]
    split = [Word(each, -1, -1, arguments[1].line, literal=False) for each in arguments[0].split(",")]
    found = server_in_image(image, None, split, text, environment)
    if not isinstance(found, ServeCommand):
        return None
    gpu = values.get("--gpu-type", ("", words[0]))[0] or None
    count = values.get("--gpu", ("", words[0]))[0]
    container = Container(image, {}, int(count) if count.isdecimal() and len(count) < 6 else None)
    return replace(container.around(found), gpu=gpu, line=words[0].line, leading=("vllm", "serve"), arguments_end=0)


def exported(words: Sequence[Word]) -> dict[str, str]:
    """The assignments in front of a command."""
    found: dict[str, str] = {}
    for word in words:
        pair = assignment(word)
        if pair is None:
            if word.text not in ("env", "sudo", "exec", "nohup", "time", "setsid"):
                break
            continue
        found[pair[0]] = pair[1]
    return found
