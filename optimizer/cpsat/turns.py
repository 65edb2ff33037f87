"""What one turn of the proof found, as the table of rows tells it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Turn:
    """One turn: the best integer found and its proven bound, as minimised."""

    name: str
    best: int
    bound: int
    kept_at_most: int | None
    """What later turns may concede; None for the last one."""
