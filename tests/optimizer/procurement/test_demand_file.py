"""Demand files: what is read, and how faults are named with their line."""

import json
from fractions import Fraction
from pathlib import Path

import jsonschema
import pytest
import yaml

from vllm_opt.optimizer.procurement.demand_file import demand_schema, parse_demand, read_demand
from vllm_opt.optimizer.procurement.request import FleetRequest
from vllm_opt.profiles.errors import InvalidRequest

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("procure_*.yaml"))
SMALL = "workloads:\n- name: chat\n  model: Qwen/Qwen2.5-7B-Instruct\n  requests_per_s: 3\n"


def test_defaults_are_filled_in() -> None:
    request = parse_demand(SMALL)
    workload = request.workloads[0]
    assert workload.buckets == ((7168, 1024),)
    assert workload.shares == (Fraction(1),)
    assert (request.objective, request.money.acquire, request.headroom) == (("cost",), ("rent",), 0.0)


def test_shares_of_a_histogram_are_exact_and_sum_to_one() -> None:
    bars = ("{input_tokens: 10, output_tokens: 5, share: 0.1}", "{input_tokens: 30, output_tokens: 5, share: 0.2}")
    workload = parse_demand(f"{SMALL}  lengths: [{', '.join(bars)}]\n").workloads[0]
    assert workload.shares == (Fraction(1, 3), Fraction(2, 3))
    assert workload.mean_tokens == (10 / 3 + 20, 5.0)


RATE = "workloads.0.requests_per_s"
FAULTS = {
    "unknown key": (SMALL.replace("model:", "modl:"), "line 3: unknown key 'workloads.0.modl'; did you mean 'model'"),
    "a key in the wrong place": (SMALL + "\nmodel: x\n", "unknown key 'model'; it belongs elsewhere in the file"),
    "missing": (SMALL.replace("  model: Qwen/Qwen2.5-7B-Instruct\n", ""), "line 2: 'workloads.0.model' is missing"),
    "negative": (SMALL.replace(": 3", ": -3"), f"line 4: {RATE}: input should be greater than 0 (got -3)"),
    "not a number": (SMALL.replace(": 3", ": .nan"), f"line 4: {RATE}: must be a finite number (got nan)"),
    "true": (SMALL.replace(": 3", ": true"), f"line 4: {RATE}: must be a number, not true or false"),
    "two rates": (SMALL + "  concurrency: 4\n", "line 2: workloads.0: workload 'chat' needs either requests_per_s or"),
    "two names": (SMALL + SMALL.partition("\n")[2], "line 1: the file: two workloads are called 'chat'"),
    "two keys": (SMALL + "name: a\nname: b\n", "line 6: 'name' is given twice"),
    "choice": (SMALL + "money: {acquire: steal}\n", "line 5: money.acquire.0: input should be 'rent' or 'buy'"),
    "rack": (SMALL + "limits: {rack_units: 8}\n", "line 1: the file: limits.rack_units needs inventory.rack_units"),
    "truncated": ("workloads: [", "line 1: not readable as YAML:"),
    "list": ("- 1", "must be a mapping that has 'workloads'"),
    "empty": ("", "must be a mapping that has 'workloads'"),
    "schema": ("schema: vllm-opt/demand/2\n" + SMALL, "line 1: schema must be 'vllm-opt/demand/1'"),
    "deep": ("[" * 2000, "is nested too deeply"),
    "aliases": (
        "x0: &x0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n"
        + "".join(f"x{i}: &x{i} [{', '.join([f'*x{i - 1}'] * 9)}]\n" for i in range(1, 9)),
        "values, counted through aliases",
    ),
}


@pytest.mark.parametrize(("text", "sentence"), FAULTS.values(), ids=FAULTS)
def test_a_fault_is_one_sentence_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        parse_demand(text, "D.yaml")
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"cannot read '.*none\.yaml': No such file"):
        read_demand(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidRequest, match="not UTF-8 text"):
        read_demand(tmp_path / "bad.yaml")
    with pytest.raises(InvalidRequest, match="'zero' is not a file"):
        read_demand("/dev/zero")


def test_the_shipped_schema_is_the_one_of_the_request() -> None:
    shipped = json.loads((ROOT / "profiles" / "data" / "demand.schema.json").read_text(encoding="utf-8"))
    assert shipped == demand_schema()


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_read_and_fit_the_schema(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), demand_schema())
    assert isinstance(read_demand(path), FleetRequest)


def test_what_the_schema_refuses_is_refused_by_the_reader() -> None:
    for text in (SMALL.replace(": 3", ": -3"), SMALL + "monny: {}\n"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(yaml.safe_load(text), demand_schema())
        with pytest.raises(InvalidRequest):
            parse_demand(text)
