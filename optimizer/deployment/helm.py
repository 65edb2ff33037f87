"""Values for the charts that people start vLLM with: vLLM's production stack, and llm-d's model service.

Sources: https://github.com/vllm-project/production-stack/tree/main/helm, https://github.com/llm-d-incubation/
llm-d-modelservice/tree/main/charts: values.yaml and templates of each.
"""

from typing import Any

from vllm_opt.optimizer.deployment.container import (
    MODEL_FOLDER,
    PORT,
    cores,
    gpus_here,
    host_memory_gib,
    image,
    local_model,
    shared_memory_gib,
)
from vllm_opt.optimizer.deployment.deployment import Deployment, Service
from vllm_opt.optimizer.deployment.pod import (
    cache_claim,
    disk,
    environment,
    gpu_resource,
    kubernetes_literal,
    model_claim,
    node_selector,
    probes_of,
    resources,
    volume_mounts,
)
from vllm_opt.optimizer.deployment.start_budget import PROBE_PERIOD_S, disk_gib, probe_failures
from vllm_opt.optimizer.deployment.worker_group import group_script
from vllm_opt.optimizer.deployment.yaml_text import GENERATED, yaml_text

TENSOR = "--tensor-parallel-size"
STACK_CHART = "vllm/vllm-stack"
LLM_D_CHART = "llm-d-modelservice/llm-d-modelservice"


def helm_files(deployment: Deployment) -> dict[str, str]:
    """Values of the production stack for everything that stands on one host each, and of llm-d for each service."""
    files: dict[str, str] = {}
    on_one_host = [service for service in deployment.services if service.nodes == 1]
    if on_one_host:
        head = [service.kind.summary for service in on_one_host if service.kind.summary]
        head += [f"helm upgrade --install {deployment.name} {STACK_CHART} -f production-stack.yaml", GENERATED]
        files["helm/production-stack.yaml"] = yaml_text([production_stack(on_one_host)], head)
    for service in deployment.services:
        command = f"helm upgrade --install {service.name} {LLM_D_CHART} -f llm-d-{service.name}.yaml"
        head = [line for line in (service.kind.summary, *service.kind.comments, command, GENERATED) if line]
        files[f"helm/llm-d-{service.name}.yaml"] = yaml_text([llm_d(service)], head)
    return files


def production_stack(services: list[Service]) -> dict[str, Any]:
    """One entry of modelSpec a service; the chart's own router stands in front."""
    slowest = max(probe_failures(service) for service in services)
    health = {"httpGet": {"path": "/health", "port": PORT}}
    return {
        "servingEngineSpec": {
            "enableEngine": True,
            "runtimeClassName": "",
            "containerPort": PORT,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "startupProbe": {"initialDelaySeconds": 15, "periodSeconds": PROBE_PERIOD_S, "failureThreshold": slowest,
                             **health},
            "modelSpec": [_model_spec(service) for service in services],
        },
        "routerSpec": {"enableRouter": True, "routingLogic": "roundrobin"},
    }  # fmt: skip


def _model_spec(service: Service) -> dict[str, Any]:
    kind, folder = service.kind, local_model(service.kind)
    repository, _, tag = image(kind).rpartition(":")
    name, count = gpu_resource(service)
    terms = [{"key": key, "operator": "In", "values": [value]} for key, value in node_selector(service).items()]
    mounts = [{"name": "model", "mountPath": MODEL_FOLDER, "readOnly": True}]
    claim = {"name": "model", "persistentVolumeClaim": {"claimName": model_claim(service), "readOnly": True}}
    own = {} if folder is None else {"extraVolumes": [claim], "extraVolumeMounts": mounts}
    return {
        "name": service.name,
        "repository": repository,
        "tag": tag,
        "modelURL": kind.command[2] if folder is None else MODEL_FOLDER,
        "replicaCount": service.replicas,
        "requestCPU": cores(service),
        "requestMemory": f"{host_memory_gib(service)}Gi",
        "requestGPU": count,
        "requestGPUType": name,
        "pvcStorage": f"{disk_gib(service)}Gi",
        "pvcAccessMode": ["ReadWriteOnce" if service.replicas == 1 else "ReadWriteMany"],
        "shmSize": f"{shared_memory_gib(service)}Gi",
        "vllmConfig": _vllm_config(service),
        "env": environment(service),
        "nodeSelectorTerms": [{"matchExpressions": terms}],
        **own,
    }


def _vllm_config(service: Service) -> dict[str, Any]:
    """What the chart's template decides by itself, then everything else word by word.

    The template writes --no-enable-prefix-caching where that key is missing, and mounts /dev/shm only where
    tensorParallelSize is there.
    """
    kind = service.kind
    words, sizes = [kubernetes_literal(word) for word in kind.command[3:]], 1
    if TENSOR in words:
        position = words.index(TENSOR)
        sizes = int(words[position + 1])
        del words[position : position + 2]
    config = {"enablePrefixCaching": kind.prefix_caching, "tensorParallelSize": sizes, "extraArgs": words}
    if kind.env.get("VLLM_USE_V1") == "0":
        config = {"v0": "1", **config}
    return config


def llm_d(service: Service) -> dict[str, Any]:
    """Values of the model service: decode pods only, without the sidecar that splits prefill from decode."""
    kind, folder, nodes = service.kind, local_model(service.kind), service.nodes
    if folder is None:
        artifacts: dict[str, Any] = {"name": kind.command[2], "uri": f"hf://{kind.command[2]}"}
    else:
        artifacts = {"name": kind.command[2], "uri": f"pvc://{model_claim(service)}/", "mountPath": MODEL_FOLDER}
    mode = "ReadWriteOnce" if service.replicas == nodes == 1 else "ReadWriteMany"
    own = [] if folder is None else [disk(model_claim(service), service, "ReadWriteMany")]
    return {
        "modelArtifacts": {**artifacts, "size": f"{disk_gib(service)}Gi"},
        "multinode": nodes > 1,
        "accelerator": {"type": "amd" if kind.gpu.vendor == "amd" else "nvidia"},
        "routing": {"servicePort": PORT, "proxy": {"enabled": False}},
        "decode": {
            "create": True,
            "replicas": service.replicas,
            # Engines and their sizes are in the container's own words: the chart would repeat them.
            "parallelism": {"tensor": gpus_here(service), "data": 1, "dataLocal": 1, "workers": nodes},
            "nodeSelector": node_selector(service),
            "containers": [_llm_d_container(service)],
            "volumes": _llm_d_volumes(service),
        },
        "prefill": {"create": False},
        # The chart makes no disk that outlives a pod.
        "extraObjects": [disk(cache_claim(service), service, mode), *own],
    }


def _llm_d_container(service: Service) -> dict[str, Any]:
    kind = service.kind
    model = kind.command[2] if local_model(kind) is None else MODEL_FOLDER
    if service.nodes > 1:
        spelled = {"command": ["bash", "-c"], "args": [_either(service)]}
    else:
        words = [kubernetes_literal(word) for word in (model, *kind.command[3:], "--port", str(PORT))]
        spelled = {"command": list(kind.command[:2]), "args": words}
    return {
        "name": "vllm",
        "image": image(kind),
        "modelCommand": "custom",
        **spelled,
        "env": environment(service),
        "ports": [{"containerPort": PORT, "name": "http", "protocol": "TCP"}],
        "resources": resources(service),
        **({} if service.nodes > 1 else probes_of(service)),
        "mountModelVolume": local_model(kind) is not None,
        "volumeMounts": [mount for mount in volume_mounts(service) if mount["name"] != "model"],
    }


def _either(service: Service) -> str:
    """One template for all pods of a group: the leader is the pod with index 0."""
    leader, worker = group_script(service, worker=False), group_script(service, worker=True)
    return f'if [ "${{LWS_WORKER_INDEX}}" = 0 ]; then {leader}; else {worker}; fi'


def _llm_d_volumes(service: Service) -> list[dict[str, Any]]:
    shared_memory = {"medium": "Memory", "sizeLimit": f"{shared_memory_gib(service)}Gi"}
    return [
        {"name": "shared-memory", "emptyDir": shared_memory},
        {"name": "huggingface", "persistentVolumeClaim": {"claimName": cache_claim(service)}},
    ]
