"""Nodes and running servers as `kubectl get … -o json` prints them."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.estimation.pasted_line import fields_of_line
from vllm_opt.optimizer.placement.request import PlaceRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import GIB
from vllm_opt.profiles.reading.user_files import read_user_text

MOST_KUBECTL_BYTES = 64 * 1024 * 1024
PRODUCT_LABELS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "beta.amd.com/gpu.product-name")
COUNTS = ("nvidia.com/gpu", "amd.com/gpu")
ZONES = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")
INDICES = ("CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
MIG = re.compile(r"nvidia\.com/mig-([0-9]g\.[0-9]+gb)")
SIZES = {
    "": 1,
    "Ki": 1 << 10,
    "Mi": 1 << 20,
    "Gi": 1 << 30,
    "Ti": 1 << 40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}
FIELDS_KEPT = (
    "tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization", "kv_cache_dtype",
    "gpu_memory_utilization",
)  # fmt: skip


def nodes_from_kubectl(path: str | Path) -> list[dict[str, Any]]:
    """The nodes with GPUs of `kubectl get nodes -o json`, as a site file would list them; others are left out.

    Raises:
        InvalidRequest: the file is no such list, or none of its nodes has GPUs that are named.
    """
    nodes = [found for item in _items(path, "nodes") if (found := _node(item)) is not None]
    if not nodes:
        raise InvalidRequest(
            f"{printable(str(path))}: no node has GPUs with a label {PRODUCT_LABELS[0]}; the GPU operator sets it"
        )
    return nodes


def _items(path: str | Path, what: str) -> Iterator[dict[str, Any]]:
    text = read_user_text(path, MOST_KUBECTL_BYTES)
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidRequest(f"{printable(str(path))} is not JSON; write it with: kubectl get {what} -o json") from None
    single = isinstance(content, dict) and isinstance(content.get("metadata"), dict)
    items = content.get("items", [content] if single else None) if isinstance(content, dict) else None
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InvalidRequest(f"{printable(str(path))} is no list of {what}; write it with: kubectl get {what} -o json")
    yield from items


def _part(item: dict[str, Any], *keys: str) -> dict[str, Any]:
    found: Any = item
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _node(item: dict[str, Any]) -> dict[str, Any] | None:
    labels = {k: v for k, v in _part(item, "metadata", "labels").items() if isinstance(v, str) and k}
    room = _part(item, "status", "allocatable") or _part(item, "status", "capacity")
    name = _part(item, "metadata").get("name")
    product = next((labels[label] for label in PRODUCT_LABELS if label in labels), None)
    if not isinstance(name, str) or product is None or _part(item, "spec").get("unschedulable") is True:
        return None
    found: dict[str, Any] = {"name": name, "labels": labels}
    sku, _, instance = re.sub(r"-SHARED$", "", product).partition("-MIG-")
    whole = next((int(size) for key in COUNTS if (size := _size(room.get(key)))), 0)
    cut = {match.group(1): _size(count) for key, count in room.items() if (match := MIG.fullmatch(key))}
    cut = {profile: count for profile, count in cut.items() if count}
    cards = _size(labels.get("nvidia.com/gpu.count")) or 1
    if instance and whole:
        found |= {"gpus": cards, "mig": [instance] * max(1, whole // cards)}
    elif cut:
        found |= {
            "gpus": cards,
            "mig": [profile for profile, count in cut.items() for _ in range(max(1, count // cards))],
        }
    elif whole:
        found |= {"gpus": whole}
    else:
        return None
    zone = next((labels[label] for label in ZONES if label in labels), "")
    memory, disk = _size(room.get("memory")), _size(room.get("ephemeral-storage"))
    found |= {"gpu": sku, "zone": zone}
    found |= {"host_memory_gib": memory / GIB} if memory else {}
    found |= {"disk_gib": disk / GIB} if disk else {}
    return found


def _size(value: object) -> int:
    """A Kubernetes quantity as a whole number; 0 for what is none."""
    match = re.fullmatch(r"([0-9]{1,18})(Ki|Mi|Gi|Ti|k|M|G|T|)", str(value)) if value is not None else None
    return int(match.group(1)) * SIZES[match.group(2)] if match else 0


def placement_from_pods(path: str | Path, request: PlaceRequest) -> list[dict[str, Any]]:
    """The vLLM servers of `kubectl get pods -A -o json` that serve a model of the site and stand on its nodes.

    Kubernetes does not say which GPUs a pod has. Where a container's environment names them by number they are taken
    from there, else the first ones of the node that no other server has.

    Raises:
        InvalidRequest: the file is no such list.
    """
    catalog = Catalog(gpu_file=request.gpu_file)
    known = {_id(model, catalog): service.name for service in reversed(request.services) for model in service.model}
    names = {service.name for service in request.services}
    nodes = {node.name for node in request.nodes} | {
        f"{node.name}-{i + 1}" for node in request.nodes if node.count > 1 for i in range(node.count)
    }
    taken: dict[str, set[int]] = defaultdict(set)
    found = []
    for item in _items(path, "pods"):
        node = _part(item, "spec").get("nodeName")
        if node not in nodes or _part(item, "status").get("phase") not in ("Running", None):
            continue
        labels = _part(item, "metadata", "labels")
        containers = _part(item, "spec").get("containers")
        for container in containers if isinstance(containers, list) else []:
            server = _server(container, catalog) if isinstance(container, dict) else None
            if server is None:
                continue
            stated = labels.get("vllm-opt/service") or labels.get("app.kubernetes.io/name") or labels.get("app")
            service = stated if stated in names else known.get(_id(str(server.pop("model", "")), catalog))
            server.pop("model", None)
            if service is None:
                continue
            gpus = _gpus(container, server, taken[node])
            taken[node] |= set(gpus)
            found.append({"service": service, "node": node, "gpus": gpus, **server})
    return found


def _id(name: str, catalog: Catalog) -> str:
    try:
        return catalog.model(name).id
    except VllmOptError:
        return name


def _server(container: dict[str, Any], catalog: Catalog) -> dict[str, Any] | None:
    """What the command of a container says of its server."""
    words = [
        str(word) for key in ("command", "args") for word in (container.get(key) or []) if isinstance(word, str | int)
    ]
    line = " ".join(words if any("serve" in word or "api_server" in word for word in words) else ["vllm serve", *words])
    image = str(container.get("image", ""))
    if "vllm" not in line and "vllm" not in image:
        return None
    try:
        fields, _ = fields_of_line(line, catalog=catalog)
    except VllmOptError:
        return None
    kept = {name: fields[name] for name in FIELDS_KEPT if fields.get(name) is not None}
    return {"model": fields.get("model", ""), **kept}


def _gpus(container: dict[str, Any], server: dict[str, Any], taken: set[int]) -> list[int]:
    environment = container.get("env")
    for variable in environment if isinstance(environment, list) else []:
        value = variable.get("value") if isinstance(variable, dict) and variable.get("name") in INDICES else None
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}(,[0-9]{1,4})*", value):
            return sorted({int(word) for word in value.split(",")})
    sizes = [int(server.get(name, 1) or 1) for name in FIELDS_KEPT[:3]]
    needed = max(1, sizes[0] * sizes[1] * sizes[2])
    free = (gpu for gpu in range(10_000) if gpu not in taken)
    return [next(free) for _ in range(needed)]
