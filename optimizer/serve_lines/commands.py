"""A command that starts a vLLM server, and how to tell one from a list of words.

Known ways to start one: `vllm serve MODEL`, `python -m vllm.entrypoints.openai.api_server`, a container image of
vLLM, and any of them inside `bash -c "…"`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from vllm_opt.optimizer.serve_lines.words import Word, assignment

API_SERVER_MODULES = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server")
CLI_MODULES = ("vllm", "vllm.entrypoints.cli.main")
_SHELLS = ("sh", "bash", "dash", "zsh", "ash", "ksh")
_SCRIPT_OPTION = re.compile(r"-[a-zA-Z]*c")
_SPEAKERS = frozenset(
    ("echo", "printf", "print", "pkill", "pgrep", "grep", "killall", "kill", "which", "man", "git", "cat", "log",
     "info", "warn", "error", "logger", "alias", "type", "command", "ps", "pip", "read", "test", "[", "[[", "sed",
     "awk")
)  # fmt: skip
"""Commands that only speak of what their words name."""
_CARRIERS = frozenset(("ssh", "tmux", "screen", "su", "pdsh", "watch", "parallel-ssh", "nsenter", "wsl", "runuser"))
"""Commands that hand one of their words to a shell."""
_HELP = frozenset(("--help", "-h", "--version", "--help=all"))
_FLAG_FREE_PREFIX = ("exec", "nohup", "time", "sudo", "setsid")


@dataclass(frozen=True)
class ServeCommand:
    """One command that starts a vLLM server, before its flags are understood."""

    arguments: tuple[Word, ...]
    entry: str
    """How it starts: 'serve', 'api_server', 'image', 'kserve', or 'config' for a file of flags."""
    environment: dict[str, str] = field(default_factory=dict)
    text: str = ""
    """The text of the file that the words' positions count in."""
    line: int = 1
    place: str = ""
    """Where in a file it stands, e.g. "service 'vllm'"."""
    image_version: str | None = None
    gpu: str | None = None
    """What the surrounding file says the GPU is, e.g. a node selector."""
    gpu_count: int | None = None
    """How many GPUs the surrounding file or CUDA_VISIBLE_DEVICES gives to each node of it."""
    nodes: int = 1
    """Nodes of one server: the size of a LeaderWorkerSet, or of a Ray cluster that the text starts."""
    starts_ray: bool = False
    """The text joins the nodes to a Ray cluster before the server starts."""
    shared_memory: bool | None = None
    """Whether a container has enough shared memory for several ranks; None: not a container, or not known."""
    arguments_end: int = 0
    """Where a new argument goes in `text`; 0: nowhere that is sure."""
    in_list: bool = False
    """The words are the items of a YAML list, not shell text."""
    in_container: bool = False
    """Paths are those of a container, not of this machine."""
    elsewhere: bool = False
    """The command came without its files: no path of it is looked at."""
    leading: tuple[str, ...] = ()
    """The words before the arguments."""
    repeated_entry: tuple[Word, ...] = ()
    """Words such as `vllm serve` that an image's own entry point says already."""
    cut_lines: tuple[Word, ...] = ()
    """Backslashes that a blank keeps from continuing their line, with that blank."""
    hardware: str | None = None
    """What the image runs on where its name says so: 'cpu', 'rocm' …"""
    unversioned: bool = False
    """The image is a build whose release is not known, perhaps newer than every known one."""
    wrapper_flags: tuple[str, ...] = ()
    """Flags of a wrapper around vLLM, without dashes; vLLM does not see them."""

    @property
    def positional_model(self) -> bool:
        """Whether the first word without a dash names the model."""
        return self.entry not in ("api_server", "kserve")


@dataclass(frozen=True)
class InnerScript:
    """A word that a shell reads as a script, and the words that are its positional parameters."""

    script: Word
    parameters: tuple[Word, ...]


def server_in(words: Sequence[Word], text: str, environment: Mapping[str, str]) -> ServeCommand | InnerScript | None:
    """Return the server that one simple command starts, the script that it hands to a shell, or None."""
    texts = [word.text for word in words]
    first = _command_name(words)
    if first in _SPEAKERS:
        return None
    for index, word in enumerate(texts):
        following = texts[index + 1] if index + 1 < len(texts) else ""
        name = word.rsplit("/", 1)[-1]
        last, entry = -1, "serve"
        if name == "vllm" and following == "serve":
            last = index + 1
        elif word == "-m" and following in CLI_MODULES and texts[index + 2 : index + 3] == ["serve"]:
            last = index + 2
        elif word == "-m" and following in API_SERVER_MODULES:
            last, entry = index + 1, "api_server"
        elif word.endswith("vllm/entrypoints/openai/api_server.py"):
            last, entry = index, "api_server"
        if last >= 0:
            return None if _HELP & set(texts[last + 1 :]) else made(words, last, entry, text, environment)
        if name in _SHELLS:
            inner = _script_after(words, index)
            if inner is not None:
                return inner
    if first in _CARRIERS:
        carried = next((word for word in words[1:] if "vllm" in word.text and " " in word.text), None)
        return InnerScript(carried, ()) if carried is not None else None
    return None


def made(words: Sequence[Word], last: int, entry: str, text: str, environment: Mapping[str, str]) -> ServeCommand:
    """The command whose arguments follow the word number `last`."""
    arguments = tuple(words[last + 1 :])
    final = words[-1] if words else None
    return ServeCommand(
        arguments=arguments,
        entry=entry,
        environment=dict(environment),
        text=text,
        line=words[0].line if words else 1,
        arguments_end=final.end if final is not None and final.end > 0 and _stands_there(final) else 0,
        leading=tuple(word.text for word in words[: last + 1]),
    )


def _stands_there(word: Word) -> bool:
    """Whether the word's end is the end of shell text, so that another argument may follow it."""
    return word.start >= 0 and (word.literal or bool(word.raw))


def _command_name(words: Sequence[Word]) -> str:
    for word in words:
        if assignment(word) is None and word.text not in _FLAG_FREE_PREFIX:
            return word.text.rsplit("/", 1)[-1]
    return ""


def _script_after(words: Sequence[Word], index: int) -> InnerScript | None:
    """The word after `bash -c` (also `-lc`, `-ec`, `-o pipefail -c` …), and what follows it."""
    position = index + 1
    while position < len(words) - 1:
        text = words[position].text
        if _SCRIPT_OPTION.fullmatch(text):
            following = position + 1 + (words[position + 1].text == "--")
            if following >= len(words):
                return None
            return InnerScript(words[following], tuple(words[following + 1 :]))
        if text in ("-o", "-O", "+o", "--rcfile", "--init-file"):
            position += 1
        elif not text.startswith(("-", "+")):
            return None
        position += 1
    return None
