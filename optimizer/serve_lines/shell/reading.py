"""What reading shell text gives: the servers it starts, and files of other kinds that it writes."""

from dataclasses import dataclass, field

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.placed_text import PlacedText


@dataclass(frozen=True)
class Embedded:
    """A file inside the text, such as a unit that a here-document writes."""

    name: str
    """The name of the file that is written; empty where it is not known."""
    text: PlacedText


@dataclass
class Reading:
    """Servers in the order of the text, and what stands beside them."""

    commands: list[ServeCommand] = field(default_factory=list)
    embedded: list[Embedded] = field(default_factory=list)
    unread: list[tuple[int, str]] = field(default_factory=list)
    """Lines that cannot be read, and why."""
