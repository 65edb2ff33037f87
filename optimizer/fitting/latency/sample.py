"""A small, deterministic part of the measurements, so that tests check accuracy without the whole file.

`python -m vllm_opt.optimizer.fitting.latency.sample MEASUREMENTS.jsonl … SAMPLE.jsonl`
"""

import hashlib
import json
import re
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.fitting.latency.measurements import REQUIRED_KEYS, read_rows, why_skipped
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES

CONTROLLED_ROWS = 60
OTHER_ROWS = 18
STATED_ROWS = 4
"""Rows kept of one (source, SKU); of sources whose rows state their request only a few."""
STATED_KEYS = ("estimate_request", "load", "confidence", "expressible", "exclude")
KEPT_KEYS = ("source_url", "date", "version", *REQUIRED_KEYS)


def trimmed(row: dict[str, Any]) -> dict[str, Any]:
    """A row without the columns that nothing reads, and without its author's file names."""
    measured = {name: value for name, value in row["measured"].items() if value is not None}
    notes = re.sub(r"source_file=[^;]*; ?", "", str(row["notes"] or ""))
    stated = {key: row[key] for key in STATED_KEYS if "estimate_request" in row}
    return {key: row.get(key) for key in KEPT_KEYS} | {"notes": notes, "measured": measured} | stated


def sample(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Up to a fixed number of usable rows of each source and SKU, chosen by hash."""
    groups = defaultdict(list)
    for row in rows:
        if why_skipped(row) is None:
            groups[row["source_id"], row["gpu"]].append(trimmed(row))
    chosen = []
    for (source, _), members in sorted(groups.items()):
        members.sort(key=lambda row: hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest())
        others = STATED_ROWS if "estimate_request" in members[0] else OTHER_ROWS
        chosen += members[: CONTROLLED_ROWS if source in CONTROLLED_SOURCES else others]
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Read all paths but the last, write that one."""
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    rows = [row for path in arguments[:-1] for row in read_rows(Path(path))]
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in sample(rows))
    Path(arguments[-1]).write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
