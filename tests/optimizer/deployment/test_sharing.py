"""GPUs that several servers share, on hosts, in compose and in Kubernetes."""

import pytest
import yaml
from deployments import host, kind, made, placed

from vllm_opt.optimizer.deployment.assembling import assembled
from vllm_opt.optimizer.deployment.files import files_of
from vllm_opt.optimizer.deployment.sharing import equal_parts, uses_claims
from vllm_opt.optimizer.deployment.start_budget import disk_gib, start_seconds
from vllm_opt.profiles.errors import InvalidRequest


def test_equal_parts_are_slices_of_the_device_plugin() -> None:
    deployment = made("halves")
    assert equal_parts(deployment)
    assert not uses_claims(deployment)
    files = files_of(deployment, ("kubernetes",))
    workload = next(yaml.safe_load_all(files["kubernetes/chat.yaml"]))
    pod = workload["spec"]["template"]["spec"]
    assert (workload["kind"], workload["spec"]["replicas"]) == ("StatefulSet", 4)
    assert pod["containers"][0]["resources"]["limits"] == {"nvidia.com/gpu.shared": 1}
    assert pod["nodeSelector"]["nvidia.com/device-plugin.config"] == "time-slicing-2"
    plugin = yaml.safe_load(files["kubernetes/optional/gpu-sharing.yaml"])["data"]
    assert set(plugin) == {"time-slicing-2", "mps-2"}
    sharing = yaml.safe_load(plugin["time-slicing-2"])["sharing"]["timeSlicing"]
    assert sharing["resources"] == [{"name": "nvidia.com/gpu", "replicas": 2}]


def test_unequal_parts_are_claims_one_a_shared_gpu() -> None:
    files = files_of(made("mixed-parts"), ("kubernetes",))
    (claim,) = yaml.safe_load_all(files["kubernetes/shared-gpus.yaml"])
    assert claim["metadata"]["name"] == "shared-gpu-box-0"
    users = [
        document["metadata"]["name"]
        for path, text in files.items()
        if path.startswith("kubernetes/") and "optional" not in path
        for document in yaml.safe_load_all(text)
        if "shared-gpu-box-0" in str(document) and document["kind"] == "Deployment"
    ]
    assert sorted(users) == ["chat-0", "tags-0", "tags-1"]


def test_servers_on_one_gpu_start_one_after_another() -> None:
    files = files_of(made("halves"), ("scripts", "compose"))
    script = files["scripts/box.sh"]
    assert [line for line in script.splitlines() if line.startswith("ready 80")] == [
        f"ready {port} {start_seconds(made('halves').services[0])}" for port in (8000, 8002)
    ]
    services = yaml.safe_load(files["compose/box.yaml"])["services"]
    assert [each.get("depends_on") for name, each in services.items() if name != "router"] == [
        None, {"chat-0": {"condition": "service_healthy"}}, None, {"chat-2": {"condition": "service_healthy"}}
    ]  # fmt: skip


def test_a_start_has_time_for_its_weights() -> None:
    service = made("one").services[0]
    sized = service.model_copy(update={"kind": service.kind.model_copy(update={"weights_bytes": 100_000_000_000})})
    assert start_seconds(sized) == 600 + 1000 + 200
    assert disk_gib(sized) == 117 + 10


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ((("box", (0,)), ("box", (1,))), "names one host twice"),
        ((("nowhere", (0,)),), "is no host here"),
        ((("box", (2,)),), "which has 2, numbered from 0"),
        ((("box", (0, 1)),), "equal parts that add up"),
    ],
)
def test_a_place_that_cannot_be_is_refused(parts: tuple[tuple[str, tuple[int, ...]], ...], message: str) -> None:
    one = kind(model="Qwen/Qwen3-8B", gpu="h100-sxm")
    with pytest.raises(InvalidRequest, match=message):
        assembled("x", [host("box", "h100-sxm", 2)], [placed("chat", 0, one, *parts)])


def test_a_gpu_holds_no_more_than_itself_and_its_own_kind() -> None:
    half = kind(model="Qwen/Qwen3-8B", gpu="h100-sxm", gpu_memory_utilization=0.45, gpu_part=0.5)
    servers = [placed("chat", replica, half, ("box", (0,))) for replica in range(3)]
    with pytest.raises(InvalidRequest, match=r"holds 3 servers whose parts add up to 1\.5 GPUs"):
        assembled("x", [host("box", "h100-sxm", 1)], servers)
    with pytest.raises(InvalidRequest, match="is for h100-sxm, and 'box' has l40s"):
        assembled("x", [host("box", "l40s", 2)], servers[:1])
    with pytest.raises(InvalidRequest, match="two hosts are called 'box'"):
        assembled("x", [host("box", "h100-sxm", 1), host("box", "h100-sxm", 1)], servers[:1])
