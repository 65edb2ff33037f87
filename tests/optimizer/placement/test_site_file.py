"""Site files: the published schema, the example, and what is wrong with bad ones in one sentence."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.placement.kubectl import nodes_from_kubectl, placement_from_pods
from vllm_opt.optimizer.placement.mig import mig_instances
from vllm_opt.optimizer.placement.nodes import site_nodes
from vllm_opt.optimizer.placement.request import PlaceRequest
from vllm_opt.optimizer.placement.settings import times_of
from vllm_opt.optimizer.placement.site_file import EXAMPLE, parse_site, site_schema
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

ROOT = Path(__file__).resolve().parents[3]
NODE = {"name": "n", "gpu": "h100", "gpus": 4}
SERVICE = {"name": "a", "model": "Qwen/Qwen3-8B"}
RUNNING = {"service": "a", "node": "n", "gpus": [0]}


def test_the_published_schema_is_that_of_the_request_and_takes_the_example() -> None:
    shipped = json.loads((ROOT / "profiles" / "data" / "site.schema.json").read_text(encoding="utf-8"))
    assert shipped == site_schema()
    jsonschema.validate(yaml.safe_load(EXAMPLE), shipped)
    assert [node.name for node in parse_site(EXAMPLE).nodes] == ["big", "small"]


@pytest.mark.parametrize(
    ("site", "sentence"),
    [
        ({"nodes": [{**NODE, "gpu": "h100x"}], "services": [SERVICE]}, "GPU 'h100x' is unknown"),
        ({"nodes": [{**NODE, "gpus": -3}], "services": [SERVICE]}, "greater than 0"),
        ({"nodes": [{**NODE, "gpus": 8, "count": 10000}], "services": [SERVICE]}, "at most 20,000 can be placed"),
        ({"nodes": [{**NODE, "islands": [[0, 1], [1, 2]]}], "services": [SERVICE]}, "each of its GPUs 0 to 3 once"),
        ({"nodes": [{**NODE, "mig": ["4g.40gb", "4g.40gb"]}], "services": [SERVICE]}, "8 of 7 compute"),
        ({"nodes": [NODE, {**NODE}], "services": [SERVICE]}, "two nodes are called 'n'"),
        ({"nodes": [NODE], "services": [{**SERVICE, "together": ["a"]}]}, "cannot name itself"),
        ({"nodes": [NODE], "services": [{**SERVICE, "pin": ["m"]}]}, "no node is called 'm'"),
        ({"nodes": [NODE], "services": [{**SERVICE, "profile": [1, 2]}]}, "24 numbers"),
        ({"nodes": [NODE], "services": [SERVICE], "links": [{"nodes": ["n"], "gbps": 9}]}, "a link needs two"),
        ({"nodes": [NODE], "services": [SERVICE], "placement": [{**RUNNING, "service": "b"}]}, "called 'b'"),
        ({"nodes": [NODE], "services": [SERVICE], "placement": [{**RUNNING, "gpus": [9]}]}, "no GPU 9"),
        (
            {"nodes": [NODE], "services": [{**SERVICE, "together": ["b"]}, {**SERVICE, "name": "b", "together": ["c"]},
                                           {**SERVICE, "name": "c", "avoid": {"services": ["a"]}}]},
            "tied together, directly or through others",
        ),
        ({"nodes": [NODE], "services": [{**SERVICE, "model": "nope/Nope-7B"}]}, "service 'a': model 'nope/Nope-7B'"),
    ],
)  # fmt: skip
def test_a_bad_site_is_one_sentence(
    site: dict[str, object], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(json.dumps(site), encoding="utf-8")
    assert main(["place", str(file)]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1


def test_islands_are_listed_counted_or_the_whole_node() -> None:
    request = PlaceRequest(
        nodes=[NODE, {**NODE, "name": "m", "islands": 3}, {**NODE, "name": "o", "islands": [[0, 2], [1, 3]]}],
        services=[SERVICE],
    )
    found = [tuple(island.gpus for island in node.islands) for node in site_nodes(request, Catalog()).nodes]
    assert found == [((0, 1, 2, 3),), ((0, 1, 2), (3,)), ((0, 2), (1, 3))]


def test_a_mig_instance_has_its_part_of_memory_bandwidth_and_compute() -> None:
    whole = Catalog().gpu("h100-sxm")
    half = mig_instances(whole, ("3g.40gb", "3g.40gb"))[0]
    assert half.memory_bytes == min(whole.memory_bytes // 2, 40 * 10**9)
    assert half.memory_bandwidth_bytes_per_s == whole.memory_bandwidth_bytes_per_s / 2
    assert half.bf16_flops_per_s == pytest.approx((whole.bf16_flops_per_s or 0) * 3 / 7)
    with pytest.raises(InvalidRequest, match="cannot be cut"):
        mig_instances(Catalog().gpu("l40s"), ("1g.10gb",))


def test_the_hours_that_may_be_missed_are_those_with_most_traffic() -> None:
    day = [1.0] * 23 + [3.0]
    service = {**SERVICE, "requests_per_s": 1, "profile": day}
    scenarios = [{"name": "as now", "probability": 3}, {"name": "twice", "growth": 2}]

    def times(missed: float) -> float:
        request = PlaceRequest(nodes=[NODE], services=[service], scenarios=scenarios, missed_hours=missed)
        return float(times_of(request, request.services[0]))

    assert [times(missed) for missed in (0, 0.02, 0.05, 0.3)] == [6, 3, 2, 1]


def test_nodes_and_servers_are_read_from_kubectl(tmp_path: Path) -> None:
    node = {
        "metadata": {"name": "gpu-1", "labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3",
                                                 "topology.kubernetes.io/zone": "eu-1"}},
        "status": {"allocatable": {"nvidia.com/gpu": "8", "memory": "1048576Ki"}},
    }  # fmt: skip
    plain = {"metadata": {"name": "cpu-1"}, "status": {"allocatable": {"cpu": "8"}}}
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps({"items": [node, plain]}), encoding="utf-8")
    found = nodes_from_kubectl(nodes)
    assert [(n["name"], n["gpus"], n["zone"], n["host_memory_gib"]) for n in found] == [("gpu-1", 8, "eu-1", 1.0)]
    request = PlaceRequest(nodes=found, services=[SERVICE])
    assert site_nodes(request, Catalog()).nodes[0].islands[0].gpu == "h100-sxm"
    pod = {
        "spec": {"nodeName": "gpu-1", "containers": [
            {"image": "vllm/vllm-openai:v0.10.0", "args": ["--model", "Qwen/Qwen3-8B", "-tp", "2"]}]},
        "status": {"phase": "Running"},
    }  # fmt: skip
    pods = tmp_path / "pods.json"
    pods.write_text(json.dumps({"items": [pod, pod]}), encoding="utf-8")
    running = placement_from_pods(pods, request)
    assert [(r["service"], r["gpus"], r["tensor_parallel_size"]) for r in running] == [
        ("a", [0, 1], 2),
        ("a", [2, 3], 2),
    ]
    nodes.write_text("{", encoding="utf-8")
    with pytest.raises(InvalidRequest, match="is not JSON"):
        nodes_from_kubectl(nodes)
