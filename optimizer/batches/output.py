"""What a run leaves behind: one YAML per plan, index.json, index.csv, index.html and CHANGES.md. No times, no dates of
the run: the same inputs give the same bytes."""

import csv
import json
from collections import Counter
from collections.abc import Sequence
from io import StringIO
from typing import Any

from vllm_opt.optimizer.batches.cells import Cell
from vllm_opt.optimizer.batches.changes import changes_page
from vllm_opt.optimizer.batches.folder import INDEX_SCHEMA, BatchFolder
from vllm_opt.optimizer.batches.page import index_page, ordered
from vllm_opt.optimizer.batches.rows import IndexRow, Result
from vllm_opt.optimizer.batches.vllm_config import vllm_config
from vllm_opt.optimizer.rendering.as_json import as_json_line
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.version import installed_version

CSV_COLUMNS = tuple(name for name in IndexRow.model_fields if name not in ("inputs", "key", "cell"))
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def write_config(folder: BatchFolder, cell: Cell, result: Result) -> None:
    """Write the YAML of one finished cell, or remove the one that an earlier run left."""
    if result.plan is None:
        folder.remove_config(cell.path)
    else:
        folder.write(cell.path, vllm_config(result.plan, cell, result.row.notes))


def write_index(
    folder: BatchFolder, rows: Sequence[IndexRow], workloads: Sequence[WorkloadPreset], *, complete: bool
) -> None:
    """Write the index in its three forms and, after a complete run, what changed since the one before."""
    rows = sorted(rows, key=lambda row: row.cell)
    content = index_document(rows, workloads, complete=complete)
    previous = folder.previous_index()
    if not complete:
        folder.set_previous_index_aside()
    folder.write("index.csv", csv_table(rows))
    folder.write("index.html", index_page(rows, workloads, complete=complete))
    if complete and (previous is None or previous != json.loads(content)):
        folder.write("CHANGES.md", changes_page(rows, previous))
    folder.write("index.json", content)


def index_document(rows: Sequence[IndexRow], workloads: Sequence[WorkloadPreset], *, complete: bool) -> str:
    """One JSON object with one line per cell, so that a version-control diff shows the cells that changed."""
    head: dict[str, Any] = {
        "schema": INDEX_SCHEMA,
        "tool_version": installed_version(),
        "complete": complete,
        "workloads": [preset.model_dump(mode="json", exclude_none=True) for preset in ordered(workloads)],
        "counts": dict(sorted(Counter(row.status for row in rows).items())),
    }
    opening = as_json_line(head)[:-1]
    cells = ",\n".join(as_json_line(row.model_dump(mode="json", exclude_none=True)) for row in rows)
    return f'{opening}, "cells": [\n{cells}\n]}}\n'


def csv_table(rows: Sequence[IndexRow]) -> str:
    """The index as comma-separated values; no text can start a spreadsheet formula."""
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for row in rows:
        writer.writerow([_csv_value(getattr(row, name)) for name in CSV_COLUMNS])
    return text.getvalue()


def _csv_value(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        value = " ".join(f"{name}={setting}" for name, setting in value.items())
    elif isinstance(value, tuple):
        numbers = all(isinstance(item, int | float) for item in value)
        value = (" to " if numbers else "; ").join(str(item) for item in value)
    text = printable(" ".join(str(value).split()))
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
