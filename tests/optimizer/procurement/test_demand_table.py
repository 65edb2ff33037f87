"""A demand from CSV or a workbook, and every fault with its line."""

import io
from pathlib import Path

import pytest
from openpyxl import Workbook

from vllm_opt.optimizer.procurement.demand_file import read_demand
from vllm_opt.profiles.errors import InvalidRequest

HEAD = "Name,Model,Requests per s,Input-tokens,output_tokens,peak factor,quantization"
MODEL = "meta-llama/Llama-3.1-8B-Instruct"


def written(folder: Path, text: str, name: str = "team.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_rows_become_workloads_whatever_separates_them(tmp_path: Path, separator: str) -> None:
    text = f"\ufeff{HEAD}\nchat,{MODEL},6,1200,300,2,fp8 bf16\n\nrag,{MODEL},0.5,4000,200,,\n".replace(",", separator)
    request = read_demand(written(tmp_path, text))
    assert request.name == "team"
    chat, rag = request.workloads
    assert (chat.name, chat.requests_per_s, chat.peak_factor, chat.quantization) == ("chat", 6.0, 2.0, ("fp8", "bf16"))
    assert (rag.input_tokens, rag.peak_factor, rag.quantization) == (4000, 1.0, ())


def test_a_workbook_says_the_same_as_its_csv(tmp_path: Path) -> None:
    book = Workbook()
    rows = [
        HEAD.split(","),
        ["chat", MODEL, 6, 1200, 300.0, None, None],
        [None] * 7,
        ["rag", MODEL, 0.5, 4000, 200, 1.5, "fp8"],
    ]
    for row in rows:
        book.active.append(row)
    book.save(tmp_path / "team.xlsx")
    text = "\n".join(",".join("" if cell is None else str(cell) for cell in row) for row in rows)
    assert read_demand(tmp_path / "team.xlsx") == read_demand(written(tmp_path, text.replace("300.0", "300")))


def test_a_preset_fills_in_what_a_row_leaves_out(tmp_path: Path) -> None:
    (only,) = read_demand(written(tmp_path, f"name,model,users\na,{MODEL},32\n"), "chat").workloads
    assert only.concurrency == 32
    assert only.workload == "chat"
    assert only.input_tokens is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must hold a line of headings"),
        (f"{HEAD}\n", "must hold a line of headings"),
        (f"nmae,model\na,{MODEL}\n", "line 1: unknown heading 'nmae'; did you mean 'name'"),
        (f"name,name\na,{MODEL}\n", "line 1: the heading 'name' stands twice"),
        (f"name,model,users\na,{MODEL},1,9\n", "line 2: there are more cells than headings"),
        (f"name,model,users\na,{MODEL},1\nb,{MODEL},-3\n", "line 3: concurrency"),
        (f"name,model,users\na,{MODEL},nan\n", "line 2: concurrency"),
        (f"name,model\na,{MODEL}\n", "line 2: .*needs either requests_per_s or concurrency"),
        (f"name,model,users\na,{MODEL},1\na,{MODEL},1\n", "two workloads are called 'a'"),
        ('name,model\n"a', "line 2: not readable as CSV"),
    ],
)
def test_faults_are_one_sentence_with_a_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        read_demand(written(tmp_path, text))


def test_what_is_no_workbook_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InvalidRequest, match="not readable as an xlsx workbook"):
        read_demand(tmp_path / "x.xlsx")
    with pytest.raises(InvalidRequest, match="cannot read"):
        read_demand(tmp_path / "missing.xlsx")
    stream = io.BytesIO()
    Workbook().save(stream)
    (tmp_path / "empty.xlsx").write_bytes(stream.getvalue())
    with pytest.raises(InvalidRequest, match="must hold a line of headings"):
        read_demand(tmp_path / "empty.xlsx")
