"""Importing public price catalogues: the names they use, the rows they hold, the list that is kept."""

import json
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.hourly_cost import age_days, today
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.accelerator_names import AcceleratorNames
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.own_prices import own_prices_path
from vllm_opt.profiles.catalogues.price_import import ImportReport, read_catalogue
from vllm_opt.profiles.catalogues.price_rows import named_count
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.data_files import read_data_file

CATALOG = Catalog()
EXAMPLES = read_data_file("accelerator_map.json")["examples"]
AZURE = "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,GpuInfo,Price,SpotPrice,Region,Generation\n"
HUNT = (
    "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,gpu_vendor,flags,cpu_arch,"
    "provider_data\n"
)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def imported(folder: Path, name: str, text: str, **options: object) -> ImportReport:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return read_catalogue(path, CATALOG.offers, CATALOG.gpu, as_of="2026-11-20", **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda row: f"{row['provider']}-{row['instance']}-{row['name']}")
def test_names_mean_what_each_catalogue_means(example: dict[str, object]) -> None:
    found = AcceleratorNames().sku_of(
        str(example["provider"]), str(example["instance"]), str(example["name"]),
        example["memory_gb"],  # type: ignore[arg-type]
    )  # fmt: skip
    assert found[0] == example["sku"]


@pytest.mark.parametrize(
    ("instance", "count"),
    [
        ("Standard_ND96isr_H100_v5", 8), ("8x_A40_SECURE", 8), ("gpu_2x_b200_sxm6", 2), ("a3-highgpu-8g", 8),
        ("BM.GPU.H100.8", 8), ("gpu-h100-sxm_8gpu-128vcpu-1600gb", 8), ("n3-A100x4", 4), ("n3-H100x8-NVLink", 8),
        ("p5.48xlarge", None), ("g2-standard-48", None),
    ],
)  # fmt: skip
def test_the_number_of_gpus_in_a_machines_name(instance: str, count: int | None) -> None:
    assert named_count(instance) == count


def test_skypilots_rows_become_whole_machines(tmp_path: Path) -> None:
    rows = (
        "Standard_ND96asr_v4,A100,8.0,96,900,A100,27.197,11.0,eastus,\"V1,V2\"\n"
        "Standard_ND96asr_v4,A100,8.0,96,900,A100,28.0,,westeurope,V2\n"
        "Standard_ND96asr_v4,A100,8.0,96,900,A100,26.0,,japaneast,V2\n"
        "Standard_NC24ads_A100_v4,A100-80GB,1,24,220,A100,3.673,3.673,eastus,V2\n"
        "Standard_ND96isr_H100_v5,H100,12,96,1900,H100,98.32,,eastus,V2\n"
        "Standard_NV12ads_A10_v5,A10,0.33,12,110,A10,0.9,,eastus,V2\n"
        "Standard_D2s,,,2,8,,0.1,,eastus,V2\n"
        "Standard_NC6s_v3_Promo,V100,1,6,112,V100,1.0,,eastus,V2\n"
        "Standard_NC4as_T4_v3,T4,1,4,28,T4,,,eastus,V2\n"
        "Standard_NC4as_T4_v3,T4,1,4,28,T4,9.9,,eastus,V2\n"
    )  # fmt: skip
    report = imported(tmp_path, "azure/vms.csv", AZURE + rows)
    found = {(one.instance_type, one.region, one.billing): one for one in report.offers}
    assert set(found) == {
        ("Standard_ND96asr_v4", "eastus", "on-demand"), ("Standard_ND96asr_v4", "westeurope", "on-demand"),
        ("Standard_ND96asr_v4", "eastus", "spot"), ("Standard_NC24ads_A100_v4", "eastus", "on-demand"),
    }  # fmt: skip
    whole = found["Standard_ND96asr_v4", "eastus", "on-demand"]
    assert (whole.gpu, whole.gpus, whole.usd_per_hour, whole.host_memory_gib) == ("a100-sxm4-40gb", 8, 27.197, 900)
    assert (whole.provider, whole.as_of, whole.confidence) == ("Azure", "2026-11-20", "high")
    assert found["Standard_NC24ads_A100_v4", "eastus", "on-demand"].gpu == "a100-pcie-80gb"
    assert report.refused["number of GPUs differs from the machine's name"] == 1
    assert report.refused["promotion"] == 1
    assert any("T4" in words for words in report.far_from_median)
    everywhere = imported(tmp_path, "azure/vms.csv", AZURE + rows, all_regions=True)
    assert len(everywhere.offers) == len(report.offers) + 1


def test_gcp_hosts_without_their_gpus_are_refused(tmp_path: Path) -> None:
    rows = (
        "a3-highgpu-8g,H100,8,208,1872,H100,9.46,,us-central1,\n,H100,8,,,H100,33.6,,us-central1,\n"
        "g2-standard-48,L4,4,48,192,L4,4.0,1.6,us-central1,\n"
    )
    report = imported(tmp_path, "gcp/vms.csv", AZURE + rows)
    assert {one.instance_type for one in report.offers} == {"g2-standard-48"}
    assert report.refused["GCP lists the host without its GPUs"] == 1
    assert report.refused["GPUs without their machine"] == 1


def test_gpuhunts_rows_as_csv_and_json(tmp_path: Path) -> None:
    rows = (
        "gpu_8x_h100_sxm5,us-east-1,31.92,208,1800,8,H100,80,False,22000,nvidia,,x86,\n"
        "gpu_1x_rtx6000,us-east-1,0.5,14,46,1,RTX6000,24,False,500,nvidia,,x86,\n"
        "cpu_4x,us-east-1,0.2,4,16,0,,,False,500,,,x86,\n"
    )
    report = imported(tmp_path, "lambdalabs.csv", HUNT + rows)
    (one,) = report.offers
    assert (one.gpu, one.gpus, one.usd_per_hour, one.provider, one.billing) == (
        "h100-sxm",
        8,
        31.92,
        "Lambda",
        "on-demand",
    )
    row = {
        "instance_name": "NVIDIA A100 80GB PCIe", "location": "EU-RO-1", "price": 1.79, "cpu": 8, "memory": 117,
        "gpu_count": 1, "gpu_name": "A100", "gpu_memory": 80, "spot": False, "provider": "runpod", "flags": "",
    }  # fmt: skip
    (pod,) = imported(tmp_path, "offers.json", json.dumps([row, {**row, "flags": "runpod-cluster"}])).offers
    assert (pod.gpu, pod.provider) == ("a100-pcie-80gb", "RunPod")
    (vast,) = imported(tmp_path, "vastai.csv", HUNT + "1,US,0.4,8,32,1,RTX5090,32,False,100,nvidia,,x86,\n").offers
    assert (vast.billing, vast.confidence) == ("marketplace", "low")


HOSTILE = {
    "empty": ("aws.csv", "", "is neither SkyPilot's catalogue"),
    "another table": ("aws.csv", "a,b\n1,2\n", "is neither SkyPilot's catalogue"),
    "an open quote": ("aws.csv", HUNT + '"p5,us,1\n', "not CSV"),
    "too many cells": ("aws.csv", HUNT + ",".join("x" * 30) + "\n", "does not have the header's columns"),
    "too few cells": ("aws.csv", HUNT + "p5\n", "does not have the header's columns"),
    "a huge cell": ("aws.csv", HUNT + "x" * 200_000 + "\n", "not CSV"),
    "a NUL": ("aws.csv", HUNT + "p5\0,us\n", "line 2"),
    "nothing usable": ("aws.csv", HUNT + "p5,us,nan,1,1,8,H100,80,False,1,,,,\n", "no price that can be used"),
    "control characters": (
        "aws.csv", HUNT + "p5\x1b[31m,us,5,1,1,1,H100,80,False,1,,,,\n", "unreadable name"
    ),
    "cut JSON": ("aws.json", '[{"instance_name": ', "aws.json"),
    "other JSON": ("aws.json", '{"a": 1}', "must hold a list of gpuhunt's offers"),
    "JSON rows": ("aws.json", '[{"price": 1}]', "is no offer of gpuhunt's"),
    "deep JSON": ("aws.json", "[" * 100_000, "nest"),
    "no provider": ("x/table.csv", HUNT + "p5,us,5,1,1,1,H100,80,False,1,,,,\n", "name it with --provider"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_one_sentence_and_nothing_is_kept(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, text, words = HOSTILE[case]
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    assert main(["prices", "--import", str(path), "--as-of", "2026-11-20"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err
    assert "\x1b" not in err
    assert not own_prices_path().exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--import", "/nonexistent/aws.csv"], ["--import", "/dev/zero"], ["--import", "x", "--forget"],
        ["--forget", "--provider", "AWS"],
    ],
)  # fmt: skip
def test_wrong_arguments_are_one_sentence(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prices", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


def test_an_imported_list_is_kept_used_named_and_forgotten(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795737600")  # 2026-11-27
    path = tmp_path / "lambda.csv"
    path.write_text(HUNT + "gpu_1x_h100_sxm5,us-east-1,2.0,26,225,1,H100,80,False,1,nvidia,,x86,\n")
    before = solve(SolveRequest(gpu="h100"))
    assert main(["prices", "--import", str(path), "--as-of", "2026-11-20"]) == 0
    told = capsys.readouterr().out
    assert "Lambda, 2026-11-20: 1 prices of 1 machines with 1 SKUs." in told
    assert str(own_prices_path()) in told
    assert own_prices_path().is_relative_to(tmp_path)
    answer = solve(SolveRequest(gpu="h100"))
    assert answer.plan is not None
    assert answer.plan.cost is not None
    cost = answer.plan.cost
    assert (cost.provider, cost.usd_per_hour, cost.instance_type) == ("Lambda", 2.0, "gpu_1x_h100_sxm5")
    (note,) = [text for text in answer.notes if "imported" in text]
    assert note.startswith("prices are from your imported list of Lambda of 2026-11-20 (7 days old) and vllm-opt's own")
    assert main(["prices", "--import", str(path), "--as-of", "2026-01-01"]) == 0
    assert any(text.startswith("old prices: your imported list") for text in solve(SolveRequest(gpu="h100")).notes)
    assert main(["prices", "--forget"]) == 0
    assert not own_prices_path().exists()
    after = solve(SolveRequest(gpu="h100"))
    assert (after.plan, after.notes) == (before.plan, before.notes)
    assert main(["prices", "--forget"]) == 0
    assert "Nothing was imported." in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "vllm-opt/own-prices/1", "lists": [{}]}', "\0"])
def test_a_damaged_list_says_how_to_get_rid_of_it(content: str, capsys: pytest.CaptureFixture[str]) -> None:
    own_prices_path().parent.mkdir(parents=True)
    own_prices_path().write_text(content)
    assert main(["prices"]) == 2
    assert "`vllm-opt prices --forget` removes them" in capsys.readouterr().err
    assert main(["prices", "--forget"]) == 0
    assert main(["prices", "--format", "json"]) == 0


@pytest.mark.parametrize(
    ("as_of", "days"),
    [
        ("2026-11-20", 7), ("2026-11-27", 0), ("2026-12-24", 0), ("2026-10", 27), ("2026", 0), ("2025", 331),
        ("not stated", None), ("2026-02-31", None),
    ],
)  # fmt: skip
def test_ages_count_from_the_end_of_what_is_known(
    as_of: str, days: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795737600")
    assert age_days(as_of, today()) == days


def test_the_folder_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    path = tmp_path / "aws.csv"
    path.write_text(HUNT + "p5.4xlarge,us,6.88,1,1,1,H100,80,False,1,,,,\n")
    from vllm_opt.profiles.catalogues.own_prices import OwnList, keep_own_prices

    report = imported(tmp_path, "aws.csv", path.read_text())
    with pytest.raises(InvalidRequest, match="cannot write"):
        keep_own_prices(OwnList("AWS", "2026-11-20", "x", tuple(report.offers)))
