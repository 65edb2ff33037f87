"""What a shell would know at one point of a script, as far as the text itself says it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vllm_opt.optimizer.serve_lines.placed_text import OPEN, unknown
from vllm_opt.optimizer.serve_lines.words import Word

Value = str | tuple[Word, ...]
"""Text with its unknown parts marked, or the words of an array."""


@dataclass
class ShellState:
    """Variables that the text sets; a name that is absent comes from outside."""

    values: dict[str, Value] = field(default_factory=dict)
    exported: set[str] = field(default_factory=set)
    parameters: tuple[Word, ...] | None = None
    """Positional parameters; None: given by whoever starts the script."""
    functions: dict[str, Any] = field(default_factory=dict)
    """Name -> the script that defines it, and its body."""
    starts_ray: bool = False
    ended: bool = False
    """The branch leaves the script or the function."""

    def copy(self) -> "ShellState":
        """A state of its own for a branch or a subshell."""
        return ShellState(
            dict(self.values), set(self.exported), self.parameters, self.functions, self.starts_ray, self.ended
        )

    def environment(self) -> dict[str, str]:
        """Exported variables whose text is known."""
        known = ((name, self.values.get(name)) for name in sorted(self.exported))
        return {name: value for name, value in known if isinstance(value, str) and OPEN not in value}

    def take(self, branches: Iterable["ShellState"]) -> None:
        """Go on with what all branches agree on; where they differ, a value is what they share and then unknown."""
        living = [branch for branch in branches if not branch.ended]
        if not living:
            return
        names = {name for branch in living for name in branch.values}
        self.values = {
            name: _shared(name, [branch.values.get(name) for branch in living])
            for name in names
            if all(name in branch.values for branch in living) or any(name in branch.values for branch in living)
        }
        self.exported = set().union(*(branch.exported for branch in living))
        self.starts_ray = any(branch.starts_ray for branch in living)
        first = living[0].parameters
        self.parameters = first if all(branch.parameters == first for branch in living) else None


def _shared(name: str, values: list[Value | None]) -> Value:
    first = values[0]
    if first is not None and all(value == first for value in values):
        return first
    arrays = [value for value in values if isinstance(value, tuple)]
    if arrays and len(arrays) == len([value for value in values if value is not None]):
        shared: list[Word] = []
        for items in zip(*(value if isinstance(value, tuple) else () for value in values), strict=False):
            if any(item != items[0] for item in items):
                break
            shared.append(items[0])
        spelled = f"${{{name}[@]}}"
        return (*shared, Word(spelled, -1, -1, 1, (spelled,), literal=False, many=True, raw=f'"{spelled}"'))
    texts = [value for value in values if isinstance(value, str)]
    if len(texts) == len(values):
        prefix = _common_start(texts)
        if all(text == prefix or text[len(prefix) :][:1].isspace() for text in texts) and prefix.strip():
            return f"{prefix} " + unknown(f"${name}")
    return unknown(f"${name}")


def _common_start(texts: Sequence[str]) -> str:
    length = 0
    for letters in zip(*texts, strict=False):
        if len(set(letters)) > 1:
            break
        length += 1
    return texts[0][:length]
