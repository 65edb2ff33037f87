"""Reports: pages that escape and load nothing, links that are links, CSV and workbooks without formulas."""

import csv
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openpyxl import load_workbook

from vllm_opt.optimizer.report.document import (
    Bullets,
    Code,
    Document,
    Facts,
    Link,
    Table,
    Words,
    section,
    source_link,
    words_of,
)
from vllm_opt.optimizer.report.page import page
from vllm_opt.optimizer.report.table_files import SheetTable, csv_text, workbook

HOSTILE = '"><script>alert(1)</script>'


def document(text: str, address: str = "https://x.org") -> Document:
    """A report that says `text` everywhere."""
    table = Table([(text, "left"), (text, "right")], [[text, Link(text, address)]], [text, text])
    blocks = (Words(text), Bullets((text, Link(text, address))), Code(text), Facts(((text, text, text),)), table)
    return Document(text, text, section(text or "s", *blocks, folded=True), subtitle=text, footer=text)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    plain = page(document("x")).count("<")
    written = page(document(text or "x"))
    assert written.count("<") == plain if text.strip() else written.count("<") <= plain


def test_a_hostile_name_stays_a_name() -> None:
    written = page(document(HOSTILE, "javascript:alert(1)"))
    assert "<script" not in written
    assert "javascript:" not in written
    assert "&lt;script&gt;" in written
    assert "default-src 'none'" in written


def test_empty_blocks_make_no_section() -> None:
    assert section("nothing", Words(""), Bullets(()), Table((), ()), None) == ()


def test_a_source_leads_to_what_a_reader_can_open() -> None:
    commit = "01acdfd419ce5afae1289ff14825b893ced0c196"
    found = source_link(f"a/b-c:data/x.csv@{commit}", "2026-08-10")
    assert found == Link("2026-08-10", f"https://github.com/a/b-c/blob/{commit}/data/x.csv")
    assert source_link("see https://x.org/p (2026).") == Link("see https://x.org/p (2026).", "https://x.org/p")
    assert source_link("a letter of the vendor") == "a letter of the vendor"
    assert words_of(source_link("inventory.stock", "owned")) == "owned: inventory.stock"


TABLE = SheetTable("orders", ("name", "usd"), (("=cmd|' /C calc'!A0", 1.5), ("@a", -2), ("plain\nlines", None)))


def test_csv_is_one_table_without_formulas() -> None:
    rows = list(csv.reader(io.StringIO(csv_text(TABLE))))
    assert rows[0] == ["name", "usd"]
    assert [row[0][:2] for row in rows[1:3]] == ["'=", "'@"]
    assert [row[1] for row in rows[1:]] == ["1.5", "-2", ""]
    assert all(len(row) == 2 for row in rows)


def test_a_workbook_holds_every_table_the_same_each_time() -> None:
    book = load_workbook(io.BytesIO(workbook([TABLE, SheetTable("empty", ("a",), ())])))
    assert book.sheetnames == ["orders", "empty"]
    assert [cell.value for cell in book["orders"][2]] == ["'=cmd|' /C calc'!A0", 1.5]
    assert all(cell.data_type != "f" for row in book["orders"].iter_rows() for cell in row)
    assert workbook([TABLE]) == workbook([TABLE])


def test_a_total_stands_below_its_table() -> None:
    assert "<tfoot>" in page(Document("t", "s", section("s", Table([("a", "left")], [["1"]], ["2"]))))
    assert "<tfoot>" not in page(Document("t", "s", section("s", Table([("a", "left")], [["1"]]))))


@pytest.mark.parametrize("rule", ["@media print", "max-width: 640px", "prefers-color-scheme: dark"])
def test_the_style_knows_paper_telephones_and_the_dark(rule: str) -> None:
    assert rule in page(document("x"))
