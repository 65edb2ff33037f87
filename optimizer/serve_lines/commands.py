"""Find the commands in shell text that start a vLLM server, with their arguments and environment.

Known ways to start one: `vllm serve MODEL`, `python -m vllm.entrypoints.openai.api_server`, a container image of
vLLM in `docker run`, and any of them inside `bash -c "…"`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from vllm_opt.optimizer.serve_lines.shell_words import Operator, Token, Word, assignment, shell_tokens

API_SERVER_MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
_IMAGE = re.compile(r"(?:[\w.-]+(?::\d+)?/)*vllm[\w.-]*(?:/[\w.-]+)*(?::(?P<tag>[\w.-]+))?(?:@sha256:[0-9a-f]+)?")
_TAG = re.compile(r"v?(\d+\.\d+(?:\.\d+)?)(?:[-_.+].*)?")
_SHELLS = ("sh", "bash", "dash", "zsh", "ash")
_DEEPEST_SHELL = 4


@dataclass(frozen=True)
class ServeCommand:
    """One command that starts a vLLM server, before its flags are understood."""

    arguments: tuple[Word, ...]
    entry: str
    """How it starts: 'serve', 'api_server', 'image', or 'config' for a file of flags."""
    environment: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """The shell text that the words' positions count in."""
    line: int = 1
    place: str = ""
    """Where in a file it stands, e.g. "service 'vllm'"."""
    image_version: str | None = None
    gpu: str | None = None
    """What the surrounding file says the GPU is, e.g. a node selector."""
    gpu_count: int | None = None
    """How many GPUs the surrounding file or CUDA_VISIBLE_DEVICES gives to it."""
    shared_memory: bool | None = None
    """Whether a container has enough shared memory for several ranks; None: not a container, or not known."""
    arguments_end: int = 0
    """Where a new argument goes in `text`."""
    in_list: bool = False
    """The words are the items of a YAML list, not shell text."""
    leading: tuple[str, ...] = ()
    """The words before the arguments."""


def serve_commands(text: str) -> list[ServeCommand]:
    """Return every vLLM server that the shell text starts, in order.

    Raises:
        InvalidRequest: a quote that is never closed, or text that is too long.
    """
    return _commands_in(shell_tokens(text), text, {}, 0)


def commands_of_tokens(words: Sequence[Word], text: str) -> list[ServeCommand]:
    """Return the servers that a list of ready-made words (an exec-form command) starts."""
    return _commands_in(list(words), text, {}, 0)


def image_version(image: str) -> str | None:
    """Return the release in the tag of a vLLM image: 'vllm/vllm-openai:v0.11.0' -> '0.11.0'; None for 'latest'."""
    match = _IMAGE.fullmatch(image.strip())
    tag = _TAG.fullmatch(match.group("tag") or "") if match else None
    return tag.group(1) if tag else None


def is_vllm_image(image: str) -> bool:
    """Whether a container image's name says that it holds vLLM."""
    match = _IMAGE.fullmatch(image.strip())
    return match is not None and ("/" in image or ":" in image)


def _commands_in(tokens: list[Token], text: str, exported: dict[str, str], depth: int) -> list[ServeCommand]:
    found: list[ServeCommand] = []
    simple: list[Word] = []
    environment = dict(exported)
    for token in [*tokens, Operator("\n")]:
        if isinstance(token, Word):
            simple.append(token)
            continue
        if simple:
            found.extend(_from_simple(simple, text, environment, depth))
        simple = []
    return found


def _from_simple(words: list[Word], text: str, environment: dict[str, str], depth: int) -> list[ServeCommand]:
    """One simple command; assignments alone, or after `export`, hold for those that follow."""
    exported = words[1:] if words[0].text == "export" else words
    pairs = [assignment(word) for word in exported]
    if pairs and all(pair is not None for pair in pairs):
        if words[0].text == "export":
            environment.update(pair for pair in pairs if pair is not None)
        return []
    local = dict(environment)
    for word in words:
        pair = assignment(word)
        if pair is None:
            if word.text not in ("env", "sudo", "exec", "nohup", "time"):
                break
            continue
        local[pair[0]] = pair[1]
    return _started_by(words, text, local, depth)


def _started_by(words: list[Word], text: str, environment: dict[str, str], depth: int) -> list[ServeCommand]:
    texts = [word.text for word in words]
    for index, word in enumerate(texts):
        following = texts[index + 1] if index + 1 < len(texts) else ""
        if word.rsplit("/", 1)[-1] == "vllm" and following == "serve":
            return [_command(words, index + 1, "serve", text, environment)]
        if word == "-m" and following in API_SERVER_MODULES:
            return [_command(words, index + 1, "api_server", text, environment)]
        if word.endswith("vllm/entrypoints/openai/api_server.py"):
            return [_command(words, index, "api_server", text, environment)]
        if word.rsplit("/", 1)[-1] in _SHELLS and depth < _DEEPEST_SHELL:
            inner = _shell_string(words, index)
            if inner is not None:
                return _inside_shell(inner, text, environment, depth)
    return _container(words, text, environment, depth)


def _command(words: list[Word], last: int, entry: str, text: str, environment: dict[str, str]) -> ServeCommand:
    arguments = words[last + 1 :]
    return ServeCommand(
        arguments=tuple(arguments),
        entry=entry,
        environment=environment,
        text=text,
        line=words[0].line,
        arguments_end=words[-1].end,
        leading=tuple(word.text for word in words[: last + 1]),
    )


def _shell_string(words: list[Word], index: int) -> Word | None:
    """The word after `bash -c` (also `-lc`, `-ec` …)."""
    for position in range(index + 1, len(words) - 1):
        if not words[position].text.startswith("-"):
            return None
        if re.fullmatch(r"-[a-z]*c", words[position].text):
            return words[position + 1]
    return None


def _inside_shell(inner: Word, text: str, environment: dict[str, str], depth: int) -> list[ServeCommand]:
    """The text of `bash -c`; positions still count in the outer text where it stands there verbatim."""
    tokens = shell_tokens(inner.text, environment)
    verbatim = inner.start >= 0 and text[inner.start + 1 : inner.end - 1] == inner.text
    shift = inner.start + 1
    moved: list[Token] = [
        token
        if isinstance(token, Operator)
        else replace(
            token,
            start=token.start + shift if verbatim else -1,
            end=token.end + shift if verbatim else -1,
            line=token.line + inner.line - 1,
        )
        for token in tokens
    ]
    return _commands_in(moved, text, environment, depth + 1)


_VALUE_OPTIONS = re.compile(
    r"-[evpwuhml]|--(?:env|volume|publish|name|gpus|shm-size|network|net|ipc|runtime|restart|mount|env-file|entrypoint|"
    r"workdir|user|hostname|ulimit|device|cpus|memory|label|platform|pull|add-host|cap-add|security-opt|log-opt|"
    r"log-driver|cpuset-cpus|pid)"
)
"""Options of `docker run` whose value is the next word."""


def _container(words: list[Word], text: str, environment: dict[str, str], depth: int) -> list[ServeCommand]:
    """`docker run … vllm/vllm-openai:TAG ARGUMENTS`."""
    texts = [word.text for word in words]
    runner = next((i for i, word in enumerate(texts) if word.rsplit("/", 1)[-1] in ("docker", "podman", "nerdctl")), -1)
    if runner < 0 or "run" not in texts[runner:]:
        return []
    index = texts.index("run", runner) + 1
    inside: dict[str, str] = {}
    shared = False
    gpus: int | None = None
    while index < len(texts) and texts[index].startswith("-"):
        name, separator, value = texts[index].partition("=")
        if not separator and _VALUE_OPTIONS.fullmatch(name) and index + 1 < len(texts):
            index += 1
            value = texts[index]
        if name in ("-e", "--env"):
            key, _, setting = value.partition("=")
            inside[key] = setting or environment.get(key, "")
        shared = shared or (name == "--ipc" and value == "host") or name == "--shm-size"
        gpus = _device_count(value) if name == "--gpus" else gpus
        index += 1
    if index >= len(texts) or not is_vllm_image(texts[index]):
        return []
    image = texts[index]
    rest = words[index + 1 :]
    nested = _started_by(rest, text, inside, depth + 1) if rest and depth < _DEEPEST_SHELL else []
    found = nested or [_command(words, index, "image", text, inside)]
    return [
        replace(each, image_version=image_version(image), shared_memory=shared, gpu_count=gpus, line=words[0].line)
        for each in found
    ]


def _device_count(value: str) -> int | None:
    """Read `--gpus 2` and `--gpus '"device=0,1"'`; 'all' says nothing."""
    text = value.strip("'\"")
    if text.isdecimal() and len(text) < 6:
        return int(text)
    if text.startswith("device="):
        return len(text.removeprefix("device=").split(","))
    return None
