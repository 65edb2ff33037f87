"""`vllm-opt place` as a user runs it: what stands where, what stays, what is missing and why."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.placement.answer import PlacementAnswer

CHAT = {
    "name": "chat",
    "model": "Qwen/Qwen3-8B",
    "workload": "chat",
    "requests_per_s": 1,
    "replicas": {"least": 2, "most": 3},
}
CODE = {"name": "code", "model": "Qwen/Qwen2.5-7B-Instruct", "workload": "chat", "requests_per_s": 0.5, "priority": 2}
TOO_BIG = {
    "name": "big",
    "model": "meta-llama/Llama-3.3-70B-Instruct",
    "workload": "chat",
    "requests_per_s": 40,
    "priority": 3,
}


def site(**changes: Any) -> PlaceRequest:
    asked = {
        "nodes": [{"name": "n", "gpu": "l40s", "gpus": 2, "count": 2, "load_gb_per_s": 2}],
        "services": [CHAT, CODE],
    }
    return PlaceRequest(**{**asked, **changes})


@pytest.fixture(scope="module")
def answer() -> PlacementAnswer:
    return place(site(survive="node"))


def test_everything_is_served_and_survives_any_node(answer: PlacementAnswer) -> None:
    assert answer.status == "optimal"
    assert not answer.unplaced
    chat = answer.services[0]
    assert chat.capacity_without_a_node is not None
    assert chat.capacity_without_a_node >= chat.demand
    assert len({server.parts[0].node for server in answer.servers if server.service == "chat"}) >= 2


def test_every_gpu_holds_what_it_has(answer: PlacementAnswer) -> None:
    for node in answer.nodes:
        for gpu in node.gpus:
            assert sum(server.bytes for server in gpu.servers) + gpu.free_bytes == gpu.memory_bytes
            assert gpu.free_bytes >= 0
            assert len(gpu.start_order) == len(gpu.servers)
    shared = [server for server in answer.servers if server.shares_with]
    assert all(server.slowdown == (1.0, 1.0 + len(server.shares_with)) for server in shared)


def test_a_placement_that_is_todays_moves_nothing(answer: PlacementAnswer) -> None:
    running = [
        {
            "service": server.service, "parts": [part.model_dump() for part in server.parts],
            "tensor_parallel_size": server.plan.tensor_parallel_size,
            "pipeline_parallel_size": server.plan.pipeline_parallel_size,
            "quantization": server.plan.quantization, "kv_cache_dtype": server.plan.kv_cache_dtype,
            "gpu_memory_utilization": server.plan.flags["gpu-memory-utilization"],
        }
        for server in answer.servers
    ]  # fmt: skip
    again = place(site(survive="node", placement=running, objective=["served", "moves", "gpus"]))
    assert again.moves == ()
    assert all(server.kept for server in again.servers)


def test_what_does_not_fit_is_explained_and_exits_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "site.json"
    content = {
        "schema": "vllm-opt/site/1", "nodes": [{"name": "n", "gpu": "l40s", "gpus": 2}], "services": [CODE, TOO_BIG],
        "placement": [{"service": "code", "node": "n", "gpus": [0]}, {"service": "code", "node": "n", "gpus": [1]}],
    }  # fmt: skip
    file.write_text(json.dumps(content), encoding="utf-8")
    assert main(["place", str(file), "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "vllm-opt/placement/1"
    assert [each["service"] for each in found["unplaced"]] == ["big"]
    assert found["unplaced"][0]["explanation"]["conflict"]
    assert found["moves"][0]["step"] == 1
    assert {"status", "objectives", "nodes", "servers", "moves", "unplaced", "solver"} <= set(found)


def test_services_that_avoid_each_other_share_no_node() -> None:
    answer = place(site(services=[{**CHAT, "replicas": 1}, {**CODE, "avoid": {"services": ["chat"]}}]))
    assert len({server.parts[0].node for server in answer.servers}) == 2
    tied = place(site(services=[{**CHAT, "replicas": 1}, {**CODE, "together": ["chat"]}]))
    assert len({server.parts[0].node for server in tied.servers}) == 1


def test_a_cold_service_sleeps_beside_another_and_takes_host_memory() -> None:
    node = {"name": "n", "gpu": "l40s", "gpus": 1, "host_memory_gib": 64}
    services = [{**CODE, "priority": 1}, {**CODE, "name": "night", "cold": True}]
    answer = place(site(nodes=[node], services=services))
    night = next(server for server in answer.servers if server.service == "night")
    assert night.sleeps
    assert "--enable-sleep-mode" in night.plan.command
    assert answer.nodes[0].host_memory_used_bytes > 2**30
    alone = place(site(nodes=[node], services=services, sharing=False))
    assert [each.service for each in alone.unplaced] == ["night"]


def test_every_format_and_the_example_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, page = tmp_path / "site.json", tmp_path / "page.html"
    service = {**CODE, "name": "<b>x</b>"}
    file.write_text(json.dumps({"nodes": [{"name": "n", "gpu": "l40s", "gpus": 1}], "services": [service]}))
    assert main(["place", str(file), "--format", "html", "--output", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<b>x</b>" not in text
    assert 'class="gpu"' in text
    for part in ("Predictions against limits", "Time to first token over load", "how it is known"):
        assert part in text
    assert main(["place", str(file)]) == 0
    assert "1 service served in full" in capsys.readouterr().out
    assert main(["place", "--init"]) == 0
    assert capsys.readouterr().out.startswith("# A site")
    assert main(["place"]) == 2


def test_the_folder_that_starts_a_placement_is_written_and_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, folder = tmp_path / "site.json", tmp_path / "deploy"
    file.write_text(json.dumps({"nodes": [{"name": "n", "gpu": "l40s", "gpus": 1}], "services": [CODE]}))
    assert main(["place", str(file), "--save-dir", str(folder), "--emit", "scripts"]) == 0
    assert "CUDA_VISIBLE_DEVICES" in (folder / "scripts" / "n.sh").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["place", str(file), "--save-dir", str(folder), "--emit", "scripts", "--check"]) == 0
