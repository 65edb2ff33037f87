"""The pod of one server: container, devices, shared memory, disks, probes, and the nodes that it may run on."""

from typing import Any

from vllm_opt.optimizer.deployment.container import (
    CACHE_FOLDER,
    MODEL_FOLDER,
    PORT,
    contained,
    cores,
    gpus_here,
    host_memory_gib,
    image,
    local_model,
    product_label,
    shared_memory_gib,
)
from vllm_opt.optimizer.deployment.deployment import Service
from vllm_opt.optimizer.deployment.sharing import SHARED_RESOURCE, plugin_selector
from vllm_opt.optimizer.deployment.start_budget import PROBE_PERIOD_S, disk_gib, probe_failures

GPU_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "gpu.intel.com/xe"}

FRONT = "app.kubernetes.io/component"
"""Label that tells the Service in front of all servers from the one that names single pods."""


def labels_of(service: Service) -> dict[str, str]:
    """Labels that everything of a service carries; `app` alone selects."""
    return {
        "app": service.name,
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/instance": service.name,
        "app.kubernetes.io/managed-by": "vllm-opt",
    }


def kubernetes_literal(word: str) -> str:
    """Kubernetes reads `$(NAME)`; with the dollar doubled it stands for itself."""
    return word.replace("$(", "$$(")


def pod(service: Service, *, claim: str | None = None, own_cache: bool = False, words: tuple[str, ...] | None = None,
        probes: bool = True, name: str = "vllm", script: str | None = None) -> dict[str, Any]:  # fmt: skip
    """The pod's spec.

    `claim` names a shared GPU; with `own_cache` the set of pods makes each its own disk for weights; `words` and
    `script` replace the plan's command.
    """
    shared_memory = {"medium": "Memory", "sizeLimit": f"{shared_memory_gib(service)}Gi"}
    volumes: list[dict[str, Any]] = [{"name": "shared-memory", "emptyDir": shared_memory}]
    if not own_cache:
        volumes.append({"name": "huggingface", "persistentVolumeClaim": {"claimName": cache_claim(service)}})
    if local_model(service.kind) is not None:
        volumes.append(
            {"name": "model", "persistentVolumeClaim": {"claimName": model_claim(service), "readOnly": True}}
        )
    shared = {} if claim is None else {"resourceClaims": [{"name": "gpu", "resourceClaimName": claim}]}
    return {
        "containers": [_container(service, claim, words, script, name, probes=probes)],
        **shared,
        "nodeSelector": node_selector(service, sliced=claim is None),
        "tolerations": [{"key": GPU_RESOURCES[service.kind.gpu.vendor], "operator": "Exists", "effect": "NoSchedule"}],
        # A Service called vllm would otherwise set VLLM_PORT, which vLLM reads as a number.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 120,
        "volumes": volumes,
    }


def node_selector(service: Service, *, sliced: bool = True) -> dict[str, str]:
    """The GPU's product, and how its node's GPUs are divided where this server shares one by slices."""
    label, value = product_label(service.kind)
    return {label: value, **(plugin_selector(service) if sliced and service.kind.gpu_part < 1 else {})}


def gpu_resource(service: Service) -> tuple[str, int]:
    """What one pod asks for."""
    vendor = service.kind.gpu.vendor
    if service.kind.gpu_part < 1 and vendor == "nvidia":
        return SHARED_RESOURCE, 1
    return GPU_RESOURCES[vendor], gpus_here(service)


def resources(service: Service, claim: str | None = None) -> dict[str, Any]:
    """Requests and limits of the container."""
    requests: dict[str, Any] = {"cpu": str(cores(service)), "memory": f"{host_memory_gib(service)}Gi"}
    if claim is not None:
        return {"requests": requests, "claims": [{"name": "gpu"}]}
    name, count = gpu_resource(service)
    return {"requests": {**requests, name: count}, "limits": {name: count}}


def environment(service: Service) -> list[dict[str, Any]]:
    """The token of a gated model, and what the plan sets."""
    token = {"name": "hf-token", "key": "token", "optional": True}
    return [
        {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}},
        *({"name": name, "value": kubernetes_literal(value)} for name, value in service.kind.env.items()),
    ]


def probes_of(service: Service) -> dict[str, Any]:
    """Start-up within the budget, then readiness every five seconds and liveness every fifteen."""
    health = {"httpGet": {"path": "/health", "port": PORT}}
    return {
        "startupProbe": {**health, "periodSeconds": PROBE_PERIOD_S, "timeoutSeconds": 5,
                         "failureThreshold": probe_failures(service)},
        "readinessProbe": {**health, "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
        "livenessProbe": {**health, "periodSeconds": 15, "timeoutSeconds": 10, "failureThreshold": 4},
    }  # fmt: skip


def volume_mounts(service: Service) -> list[dict[str, Any]]:
    """Shared memory, weights, and a folder that holds the model."""
    mounts: list[dict[str, Any]] = [
        {"name": "shared-memory", "mountPath": "/dev/shm"},
        {"name": "huggingface", "mountPath": CACHE_FOLDER},
    ]
    if local_model(service.kind) is not None:
        mounts.append({"name": "model", "mountPath": MODEL_FOLDER, "readOnly": True})
    return mounts


def _container(
    service: Service, claim: str | None, words: tuple[str, ...] | None, script: str | None, name: str, *, probes: bool
) -> dict[str, Any]:
    command = contained(service.kind, words or service.kind.command)
    spelled = (
        {"command": ["bash", "-c"], "args": [script]}
        if script is not None
        else {"command": list(command[:2]), "args": [kubernetes_literal(word) for word in command[2:]]}
    )
    return {
        "name": name,
        "image": image(service.kind),
        **spelled,
        "env": environment(service),
        "ports": [{"containerPort": PORT, "name": "http"}],
        "resources": resources(service, claim),
        **(probes_of(service) if probes else {}),
        "volumeMounts": volume_mounts(service),
    }


def cache_claim(service: Service) -> str:
    """The disk that keeps downloaded weights."""
    return f"{service.name}-weights"


def model_claim(service: Service) -> str:
    """The disk that has to hold the user's own model folder."""
    return f"{service.name}-model"


def disk(name: str | None, service: Service, mode: str = "ReadWriteOnce") -> dict[str, Any]:
    """A claim for a disk that holds the weights; without a name the template of a set."""
    spec = {"accessModes": [mode], "resources": {"requests": {"storage": f"{disk_gib(service)}Gi"}}}
    if name is None:
        return {"metadata": {"name": "huggingface"}, "spec": spec}
    metadata = {"name": name, "labels": labels_of(service)}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
