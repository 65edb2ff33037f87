"""A log becomes the starts that it tells of: configuration and figures per rank, in constant memory."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vllm_opt.optimizer.calibration.startup_text import (
    ABOUT_MEMORY,
    MARKS,
    PASSED,
    configuration_in,
    figures_in,
    plain_text,
    rank_of,
)
from vllm_opt.profiles.printable import printable

MOST_STARTS = 64
MOST_RANKS = 4_096
LONGEST_LINE_BYTES = 64 << 10
SHOWN_LINES, SHOWN_WIDTH = 5, 160
DEMANDS = ("weights_gib", "activation_gib", "non_torch_gib", "graph_gib", "graph_estimate_gib")
"""Figures of which the largest rank counts; of all others the smallest."""


@dataclass
class StartUp:
    """One start of one server: what it ran with and what it printed."""

    line: int
    configuration: dict[str, Any] = field(default_factory=dict)
    by_rank: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))

    @property
    def figures(self) -> dict[str, float]:
        """One figure per name: demand by the rank that needs most, supply by the one that has least."""
        found: dict[str, list[float]] = defaultdict(list)
        for figures in self.by_rank.values():
            for name, value in figures.items():
                found[name].append(value)
        return {name: max(values) if name in DEMANDS else min(values) for name, values in found.items()}

    @property
    def tells_memory(self) -> bool:
        """Whether there is anything to compare."""
        return any(name in figures for figures in self.by_rank.values() for name in (*DEMANDS, "kv_gib", "kv_tokens"))


@dataclass
class LogReading:
    """Everything that one log told."""

    starts: list[StartUp] = field(default_factory=list)
    lines: int = 0
    understood: int = 0
    not_understood: int = 0
    examples: list[str] = field(default_factory=list)
    more_starts: int = 0

    def note_unknown(self, text: str) -> None:
        """Count a line about memory that no wording reads, and keep the first few."""
        self.not_understood += 1
        if len(self.examples) < SHOWN_LINES:
            self.examples.append(printable(text[:SHOWN_WIDTH]))


def read_log(blocks: Iterable[bytes]) -> LogReading:
    """Read a log in blocks of whole lines; what it keeps does not grow with the log."""
    reading, current = LogReading(), StartUp(1)
    for block in blocks:
        for start, end in _marked_lines(block):
            text = plain_text(block[start:end].decode("utf-8", errors="replace"))
            told, figures = configuration_in(text), figures_in(text)
            if not told and not figures:
                if ABOUT_MEMORY.search(text) and not PASSED.search(text):
                    reading.note_unknown(text)
                continue
            reading.understood += 1
            if told and _begins_anew(current, told):
                _keep(reading, current)
                current = StartUp(reading.lines + block.count(b"\n", 0, start) + 1)
            _take(current, told, figures, rank_of(text))
        reading.lines += block.count(b"\n") + (not block.endswith(b"\n"))
    _keep(reading, current)
    return reading


def _marked_lines(block: bytes) -> list[tuple[int, int]]:
    """Where the lines stand that hold a mark: a log of a busy server has millions of others."""
    found: dict[int, int] = {}
    for mark in MARKS:
        at = block.find(mark)
        while at >= 0:
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            start = block.rfind(b"\n", 0, at) + 1
            found[start] = min(end, start + LONGEST_LINE_BYTES)
            at = block.find(mark, end)
    return sorted(found.items())


def _begins_anew(current: StartUp, told: dict[str, Any]) -> bool:
    """Whether a line that names a version or a model opens another start: the last one has printed figures already."""
    return ("vllm_version" in told or "model" in told) and current.tells_memory


def _take(current: StartUp, told: dict[str, Any], figures: dict[str, float], rank: str) -> None:
    for name, value in told.items():
        current.configuration.setdefault(name, value)
    for name in ("gpu_memory_utilization", "max_num_batched_tokens", "max_num_seqs"):
        value = figures.pop(name, None)
        if value is not None and value > 0:
            known = value if name == "gpu_memory_utilization" else int(value)
            current.configuration.setdefault(name, known)
    if figures and (rank in current.by_rank or len(current.by_rank) < MOST_RANKS):
        current.by_rank[rank].update(figures)


def _keep(reading: LogReading, current: StartUp) -> None:
    if not current.tells_memory:
        return
    if len(reading.starts) < MOST_STARTS:
        reading.starts.append(current)
    else:
        reading.more_starts += 1
