"""Files that hold vLLM commands: shell scripts, compose and Kubernetes files, and the YAML of `vllm serve --config`."""

from dataclasses import dataclass
from pathlib import Path

from vllm_opt.optimizer.serve_lines.commands import ServeCommand, serve_commands
from vllm_opt.optimizer.serve_lines.yaml_sources import yaml_commands
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.user_files import read_user_text, shown_name, with_home

YAML_ENDINGS = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class SourceFile:
    """A text and the commands in it, whose positions count in that text."""

    text: str
    commands: tuple[ServeCommand, ...]
    folder: Path | None


def read_source(path: str) -> SourceFile:
    """Read a file by its ending: YAML and JSON as compose, Kubernetes or flags; anything else as a shell script.

    Raises:
        InvalidRequest: the file cannot be read, or holds no command that starts a vLLM server.
    """
    file = with_home(path)
    text = read_user_text(file)
    is_yaml = file.suffix.lower() in YAML_ENDINGS
    commands = yaml_commands(text, file) if is_yaml else serve_commands(text)
    if not commands:
        looked = "compose services, Kubernetes containers or flags of --config" if is_yaml else "`vllm serve`"
        raise InvalidRequest(f"{shown_name(file)} holds no command that starts a vLLM server (looked for {looked})")
    return SourceFile(text, tuple(commands), file.parent)
