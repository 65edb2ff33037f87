"""Containers anywhere in Kubernetes manifests, with the pod's node selector, volumes, variables and group size."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.containers_in_yaml import YamlContainer, environment_of
from vllm_opt.optimizer.serve_lines.files.filling_in import known_only, kubernetes_filler
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.shell.reading import Reading

PRODUCT_LABELS = (
    "nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "accelerator", "gpu.nvidia.com/class",
    "amd.com/gpu.product-name", "k8s.amazonaws.com/accelerator",
)  # fmt: skip
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
OTHER_RESOURCES = {
    "google.com/tpu": "tpu", "habana.ai/gaudi": "gaudi", "aws.amazon.com/neuron": "neuron",
    "aws.amazon.com/neuroncore": "neuron", "huawei.com/Ascend910": "ascend", "gpu.intel.com/i915": "xpu",
    "gpu.intel.com/xe": "xpu",
}  # fmt: skip
ConfigMaps = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class Pod:
    """What a pod's containers share."""

    name: str = ""
    gpu: str | None = None
    in_memory: frozenset[str] = frozenset()
    nodes: int = 1


def config_maps(documents: Iterable[Document]) -> dict[str, dict[str, str]]:
    """The data of every ConfigMap of a file, by its name."""
    found: dict[str, dict[str, str]] = {}
    for document in documents:
        if document.text_at(document.top, "kind") == "ConfigMap":
            data = document.members(document.at(document.top, "data"))
            name = document.text_at(document.top, "metadata", "name")
            found[name] = {key: value.text for key, value in data.items() if value.kind == "scalar"}
    return found


def pod_servers(document: Document, node: Node, maps: ConfigMaps, pod: Pod) -> Iterator[Reading]:
    """What the containers below a node start."""
    top = document.members(node)
    pod = replace(pod, name=document.text_at(top.get("metadata"), "name") or pod.name)
    size = document.scalar(top.get("size")) or ""
    if "workerTemplate" in top or "leaderTemplate" in top:
        pod = replace(pod, nodes=int(size) if size.isdecimal() and 0 < len(size) < 5 else pod.nodes)
    if "containers" in top:
        pod = replace(pod, gpu=_product(document, top), in_memory=_memory_volumes(document, top.get("volumes")))
        for container in document.items(top["containers"]):
            yield container_servers(document, container, maps, pod)
        return
    for child in (*top.values(), *document.items(node)):
        yield from pod_servers(document, child, maps, pod)


def container_servers(document: Document, node: Node, maps: ConfigMaps, pod: Pod) -> Reading:
    """What one container starts."""
    container = document.members(node)
    environment = container_environment(document, node, maps)
    image = document.scalar(container.get("image")) or ""
    reading = YamlContainer(document, kubernetes_filler(environment), known_only(environment)).read(
        image, container.get("command"), container.get("args")
    )
    reading.commands = [in_pod(document, node, pod, command) for command in reading.commands]
    return reading


def in_pod(document: Document, node: Node, pod: Pod, command: ServeCommand) -> ServeCommand:
    """A command with what its container and pod say around it."""
    container = document.members(node)
    mounts = [document.members(mount) for mount in document.items(container.get("volumeMounts"))]
    shared = any(
        document.scalar(mount.get("mountPath")) == "/dev/shm" and document.scalar(mount.get("name")) in pod.in_memory
        for mount in mounts
    )
    label = document.scalar(container.get("name")) or ""
    resources = document.at(container.get("resources"), "limits") or document.at(container.get("resources"), "requests")
    other = next((OTHER_RESOURCES[name] for name in document.members(resources) if name in OTHER_RESOURCES), None)
    return replace(
        command,
        hardware=other or command.hardware,
        place=f"container '{label}'" + (f" of '{pod.name}'" if pod.name else ""),
        gpu=pod.gpu,
        gpu_count=gpus_asked(document, container.get("resources")),
        nodes=pod.nodes,
        shared_memory=shared,
        in_container=True,
    )


def container_environment(document: Document, node: Node, maps: ConfigMaps) -> dict[str, str]:
    """A container's variables, those from ConfigMaps of the same file included; each may use the ones before it."""
    container = document.members(node)
    found: dict[str, str] = {}
    for source in document.items(container.get("envFrom")):
        found.update(maps.get(document.text_at(source, "configMapRef", "name"), {}))
    for item in document.items(container.get("env")):
        name = document.text_at(item, "name")
        reference = document.at(item, "valueFrom", "configMapKeyRef")
        value = maps.get(document.text_at(reference, "name"), {}).get(document.text_at(reference, "key"))
        if value is not None:
            found[name] = value
    for name, value in environment_of(document, container.get("env"), kubernetes_filler(found)).items():
        found[name] = value
    return _filled_in_turn(document, container.get("env"), found)


def _filled_in_turn(document: Document, node: Node | None, found: dict[str, str]) -> dict[str, str]:
    """`$(NAME)` inside a value means a variable that is defined above it."""
    if any("$(" in value for value in found.values()):
        again = environment_of(document, node, kubernetes_filler(known_only(found)))
        return {**found, **again}
    return found


def gpus_asked(document: Document, resources: Node | None) -> int | None:
    """GPUs of a container's resources; None where none are named."""
    asked = {
        **document.members(document.at(resources, "requests")),
        **document.members(document.at(resources, "limits")),
    }
    counts = [document.scalar(asked[name]) or "" for name in GPU_RESOURCES if name in asked]
    return int(counts[0]) if counts and counts[0].isdecimal() and len(counts[0]) < 6 else None


def _product(document: Document, pod: Mapping[str, Node]) -> str | None:
    """The GPU of a node selector, or of a node affinity that names one."""
    selector = document.members(pod.get("nodeSelector"))
    for label in PRODUCT_LABELS:
        if label in selector:
            return product_name(document.scalar(selector[label]))
    affinity = document.at(
        pod.get("affinity"), "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms"
    )
    for term in document.items(affinity):
        for expression in document.items(document.at(term, "matchExpressions")):
            values = document.items(document.at(expression, "values"))
            if document.text_at(expression, "key") in PRODUCT_LABELS and len(values) == 1:
                return product_name(document.scalar(values[0]))
    return None


def _memory_volumes(document: Document, volumes: Node | None) -> frozenset[str]:
    return frozenset(
        document.text_at(volume, "name")
        for volume in document.items(volumes)
        if document.text_at(volume, "emptyDir", "medium") == "Memory"
    )


def product_name(label: str | None) -> str | None:
    """The GPU's name in a node label: 'NVIDIA-H100-80GB-HBM3-SHARED' -> 'NVIDIA-H100-80GB-HBM3'."""
    return None if not label or "{" in label else re.sub(r"-(?:SHARED|MIG-.*)$", "", label)
