"""The HTTP API gives the answers of the Python functions, and says no in one sentence."""

import csv
import io
import json
import re
import zipfile
from typing import Any

import httpx
import jsonschema
import openpyxl
import pytest
import yaml

from vllm_opt.optimizer import (
    EstimateRequest,
    FleetRequest,
    LintRequest,
    PlaceRequest,
    SolveRequest,
    estimate,
    lint,
    place,
    procure,
    solve,
)
from vllm_opt.optimizer.web.first_question import FIRST
from vllm_opt.optimizer.web.page import FOLDER

SMALL = {"model": "Qwen/Qwen3-8B", "gpu": ["l40s"], "workload": "chat"}
LINE = "vllm serve Qwen/Qwen3-8B --max-model-len 8192 --gpu-memory-utilization 1.2"
DEMAND = {
    "workloads": [{"name": "chat", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 2}],
    "inventory": {"gpu": ["l40s"]}, "comparisons": False,
}  # fmt: skip

SITE = {
    "nodes": [{"name": "box", "gpu": "l40s", "gpus": 2}],
    "services": [{"name": "chat", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 1, "replicas": 2}],
}


def without_time(document: dict[str, Any]) -> dict[str, Any]:
    """The only part that two runs may not share."""
    kept = json.loads(json.dumps(document))
    kept.get("solver", {}).pop("wall_ms", None)
    return kept


def test_solve_is_the_json_of_the_function(client: httpx.Client) -> None:
    reply = client.post("/v1/solve", json=SMALL)
    assert reply.status_code == 200
    assert reply.headers["cache-control"] == "no-store"
    assert without_time(reply.json()) == without_time(solve(SolveRequest(**SMALL)).model_dump(mode="json"))


def test_estimate_is_the_json_of_the_function(client: httpx.Client) -> None:
    fields = {"model": "Qwen/Qwen3-8B", "gpu": "h100", "max_model_len": "8K"}
    assert client.post("/v1/estimate", json=fields).json() == estimate(EstimateRequest(**fields)).model_dump(
        mode="json"
    )


def test_lint_is_the_json_of_the_function(client: httpx.Client) -> None:
    fields = {"command": LINE, "gpu": "l40s", "optimum": False}
    found = client.post("/v1/lint", json=fields)
    assert found.status_code == 200, "findings are an answer"
    assert found.json() == lint(LintRequest(**fields)).model_dump(mode="json")
    assert found.json()["errors"] >= 1


def test_procure_is_the_json_of_the_function(client: httpx.Client) -> None:
    found = client.post("/v1/procure", json=DEMAND).json()
    assert without_time(found) == without_time(procure(FleetRequest(**DEMAND)).model_dump(mode="json"))


def test_place_is_the_json_of_the_function(client: httpx.Client) -> None:
    found = client.post("/v1/place", json=SITE).json()
    assert found["schema"] == "vllm-opt/placement/1"
    assert without_time(found) == without_time(place(PlaceRequest(**SITE)).model_dump(mode="json"))


def test_infeasible_is_an_answer_with_its_reason(client: httpx.Client) -> None:
    reply = client.post("/v1/explain", json={"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": "l4", "gpus": 1})
    assert reply.status_code == 200
    answer = reply.json()
    assert (answer["status"], answer["plan"]) == ("infeasible", None)
    change = next(each for each in answer["explanation"]["relaxations"] if each["change"] == "gpus")
    again = client.post("/v1/solve", json={**answer["request"], "gpus": change["to"], "max_gpus": None}).json()
    assert again["status"] == "optimal"


def test_without_its_alternatives_an_answer_is_otherwise_the_same(client: httpx.Client) -> None:
    fields = {"model": "Qwen/Qwen3-8B", "gpu": ["l40s", "h100-sxm"], "concurrency": 24}
    whole = without_time(client.post("/v1/solve", json=fields).json())
    brief = without_time(client.post("/v1/solve", params={"alternatives": "none"}, json=fields).json())
    assert whole["alternatives"]
    assert brief == {**whole, "alternatives": [], "doubt": brief["doubt"]}
    assert client.post("/v1/solve", params={"alternatives": "few"}, json=fields).status_code == 400


def test_the_first_question_of_the_page_gets_the_answer_of_the_function(client: httpx.Client) -> None:
    asked = solve(SolveRequest(**FIRST)).model_dump(mode="json")
    for body in (json.dumps(FIRST), json.dumps(dict(reversed(FIRST.items())), indent=4)):
        reply = client.post("/v1/solve", content=body, headers={"Content-Type": "application/json"})
        assert without_time(reply.json()) == without_time(asked)
    assert client.post("/v1/solve", params={"format": "command"}, json=FIRST).text.startswith("vllm serve ")


def test_the_page_asks_what_the_server_has_prepared() -> None:
    stated = re.search(r"const START = (\{[^}]*\});", (FOLDER / "configure.js").read_text(encoding="utf-8"))
    assert stated is not None
    assert yaml.safe_load(stated[1]) == FIRST


def test_the_tables_of_an_order_are_one_workbook_and_a_file_each(client: httpx.Client) -> None:
    found = client.post("/v1/procure", params={"format": "xlsx"}, json=DEMAND)
    assert (found.status_code, found.content[:2]) == (200, b"PK")
    assert found.headers["content-disposition"] == 'attachment; filename="vllm-opt-procure.xlsx"'
    book = openpyxl.load_workbook(io.BytesIO(found.content))
    for name in ("servers", "workloads"):
        rows = list(csv.reader(client.post("/v1/procure", params={"format": name}, json=DEMAND).text.splitlines()))
        assert [cell.value for cell in book[name][1]] == rows[0]
        assert book[name].max_row == len(rows)


def test_the_folder_of_a_placement_is_a_zip(client: httpx.Client) -> None:
    found = client.post("/v1/place", params={"format": "zip"}, json=SITE)
    with zipfile.ZipFile(io.BytesIO(found.content)) as archive:
        assert "deploy/compose/box.yaml" in archive.namelist()


@pytest.mark.parametrize("format_name", ["yaml", "command", "env", "compose", "kubernetes", "html", "table"])
def test_every_format_is_a_download(client: httpx.Client, format_name: str) -> None:
    reply = client.post("/v1/solve", params={"format": format_name}, json=SMALL)
    assert reply.status_code == 200
    assert reply.headers["content-disposition"].startswith('attachment; filename="vllm-opt-solve.')
    assert "Qwen/Qwen3-8B" in reply.text
    if format_name in ("yaml", "compose", "kubernetes"):
        assert list(yaml.safe_load_all(reply.text))


def test_the_folder_of_a_plan_is_a_zip(client: httpx.Client) -> None:
    first, again = (client.post("/v1/solve", params={"format": "zip"}, json=SMALL).content for _ in range(2))
    assert first == again
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert "deploy/README.md" in archive.namelist()
        assert all(name.startswith("deploy/") and ".." not in name for name in archive.namelist())


def test_curves_pass_through_the_plan(client: httpx.Client) -> None:
    answer = client.post("/v1/solve", json=SMALL).json()
    asked, plan = answer["request"], answer["plan"]
    found = client.post(
        "/v1/curves",
        json={
            "command": plan["command"], "gpu": plan["gpu"], "replicas": plan["replicas"], "users": asked["concurrency"],
            "input_tokens": asked["input_tokens"], "output_tokens": asked["output_tokens"],
        },
    ).json()  # fmt: skip
    at_load = {point["users"]: point for point in found["load"]}
    for figure in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
        assert at_load[asked["concurrency"]][figure] == pytest.approx(plan["performance"][figure], rel=1e-9)
    at_context = {point["max_model_len"]: point for point in found["context"]}
    served = at_context[plan["flags"]["max-model-len"]]
    assert served["kv_cache_bytes"] == plan["memory"]["kv_cache_bytes"]
    assert served["fixed_bytes"] + served["kv_cache_bytes"] == served["budget_bytes"]


def test_lists_are_those_of_the_command_line(client: httpx.Client) -> None:
    for kind in ("gpus", "quantizations", "engines", "prices"):
        document = client.get(f"/v1/{kind}").json()
        assert document["schema"] == f"vllm-opt/{kind}/1"
        assert document[kind]
    assert [row["id"] for row in client.get("/v1/gpus", params={"name": "h100-sxm"}).json()["gpus"]] == ["h100-sxm"]
    unknown = client.get("/v1/gpus", params={"name": "h1000-smx"})
    assert unknown.status_code == 400
    assert unknown.json()["schema"] == "vllm-opt/error/1"
    runpod = client.get("/v1/prices", params={"provider": "RunPod"}).json()["prices"]
    assert {row["provider"] for row in runpod} == {"RunPod"}


def test_the_description_holds_the_answers(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {"/v1/solve", "/v1/estimate", "/v1/explain", "/v1/lint", "/v1/procure", "/healthz"} <= set(document["paths"])
    root = {"components": document["components"]}
    for verb, body in (("solve", SMALL), ("lint", {"command": LINE, "gpu": "l40s", "optimum": False})):
        operation = document["paths"][f"/v1/{verb}"]["post"]
        request = operation["requestBody"]["content"]["application/json"]["schema"]
        jsonschema.validate(body, {**request, **root})
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        jsonschema.validate(client.post(f"/v1/{verb}", json=body).json(), {**answer, **root})


def test_health_and_metrics(client: httpx.Client) -> None:
    assert client.get("/healthz").json()["status"] == "ok"
    client.post("/v1/estimate", json={"model": "no-such-model-anywhere"})
    text = client.get("/metrics").text
    assert 'vllm_opt_requests_total{path="/v1/estimate",status="400"}' in text
    assert "no-such-model" not in text
