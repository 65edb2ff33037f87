"""Services that sleep: drawn as they stand, said to take turns, started so that each finds its memory free."""

import pytest

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.deployment.files import files_of
from vllm_opt.optimizer.placement import words
from vllm_opt.optimizer.placement.answer import PlacementAnswer
from vllm_opt.optimizer.placement.deployment import deployment_of_placement
from vllm_opt.optimizer.placement.render import node_lines
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.errors import InvalidRequest


@pytest.fixture(scope="module")
def answer() -> PlacementAnswer:
    services = [
        {"name": "hot", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 1},
        {"name": "night", "model": "Qwen/Qwen3-14B", "workload": "chat", "requests_per_s": 0.5, "cold": True},
        {"name": "audit", "model": "Qwen/Qwen2.5-7B-Instruct", "workload": "chat", "concurrency": 8, "cold": True},
    ]
    return place(
        PlaceRequest(nodes=[{"name": "a", "gpu": "h100", "gpus": 1, "host_memory_gib": 64}], services=services)
    )


def test_what_is_kept_for_waking_is_the_rest_of_what_they_hold_at_once(answer: PlacementAnswer) -> None:
    (gpu,) = answer.nodes[0].gpus
    sleepers = [server for server in gpu.servers if server.sleeps]
    assert len(sleepers) == 2
    wakes = max(server.bytes - (server.asleep_bytes or 0) for server in sleepers)
    assert words.waking_bytes(gpu) == wakes > 0
    (line, *_) = node_lines(answer, Screen(width=200, colour=False, unicode=True))[1:]
    assert "-" * round(24 * wakes / gpu.memory_bytes) in line
    assert "asleep" in line
    assert "awake" in line


def test_services_that_sleep_on_one_gpu_are_said_to_take_turns(answer: PlacementAnswer) -> None:
    assert any("audit, night sleep on the same GPUs" in note for note in answer.notes)
    notes = {row[0]: row[-1] for row in words.server_rows(answer)}
    assert "never awake beside" in notes["night/0"]
    assert "never awake beside" not in notes["hot/0"]


def test_each_sleeper_is_put_to_sleep_before_the_next_server_starts(answer: PlacementAnswer) -> None:
    (gpu,) = answer.nodes[0].gpus
    deployment = deployment_of_placement(answer)
    processes = deployment.hosts[0].processes
    assert [f"{each.service}/{each.replica}" for each in processes] == list(gpu.start_order)
    files = files_of(deployment, ("scripts", "compose"))
    script = files["scripts/a.sh"].splitlines()
    for each in processes:
        begun = script.index(f"    --port {each.port} \\")
        following = script[begun : begun + 6]
        assert (f"asleep {each.port}" in following) == each.sleeps
        if each.sleeps:
            ready = next(i for i, line in enumerate(following) if line.startswith(f"ready {each.port} "))
            assert ready < following.index(f"asleep {each.port}")
    compose = files["compose/a.yaml"]
    assert compose.count("service_completed_successfully") == sum(each.sleeps for each in processes[:-1])
    assert compose.count("/sleep?level=1") == 2


def test_replicas_on_one_gpu_are_said_to_fail_together() -> None:
    service = {
        "name": "twin", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 0.5,
        "replicas": {"least": 2, "most": 2},
    }  # fmt: skip
    nodes = [{"name": "a", "gpu": "h100", "gpus": 1, "mig": ["3g.40gb"]}]
    answer = place(PlaceRequest(nodes=nodes, services=[service]))
    assert any("twin/0, twin/1 stand on one GPU" in note for note in answer.notes)
    assert words.server_rows(answer)[0][1] == "a MIG 0:0"
    with pytest.raises(InvalidRequest, match="container"):
        deployment_of_placement(answer)
