"""Every file named, read by what it is: starts of logs, points of benchmarks, and what could not be used."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.calibration.point import BenchmarkPoint, point_of
from vllm_opt.optimizer.calibration.report import SourceReport
from vllm_opt.optimizer.calibration.results import (
    SWEEP_SUMMARIES,
    is_result,
    records_of_csv,
    records_of_json,
    records_of_json_lines,
)
from vllm_opt.optimizer.calibration.sources import Unreadable, blocks_of, head_of, opened
from vllm_opt.optimizer.calibration.startup_reader import LogReading, StartUp, read_log
from vllm_opt.optimizer.calibration.startup_text import MESSAGE_KEYS
from vllm_opt.profiles.printable import printable

Records = Callable[[Path], Iterator[dict[str, Any]]]
MOST_REASONS = 20
MOST_POINTS = 20_000


@dataclass
class Readings:
    """What all files told together."""

    starts: list[tuple[str, StartUp]] = field(default_factory=list)
    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    logs: dict[str, LogReading] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    reasons: dict[str, Counter[str]] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)

    def leave_out(self, name: str, why: str) -> None:
        """Count one point or start that is not used."""
        counter = self.reasons.setdefault(name, Counter())
        counter[why if why in counter or len(counter) < MOST_REASONS else "other reasons"] += 1

    def points(self, stated: dict[str, Any]) -> list[tuple[str, BenchmarkPoint]]:
        """The records that are points."""
        found = []
        for name, record in self.records:
            point = point_of(record, stated)
            if isinstance(point, str):
                self.leave_out(name, point)
            else:
                found.append((name, point))
        return found

    def sources(self) -> tuple[SourceReport, ...]:
        """One report per file."""
        return tuple(self._source(name) for name in self.order)

    def _source(self, name: str) -> SourceReport:
        reasons = dict(self.reasons.get(name, Counter()))
        if name in self.failed:
            return SourceReport(file=name, kind="unknown", unused={self.failed[name]: 1})
        log = self.logs.get(name)
        if log is None:
            return SourceReport(file=name, kind="benchmark", used=self.used[name], unused=reasons)
        if log.more_starts:
            reasons[f"more than {len(log.starts)} starts in one log"] = log.more_starts
        return SourceReport(
            file=name, kind="startup log", used=self.used[name], unused=reasons, lines=log.lines,
            lines_understood=log.understood, lines_not_understood=log.not_understood, examples=tuple(log.examples),
        )  # fmt: skip


def read_all(files: list[Path]) -> Readings:
    """Read every file; one that cannot be used is noted and does not stop the others."""
    readings, names = Readings(), shown_names(files)
    beside = {file.parent for file in files if file.name.lower() not in SWEEP_SUMMARIES}
    for file in files:
        name = names[file]
        if file.name.lower() in SWEEP_SUMMARIES and any(file.parent in (place, *place.parents) for place in beside):
            continue
        readings.order.append(name)
        try:
            _read(file, name, readings)
        except Unreadable as fault:
            readings.failed[name] = str(fault)
        except RecursionError:
            readings.failed[name] = "nested too deeply"
    return readings


def shown_names(files: list[Path]) -> dict[Path, str]:
    """Short names that tell the files apart."""
    counts = Counter(file.name for file in files)
    return {
        file: printable((file.name if counts[file.name] == 1 else str(file))[-120:]) for file in files
    }  # fmt: skip


def _read(file: Path, name: str, readings: Readings) -> None:
    reader = _records_reader(file)
    if reader is None:
        with opened(file) as stream:
            reading = read_log(blocks_of(stream))
        readings.logs[name] = reading
        readings.starts += [(name, start) for start in reading.starts]
        if not reading.starts:
            readings.leave_out(name, "no start of vLLM in it that prints memory")
        return
    found = 0
    for record in reader(file):
        found += 1
        if len(readings.records) >= MOST_POINTS:
            readings.leave_out(name, f"more than {MOST_POINTS:,} results in all")
            continue
        readings.records.append((name, record))
    if not found:
        readings.leave_out(name, "no benchmark result in it")


def _records_reader(file: Path) -> Records | None:
    """How a file is read; None: as a log. Judged by its content, its ending helps where the content does not tell."""
    head = head_of(file)
    lines = head.lstrip().splitlines()
    first = lines[0] if lines else ""
    suffixes = {suffix.lower() for suffix in file.suffixes}
    if first.startswith(("{", "[")):
        single = _parsed(first)
        if isinstance(single, dict) and (len(lines) > 1 or {".jsonl", ".ndjson"} & suffixes):
            speaks = any(key in single for key in MESSAGE_KEYS) and not is_result(single)
            return None if speaks else records_of_json_lines
        looks_like_log = first.startswith("[") and ".json" not in suffixes and single is None
        return None if looks_like_log else records_of_json
    if ".json" in suffixes:
        return records_of_json
    if ".csv" in suffixes or (first.count(",") >= 3 and ("ttft" in first.lower() or "tpot" in first.lower())):
        return records_of_csv
    return None


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None
