"""A demand as a table: one workload a row, headings named as the keys of a DEMAND.yaml, from CSV or a workbook."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.procurement.request import FleetRequest, InvalidDemand, WorkloadDemand
from vllm_opt.optimizer.report.table_files import NEEDS_OPENPYXL
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.reading.user_files import read_user_text

TABLE_SUFFIXES = (".csv", ".tsv", ".xlsx")
MOST_ROWS, MOST_COLUMNS, MOST_BYTES = 10_000, 200, 20_000_000
COLUMNS = (*(name for name in WorkloadDemand.model_fields if name != "lengths"), "users")
SEVERAL = ("quantization",)
"""Columns whose cells may hold several values, separated by spaces or semicolons."""
Row = Sequence[Any]


def is_table(path: str | Path) -> bool:
    """Whether a file is named as a table."""
    return Path(path).suffix.lower() in TABLE_SUFFIXES


def read_demand_table(path: str | Path, workload: str | None = None) -> FleetRequest:
    """Read the workloads of a .csv, .tsv or .xlsx file; everything else of the request keeps its default.

    Raises:
        InvalidRequest: one sentence with file, line and what is wrong.
    """
    shown = str(path)
    if Path(path).suffix.lower() == ".xlsx":
        rows = _workbook_rows(Path(path), shown)
    else:
        rows = _csv_rows(read_user_text(path), shown)
    return demand_of_rows(rows, shown, workload)


def demand_of_rows(rows: Sequence[tuple[int, Row]], shown: str = "demand", workload: str | None = None) -> FleetRequest:
    """The request of numbered rows, the first of them the headings.

    Raises:
        InvalidRequest: one sentence with the line and what is wrong.
    """
    if len(rows) < 2:
        raise InvalidRequest(
            f"{shown} must hold a line of headings (name, model, requests_per_s, …) and a row a workload"
        )
    columns = _columns(rows[0], shown)
    found = []
    for line, cells in rows[1:]:
        if any(_filled(cell) for cell in cells[len(columns) :]):
            raise InvalidRequest(f"{shown} line {line}: there are more cells than headings")
        fields = {
            name: _value(name, cell) for name, cell in zip(columns, cells, strict=False) if name and _filled(cell)
        }
        found.append((line, {**({"workload": workload} if workload is not None else {}), **fields}))
    for line, fields in found:
        _checked(fields, f"{shown} line {line}")
    try:
        return FleetRequest(name=Path(shown).stem or "fleet", workloads=[fields for _, fields in found])
    except InvalidDemand as fault:
        raise InvalidRequest(f"{shown}: {fault}") from None


def _checked(fields: dict[str, Any], where: str) -> None:
    """Refuse a row by its own line."""
    try:
        FleetRequest(workloads=[fields])
    except InvalidRequest as fault:
        raise InvalidRequest(f"{where}: {str(fault).removeprefix('workloads.0.')}") from None


def _columns(first: tuple[int, Row], shown: str) -> list[str]:
    line, cells = first
    names = [
        "" if not _filled(cell) else "_".join(str(cell).strip().lower().replace("-", "_").split()) for cell in cells
    ]
    for name in names:
        if name and name not in COLUMNS:
            raise InvalidRequest(f"{shown} line {line}: unknown heading '{name[:60]}'{did_you_mean(name, COLUMNS)}")
        if name and names.count(name) > 1:
            raise InvalidRequest(f"{shown} line {line}: the heading '{name}' stands twice")
    return names


def _filled(cell: object) -> bool:
    return cell is not None and str(cell).strip() != ""


def _value(name: str, cell: Any) -> Any:
    """A cell as a request takes it: spreadsheets make 8192.0 of 8192 and text of numbers with separators."""
    if isinstance(cell, float) and cell.is_integer():
        return int(cell)
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if name in SEVERAL:
        return text.replace(";", " ").split()
    return text


def _csv_rows(text: str, shown: str) -> list[tuple[int, Row]]:
    text = text.removeprefix("\ufeff")
    heading = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=heading.count)
    rows: list[tuple[int, Row]] = []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        for cells in reader:
            if any(map(_filled, cells)):
                rows.append((reader.line_num, cells))
            _limit(rows, cells, shown)
    except csv.Error as error:
        raise InvalidRequest(f"{shown} line {reader.line_num}: not readable as CSV: {error}") from None
    return rows


def _limit(rows: list[tuple[int, Row]], cells: Row, shown: str) -> None:
    if len(rows) > MOST_ROWS or len(cells) > MOST_COLUMNS:
        raise InvalidRequest(f"{shown} holds more than {MOST_ROWS:,} rows or {MOST_COLUMNS} columns")


def _workbook_rows(path: Path, shown: str) -> list[tuple[int, Row]]:
    try:
        from openpyxl import load_workbook
    except ImportError:
        raise InvalidRequest(NEEDS_OPENPYXL) from None
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InvalidRequest(f"'{shown}' is larger than {MOST_BYTES:,} bytes")
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise InvalidRequest(f"cannot read '{shown}': {error.strerror or error}") from None
    rows: list[tuple[int, Row]] = []
    try:
        book = load_workbook(content, read_only=True, data_only=True)
        for line, cells in enumerate(book.worksheets[0].iter_rows(values_only=True), 1):
            if any(map(_filled, cells)):
                rows.append((line, cells))
            _limit(rows, cells, shown)
    except InvalidRequest:
        raise
    except Exception:  # openpyxl raises of every kind on a broken workbook
        raise InvalidRequest(f"'{shown}' is not readable as an xlsx workbook") from None
    return rows
