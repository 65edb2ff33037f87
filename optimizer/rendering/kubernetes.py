"""A plan as Kubernetes manifests: a Deployment with one pod per replica, and a Service in front of them."""

from typing import Any

from vllm_opt.optimizer.rendering.as_yaml import as_yaml
from vllm_opt.optimizer.rendering.server_spec import MODEL_FOLDER, PORT, ServerSpec
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import one_line
from vllm_opt.profiles.reading.quantities import counted

STARTUP_MINUTES = 60
"""Weights of hundreds of GB are downloaded before the first answer."""


def kubernetes_manifests(spec: ServerSpec) -> str:
    """Return Deployment and Service.

    Raises:
        InvalidRequest: one server spans several nodes.
    """
    if spec.nodes_per_server > 1:
        raise InvalidRequest(
            f"one server of this plan spans {counted(spec.nodes_per_server, 'node')}, which needs an operator such as "
            "LeaderWorkerSet; use --format command on each node"
        )
    body = as_yaml(_deployment(spec), _service(spec))
    head = [spec.summary, f"Put each pod on a node with {spec.gpu.name}; a gated model needs the secret 'hf-token'."]
    if spec.release_note is not None:
        head.append(spec.release_note)
    if spec.local_model is not None:
        head.append(f"The volume claim '{spec.name}-model' has to hold the folder {spec.local_model}.")
    return "\n".join([*(f"# {one_line(line)}" for line in head), body])


def _deployment(spec: ServerSpec) -> dict[str, Any]:
    labels = {"app": spec.name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": spec.name, "labels": labels},
        "spec": {
            "replicas": spec.replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": labels}, "spec": _pod(spec)},
        },
    }


def _pod(spec: ServerSpec) -> dict[str, Any]:
    claim = {"claimName": f"{spec.name}-model", "readOnly": True}
    shared_memory = {"medium": "Memory", "sizeLimit": f"{spec.shared_memory_gib}Gi"}
    return {
        "containers": [_container(spec)],
        "volumes": [
            {"name": "shared-memory", "emptyDir": shared_memory},
            {"name": "huggingface", "emptyDir": {}},
            *([] if spec.local_model is None else [{"name": "model", "persistentVolumeClaim": claim}]),
        ],
    }


def _container(spec: ServerSpec) -> dict[str, Any]:
    resource = "amd.com/gpu" if spec.gpu.vendor == "amd" else "nvidia.com/gpu"
    token = {"name": "hf-token", "key": "token", "optional": True}
    health = {"httpGet": {"path": "/health", "port": PORT}}
    return {
        "name": "vllm",
        "image": spec.image,
        "command": list(spec.container_command[:2]),
        "args": [word.replace("$(", "$$(") for word in spec.container_command[2:]],
        "env": [
            {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": token}},
            *({"name": name, "value": value} for name, value in spec.env.items()),
        ],
        "ports": [{"containerPort": PORT, "name": "http"}],
        "resources": {"limits": {resource: spec.gpus}},
        "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": 6 * STARTUP_MINUTES},
        "readinessProbe": {**health, "periodSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 15, "failureThreshold": 4},
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},
            {"name": "huggingface", "mountPath": "/root/.cache/huggingface"},
            *([] if spec.local_model is None else [{"name": "model", "mountPath": MODEL_FOLDER, "readOnly": True}]),
        ],
    }


def _service(spec: ServerSpec) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": spec.name},
        "spec": {"selector": {"app": spec.name}, "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
    }
