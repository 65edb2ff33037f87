"""Names, labels, links and servers of today: what is meant, and one sentence where nothing is."""

import json
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.placement.kubectl import nodes_from_kubectl, placement_from_pods
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError

A: dict[str, Any] = {"name": "a", "gpu": "l40s", "gpus": 2, "labels": {"pool": "fast", "disk": "nvme"}}
B: dict[str, Any] = {"name": "b", "gpu": "l40s", "gpus": 2, "labels": {"pool": "slow"}}
CHAT: dict[str, Any] = {
    "name": "chat", "model": "Qwen/Qwen3-8B", "concurrency": 4, "target_context": 4096, "input_tokens": 512,
    "output_tokens": 128, "replicas": 1,
}  # fmt: skip


def site(service: dict[str, Any] | None = None, **changes: Any) -> PlaceRequest:
    asked: dict[str, Any] = {"nodes": [A, B], "services": [{**CHAT, **(service or {})}]}
    return PlaceRequest(**{**asked, **changes})


@pytest.mark.parametrize(
    ("pin", "stands"),
    [
        ({"nodes": ["b"]}, {"b"}), ({"labels": {"pool": "slow"}}, {"b"}), ({"labels": {"disk": "nvme"}}, {"a"}),
        ({"nodes": ["a", "b"], "labels": {"pool": "fast"}}, {"a"}),
    ],
)  # fmt: skip
def test_a_service_stands_where_names_and_labels_say(pin: dict[str, Any], stands: set[str]) -> None:
    answer = place(site({"pin": pin}))
    assert {part.node for server in answer.servers for part in server.parts} == stands


def test_a_server_of_today_is_kept_in_its_shape() -> None:
    today = [{"service": "chat", "node": "b", "gpus": [1], "gpu_memory_utilization": 0.9}]
    answer = place(site(placement=today))
    (server,) = answer.servers
    assert [(part.node, part.gpus) for part in server.parts] == [("b", (1,))]
    assert server.kept
    assert server.plan.flags["gpu-memory-utilization"] == 0.9


@pytest.mark.parametrize(
    ("service", "changes", "said"),
    [
        ({"pin": {"nodes": ["c"]}}, {}, "no node is called 'c'"),
        ({"pin": {"labels": {"pool": "none"}}}, {}, "no node has the labels pool=none"),
        ({"pin": {"nodes": ["a"]}, "avoid": {"nodes": ["a"]}}, {}, "pin and avoid leave no node; loosen one of them"),
        ({"together": {"services": ["chatt"]}}, {}, "no service is called 'chatt'; did you mean 'chat'?"),
        ({}, {"links": [{"nodes": ["a"], "gbps": 100}]}, "is one node; a link needs two"),
        ({}, {"links": [{"nodes": ["a", "z"], "gbps": 100}]}, "links: no node is called 'z'"),
        ({}, {"nodes": [A, {**B, "name": "a"}]}, "'a'"),
        ({}, {"nodes": [{**A, "gpu": "toaster"}]}, "node 'a': "),
        ({}, {"nodes": [{**A, "mig": ["1g.10gb"]}]}, "node 'a': "),
        ({}, {"nodes": [{**A, "islands": 3}]}, "node 'a': islands of 3 GPUs, but it has 2"),
        ({}, {"nodes": [{**A, "islands": [[0], [0]]}]}, "islands must hold each of its GPUs 0 to 1 once"),
        ({}, {"placement": [{"service": "chat", "node": "a", "gpus": [7]}]}, "node 'a' has no GPU 7"),
        ({}, {"placement": [{"service": "chat", "node": "a", "gpus": [0, 0]}]}, "named twice"),
        ({}, {"nodes": [{**A, "count": 2}], "placement": [{"service": "chat", "node": "a", "gpus": [0]}]},
         "'a' means 2 nodes; name one, as a-1"),
        ({}, {"placement": [{"service": "chat", "parts": [{"node": "a", "gpus": [0]}, {"node": "b", "gpus": [0, 1]}]}]},
         "every node of a server holds the same number of its GPUs"),
    ],
)  # fmt: skip
def test_what_nobody_can_mean_is_one_sentence(service: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(VllmOptError) as caught:
        place(site(service, **changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_default_limits_give_way_where_nothing_meets_them() -> None:
    slow = {"model": "Qwen/Qwen3-32B", "input_tokens": 7000, "output_tokens": 512, "concurrency": 1}
    answer = place(site({**slow, "target_context": 8192}, nodes=[{"name": "a", "gpu": "l4", "gpus": 1}]))
    assert answer.status == "optimal"
    assert any("no plan meets the default limits on TTFT and TPOT, so none are set" in note for note in answer.notes)


def test_a_model_larger_than_a_node_spans_linked_nodes() -> None:
    large = {"model": "Qwen/Qwen3-32B", "quantization": "bf16", "max_ttft_ms": 60_000, "max_tpot_ms": 1000}
    nodes = [{**A, "gpus": 1}, {**B, "gpus": 1}]
    assert place(site(large, nodes=nodes)).unplaced
    answer = place(site(large, nodes=nodes, links=[{"nodes": ["a", "b"], "gbps": 200}]))
    (server,) = answer.servers
    assert [part.node for part in server.parts] == ["a", "b"]
    assert server.plan.pipeline_parallel_size == 2


def written(folder: Path, content: object) -> Path:
    (folder / "list.json").write_text(json.dumps(content))
    return folder / "list.json"


def node(name: str = "n", labels: dict[str, str] | None = None, **room: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", **(labels or {})}},
        "status": {"allocatable": {key.replace("__", "/").replace("_", "-"): value for key, value in room.items()}},
    }


def test_cards_cut_into_instances_are_read_from_kubectl(tmp_path: Path) -> None:
    cut = node("cut", {"nvidia.com/gpu.count": "2"}, **{"nvidia.com/mig-3g.40gb": "4"})
    instances = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", "nvidia.com/gpu.count": "2"}
    single = node("single", instances, **{"nvidia.com/gpu": "14"})
    shared = node("shared", {"nvidia.com/gpu.product": "Tesla-T4-SHARED"}, **{"nvidia.com/gpu": "4"})
    disk = node("disk", **{"nvidia.com/gpu": "8", "ephemeral-storage": "1Ti", "memory": "odd"})
    nothing = [node("none", cpu="4"), {"metadata": {"name": 3}}, {**node(), "spec": {"unschedulable": True}}, {}]
    found = {each["name"]: each for each in nodes_from_kubectl(
        written(tmp_path, {"items": [cut, single, shared, disk, *nothing]}))}  # fmt: skip
    assert set(found) == {"cut", "single", "shared", "disk"}
    assert (found["cut"]["gpus"], found["cut"]["mig"]) == (2, ["3g.40gb", "3g.40gb"])
    assert (found["single"]["gpus"], found["single"]["mig"]) == (2, ["1g.10gb"] * 7)
    assert found["single"]["gpu"] == "NVIDIA-A100-SXM4-80GB"
    assert found["shared"]["gpu"] == "Tesla-T4"
    assert found["disk"]["disk_gib"] == 1024
    assert "host_memory_gib" not in found["disk"]


@pytest.mark.parametrize(
    ("content", "said"),
    [([], "is no list of nodes"), ({"items": 3}, "is no list of nodes"), ({"items": [3]}, "is no list of nodes"),
     ({"items": []}, "no node has GPUs with a label nvidia.com/gpu.product")],
)  # fmt: skip
def test_what_is_no_list_of_nodes(content: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=said):
        nodes_from_kubectl(written(tmp_path, content))


def test_only_pods_that_serve_a_model_of_the_site_count(tmp_path: Path) -> None:
    def pod(arguments: list[str], where: str = "a", **more: Any) -> dict[str, Any]:
        container = {"image": "vllm/vllm-openai:v0.33.0", "args": arguments, **more.pop("container", {})}
        return {"spec": {"nodeName": where, "containers": [container, "no container"]},
                "status": {"phase": "Running"}, **more}  # fmt: skip

    served = ["--model", "Qwen/Qwen3-8B"]
    pods = [
        pod(served, where="elsewhere"), {**pod(served), "status": {"phase": "Pending"}},
        pod(["--model", "Qwen/Qwen3-0.6B"]), pod(["--model"]), pod([], container={"image": "nginx", "args": ["-g"]}),
        pod(served, container={"env": [{"name": "CUDA_VISIBLE_DEVICES", "value": "1"}]}),
        pod(["--model", "/models/ours"], where="b", metadata={"labels": {"app": "chat"}}),
        {**pod(served), "spec": {"nodeName": "a", "containers": None}},
    ]  # fmt: skip
    found = placement_from_pods(written(tmp_path, {"items": pods}), site())
    assert [(row["service"], row["node"], row["gpus"]) for row in found] == [("chat", "a", [1]), ("chat", "b", [0])]


@pytest.mark.parametrize("content", [{"schema": "vllm-opt/plan/1"}, {}, {"items": [1]}, [], 5])
def test_what_is_no_list_of_pods_is_not_taken_for_an_empty_one(content: object, tmp_path: Path) -> None:
    path = tmp_path / "pods.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InvalidRequest, match="is no list of pods"):
        placement_from_pods(path, site())
