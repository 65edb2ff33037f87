"""One file, read by its name: which kind it is, the servers in it, and what of it cannot be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.dockerfile import dockerfile_servers
from vllm_opt.optimizer.serve_lines.files.markdown import markdown_servers
from vllm_opt.optimizer.serve_lines.files.python_source import python_servers
from vllm_opt.optimizer.serve_lines.files.systemd import unit_servers
from vllm_opt.optimizer.serve_lines.files.yaml_file import yaml_servers
from vllm_opt.optimizer.serve_lines.placed_text import PlacedText, whole
from vllm_opt.optimizer.serve_lines.shell.reading import Embedded, Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import read_user_text, shown_name, with_home

KINDS = {
    ".yaml": "yaml", ".yml": "yaml", ".json": "yaml", ".tpl": "yaml", ".md": "markdown", ".markdown": "markdown",
    ".mdx": "markdown", ".rst": "markdown", ".service": "unit", ".container": "unit", ".py": "python",
    ".dockerfile": "dockerfile", ".j2": "", ".tmpl": "", ".template": "",
}  # fmt: skip
LOOKED_FOR = {
    "yaml": "compose services, containers and serving kinds of Kubernetes, values of known charts, SkyPilot tasks, or "
    "flags of --config",
    "markdown": "fenced blocks with `vllm serve`",
    "unit": "ExecStart with `vllm serve`",
    "python": "argument lists that begin with `vllm serve`",
    "dockerfile": "ENTRYPOINT and CMD",
    "shell": "`vllm serve`",
}
_DEEPEST = 3
_LARGEST_ENVIRONMENT_FILE = 1 << 16


@dataclass(frozen=True)
class SourceFile:
    """A text and the commands in it, whose positions count in that text."""

    text: str
    commands: tuple[ServeCommand, ...]
    folder: Path | None
    unread: tuple[tuple[int, str], ...] = field(default=())
    """Lines from which a part cannot be read, and why."""
    name: str = "commands.sh"


def kind_of(name: str) -> str:
    """'yaml', 'markdown', 'unit', 'python', 'dockerfile' or 'shell', by a file's name."""
    path = Path(name)
    lowered = path.name.lower()
    if lowered.startswith(("dockerfile", "containerfile")) or lowered.endswith((".dockerfile", ".containerfile")):
        return "dockerfile"
    kind = KINDS.get(path.suffix.lower(), "shell")
    return kind_of(path.stem) if kind == "" else kind


def read_source(path: str) -> SourceFile:
    """Read a file by its name.

    Raises:
        InvalidRequest: the file cannot be read, or holds no command that starts a vLLM server.
    """
    file = with_home(path)
    source = read_file(file)
    if not source.commands:
        shown = shown_name(file)
        if source.unread:
            reason = source.unread[0][1]
            raise InvalidRequest(reason if reason.startswith(shown) else f"{shown}: {reason}")
        looked = LOOKED_FOR[kind_of(file.name)]
        raise InvalidRequest(f"{shown} holds no command that starts a vLLM server (looked for {looked})")
    return source


def read_file(file: Path) -> SourceFile:
    """Read a file, which may hold no server at all.

    Raises:
        InvalidRequest: the file cannot be read.
    """
    return read_text(read_user_text(file), file.name, file.parent)


def read_text(text: str, name: str, folder: Path | None) -> SourceFile:
    """Read text as a file of this name."""
    kind = kind_of(name)
    shown = shown_name(Path(name))
    try:
        reading = _read(kind, text, shown, _environment_file(folder) if kind == "yaml" else {}, 0)
    except InvalidRequest as fault:
        reading = Reading(unread=[(1, str(fault))])
    return SourceFile(text, tuple(reading.commands), folder, tuple(reading.unread), name)


def _read(kind: str, text: str, shown: str, variables: Mapping[str, str], depth: int) -> Reading:
    if kind == "yaml":
        reading = yaml_servers(text, shown, variables)
    elif kind == "markdown":
        reading = markdown_servers(whole(text))
    elif kind == "unit":
        reading = unit_servers(text)
    elif kind == "python":
        reading = python_servers(text, shown)
    elif kind == "dockerfile":
        reading = dockerfile_servers(text)
    else:
        reading = read_shell(whole(text))
    for part in reading.embedded if depth < _DEEPEST else ():
        _add_embedded(reading, part, shown, depth)
    return reading


def _add_embedded(reading: Reading, part: Embedded, shown: str, depth: int) -> None:
    """A file inside the file: read on its own, its positions turned into those of the outer one."""
    if not part.name or "vllm" not in part.text.text:
        return
    try:
        inner = _read(kind_of(part.name), part.text.text, shown, {}, depth + 1)
    except InvalidRequest as fault:
        reading.unread.append((part.text.line(0), str(fault)))
        return
    reading.commands += [_relocated(command, part.text) for command in inner.commands]
    reading.unread += [(part.text.line(0) + line - 1, reason) for line, reason in inner.unread]


def _relocated(command: ServeCommand, place: PlacedText) -> ServeCommand:
    end = place.span(command.arguments_end - 1, command.arguments_end)[1] if command.arguments_end > 0 else 0
    return replace(
        command,
        arguments=tuple(_moved(word, place) for word in command.arguments),
        repeated_entry=tuple(_moved(word, place) for word in command.repeated_entry),
        cut_lines=tuple(_moved(word, place) for word in command.cut_lines),
        text=place.file.text,
        line=place.line(0) + command.line - 1,
        arguments_end=max(0, end),
    )


def _moved(word: Word, place: PlacedText) -> Word:
    start, end = place.span(word.start, word.end) if word.start >= 0 else (-1, -1)
    return replace(word, start=start, end=end, line=place.line(0) + word.line - 1)


def _environment_file(folder: Path | None) -> dict[str, str]:
    """The `.env` file beside a compose file."""
    file = folder / ".env" if folder is not None else None
    if file is None or not file.is_file() or file.stat().st_size > _LARGEST_ENVIRONMENT_FILE:
        return {}
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        name, separator, value = line.strip().removeprefix("export ").partition("=")
        if separator and name.strip().isidentifier():
            found[name.strip()] = value.strip().strip("'\"")
    return found
