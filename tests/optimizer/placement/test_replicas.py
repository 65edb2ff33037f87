"""Replicas of one service: several small ones before one in a pipeline, whole GPUs where one stands alone."""

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.placement import words

QWEN = {"name": "w", "model": "Qwen/Qwen3-32B", "workload": "chat", "requests_per_s": 8}


def test_two_servers_of_one_gpu_go_before_one_of_two_that_serves_less() -> None:
    answer = place(PlaceRequest(nodes=[{"name": "h", "gpu": "h100", "gpus": 4}], services=[QWEN]))
    assert {server.plan.gpu_count for server in answer.servers} == {1}
    assert answer.status == "optimal"
    assert not words.uneven(answer)


def test_a_limit_on_replicas_leaves_the_larger_server() -> None:
    one = {**QWEN, "replicas": {"least": 1, "most": 1}}
    answer = place(PlaceRequest(nodes=[{"name": "h", "gpu": "h100", "gpus": 4}], services=[one]))
    assert not answer.unplaced
    assert [server.plan.gpu_count > 1 for server in answer.servers] == [True]


def test_replicas_packed_on_one_node_take_their_gpus_whole() -> None:
    service = {
        "name": "w", "model": "Qwen/Qwen3-14B", "workload": "chat", "requests_per_s": 8, "replicas": {"least": 4},
        "pack": "node",
    }  # fmt: skip
    answer = place(PlaceRequest(nodes=[{"name": "l", "gpu": "l40s", "gpus": 4, "count": 2}], services=[service]))
    assert len({server.capacity for server in answer.servers}) == 1
    assert not any("take turns" in note for note in answer.notes)


def test_the_default_limits_are_named_where_they_are_why() -> None:
    batch = {"name": "batch", "model": "Qwen/Qwen3-32B", "target_context": 32768, "concurrency": 64}
    nodes = [{"name": "a", "gpu": "a100", "gpus": 4}]
    (missing,) = place(PlaceRequest(nodes=nodes, services=[batch])).unplaced
    assert "default_limits: false" in missing.explanation.conflict[0].message
    (free,) = place(PlaceRequest(nodes=nodes, services=[batch], default_limits=False)).services
    assert free.capacity > 4
