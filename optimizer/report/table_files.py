"""Tables for a spreadsheet: one as CSV, several as the sheets of a workbook. No text of theirs becomes a formula."""

import csv
import io
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import one_line

Value = str | int | float | bool | None
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
NEEDS_OPENPYXL = "xlsx files need the package openpyxl: pip install 'vllm-opt[xlsx]', or use csv"
EPOCH = "2000-01-01T00:00:00Z"
"""Date inside every workbook: the same input gives the same bytes."""
WIDEST_COLUMN = 60


@dataclass(frozen=True)
class SheetTable:
    """One table: a name, its headings, and rows of plain values."""

    name: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


def cell_of(value: object) -> Value:
    """A value as a cell; a quote goes in front of text that a spreadsheet would read as a formula (=, +, -, @)."""
    if value is None or isinstance(value, bool | int | float):
        return value
    text = one_line(str(value))
    return f"'{text}" if str(value).startswith(FORMULA_STARTS) else text


def csv_text(table: SheetTable) -> str:
    """The table as comma-separated values under one line of headings."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.headings)
    writer.writerows([[_plain(cell_of(value)) for value in row] for row in table.rows])
    return stream.getvalue()


def _plain(value: Value) -> Value:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else value


def workbook(tables: Sequence[SheetTable]) -> bytes:
    """The tables as an xlsx workbook, headings frozen; the same tables give the same bytes.

    Raises:
        InvalidRequest: openpyxl is not installed.
    """
    try:
        from openpyxl import Workbook
        from openpyxl.styles import Font
    except ImportError:
        raise InvalidRequest(NEEDS_OPENPYXL) from None
    book = Workbook()
    book.remove(book.active)
    for table in tables:
        sheet = book.create_sheet(table.name[:31])
        for column, heading in enumerate(table.headings, 1):
            sheet.cell(1, column, heading).font = Font(bold=True)
        for row, values in enumerate(table.rows, 2):
            for column, value in enumerate(values, 1):
                sheet.cell(row, column, cell_of(value))
        for column, heading in enumerate(table.headings):
            longest = max([len(heading), *(len(str(row[column] or "")) for row in table.rows)])
            letter = sheet.cell(1, column + 1).column_letter
            sheet.column_dimensions[letter].width = min(longest + 2, WIDEST_COLUMN)
        sheet.freeze_panes = "A2"
    stream = io.BytesIO()
    book.save(stream)
    return _without_times(stream.getvalue())


def _without_times(content: bytes) -> bytes:
    """The same archive with every date set to one that never changes."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(result, "w", zipfile.ZIP_DEFLATED) as new:
        for name in sorted(old.namelist()):
            part = old.read(name)
            if name == "docProps/core.xml":
                part = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", EPOCH.encode(), part)
            new.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), part, zipfile.ZIP_DEFLATED)
    return result.getvalue()
