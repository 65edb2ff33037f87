"""Data files are checked: what ships is in order, and each kind of fault is found where it is."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.profiles.catalogues.gpus import load_gpus
from vllm_opt.profiles.checking.check import check_data
from vllm_opt.profiles.checking.fault import repeats, unknown_names
from vllm_opt.profiles.checking.gpus import _faults as gpu_faults
from vllm_opt.profiles.checking.sources import can_be_opened, source_faults

GPU = {
    "id": "h100-sxm-64gb",
    "base": "h100-sxm",
    "name": "NVIDIA H100 SXM5 64GB",
    "memory_gib": 63.4,
    "memory_gb_nominal": 64,
    "sources": ["https://example.org/datasheet.pdf"],
}


def said_of(tmp_path: Path, rows: object) -> list[str]:
    file = tmp_path / "gpus.yaml"
    file.write_text(yaml.safe_dump({"gpus": rows}), encoding="utf-8")
    report = check_data(gpu_file=file)
    assert report.ok == all(one.level == "note" for one in report.faults)
    return [f"{one.place}: {one.message}" for one in report.faults]


def test_what_ships_is_in_order() -> None:
    report = check_data()
    assert report.faults == ()
    rows = {one.file: one.rows for one in report.files}
    assert rows["gpus.json"] == len(load_gpus())
    assert rows["prices.json"] > 400
    assert sum(file.startswith("models/") for file in rows) > 200


def test_a_card_of_ones_own_is_in_order(tmp_path: Path) -> None:
    assert said_of(tmp_path, [GPU]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"memory_bandwidth_bytes_per_s": 3350}, "memory_bandwidth_bytes_per_s 3350 is no plausible figure in bytes/s"),
        ({"bf16_flops_per_s": 989}, "bf16_flops_per_s 989 is no plausible figure in FLOP/s"),
        ({"memory_gb_nominal": 80}, None),
        ({"memory_gb_nominal": 120}, "does not go with 120 GB"),
        ({"tdp_watts": 700000}, "tdp_watts 700000 is no plausible figure in watts"),
        ({"sources": ["a friend told me"]}, "'a friend told me' cannot be opened"),
        ({"sources": []}, "at least 1 item"),
        ({"colour": "green"}, "extra inputs are not permitted"),
        ({"aliases": ["h100-pcie"]}, "the same name stands at h100-pcie"),
        ({"memory_gib": "many"}, "memory_gib"),
    ],
)
def test_a_fault_of_a_card_is_named(tmp_path: Path, change: dict[str, object], said: str | None) -> None:
    faults = said_of(tmp_path, [{**GPU, **change}])
    assert bool(faults) == (said is not None), faults
    assert said is None or said in faults[0]


def test_a_card_without_a_source_is_a_note(tmp_path: Path) -> None:
    row = {**GPU, "base": "h100-sxm"}
    del row["sources"]
    file = tmp_path / "gpus.yaml"
    file.write_text(yaml.safe_dump([row]), encoding="utf-8")
    assert check_data(gpu_file=file).ok


def test_a_missing_file_is_a_fault_of_that_file(tmp_path: Path) -> None:
    report = check_data(
        gpu_file=tmp_path / "none.yaml", prices=tmp_path / "none.json", model_file=tmp_path / "config.json"
    )
    assert not report.ok
    assert [one.file for one in report.files] == ["none.yaml", "none.json", "config.json"]


def test_prices_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    row = {"gpu": "l40s", "gpus": 8, "usd_per_hour": 8.0, "provider": "us", "source": "https://example.org/p"}
    file.write_text(yaml.safe_dump([row]), encoding="utf-8")
    assert check_data(prices=file).faults == ()
    file.write_text(yaml.safe_dump([row, dict(row), {**row, "usd_per_hour": 80_000, "region": "eu"}]), encoding="utf-8")
    messages = [one.message for one in check_data(prices=file).faults]
    assert messages[0].startswith("10000 USD per GPU-hour is not plausible")
    assert messages[1].startswith("the same machine, region, billing and date")
    file.write_text(yaml.safe_dump({"l40s": 0.8}), encoding="utf-8")
    report = check_data(prices=file)
    assert report.ok
    assert "no source is given" in report.faults[0].message


def test_a_config_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"architectures": ["NobodyKnows"]}', encoding="utf-8")
    assert not check_data(model_file=file).ok


@pytest.mark.parametrize(
    ("source", "opens"),
    [
        ("https://example.org/a?b=c#d", True),
        ("owner/name:path/to/file.csv@20291d7eda23", True),
        ("vllm 0.33.0 wheel: engine/arg_utils.py", True),
        ("see https://example.org/a (datasheet)", True),
        ("https://", False),
        ("http://localhost", False),
        ("owner/name:path@main", False),
        ("private communication", False),
        ("", False),
    ],
)
def test_the_form_of_a_source(source: str, opens: bool) -> None:
    assert can_be_opened(source) is opens


@given(st.text(max_size=100))
def test_any_text_can_be_judged_as_a_source(text: str) -> None:
    faults = source_faults("f.json", text, [text])
    assert can_be_opened(text) == (faults == []) or text.startswith(("choice", "user file"))
    assert all("\x1b" not in one.message + one.place for one in faults)


def test_references_and_repeats_name_their_row() -> None:
    assert [one.place for one in unknown_names("f", [("a", "row 1"), ("b", "row 2")], {"a": 1}, "GPU")] == ["row 2"]
    (again,) = repeats("f", [("a", "row 1"), ("b", "row 2"), ("a", "row 3")], "id")
    assert (again.place, "row 1" in again.message) == ("row 3", True)


def test_every_shipped_card_would_be_found_out_with_a_wrong_unit() -> None:
    gpus = load_gpus()
    for gpu in gpus:
        wrong = gpu.model_copy(update={"memory_bandwidth_bytes_per_s": gpu.memory_bandwidth_bytes_per_s / 1e3})
        assert any("memory_bandwidth" in one.message for one in gpu_faults("f", (wrong,), gpus)), gpu.id
