"""KServe: an InferenceService for each kind of server; an LLMInferenceService for servers over hosts.

Sources: https://kserve.github.io/website/docs/reference/crd-api (InferenceService with a container of its own,
LLMInferenceService with leader and worker templates), fields as in KServe's own resource definitions.
"""

from typing import Any

from vllm_opt.optimizer.deployment.container import local_model
from vllm_opt.optimizer.deployment.deployment import Deployment, Service
from vllm_opt.optimizer.deployment.kubernetes import service_comments
from vllm_opt.optimizer.deployment.pod import cache_claim, disk, labels_of, model_claim, pod
from vllm_opt.optimizer.deployment.worker_group import leader_pod, worker_pod
from vllm_opt.optimizer.deployment.yaml_text import yaml_text


def kserve_files(deployment: Deployment) -> dict[str, str]:
    """One file a service."""
    return {
        f"kserve/{service.name}.yaml": yaml_text(kserve_documents(service), service_comments(service))
        for service in deployment.services
    }


def kserve_documents(service: Service) -> list[dict[str, Any]]:
    """The disks and the resource."""
    shared = "ReadWriteOnce" if service.replicas == 1 and service.nodes == 1 else "ReadWriteMany"
    disks = [disk(cache_claim(service), service, shared)]
    if local_model(service.kind) is not None:
        disks.append(disk(model_claim(service), service, "ReadWriteMany"))
    return [*disks, _over_hosts(service) if service.nodes > 1 else _inference_service(service)]


def _inference_service(service: Service) -> dict[str, Any]:
    predictor = {
        "minReplicas": service.replicas,
        "maxReplicas": service.replicas,
        "deploymentStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        **pod(service, name="kserve-container"),
    }
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": service.name,
            "labels": labels_of(service),
            # Knative allows neither several replicas of fixed number nor start-up probes of hours.
            "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
        },
        "spec": {"predictor": predictor},
    }


def _over_hosts(service: Service) -> dict[str, Any]:
    model = service.kind.command[2]
    folder = local_model(service.kind)
    uri = f"hf://{model}" if folder is None else f"pvc://{model_claim(service)}"
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": service.name, "labels": labels_of(service)},
        "spec": {
            "model": {"uri": uri, "name": model},
            "replicas": service.replicas,
            # KServe starts one pod for each of these; the words of the containers say what each pod does.
            "parallelism": {"pipeline": service.nodes, "tensor": service.kind.gpus // service.nodes},
            "template": leader_pod(service),
            "worker": worker_pod(service),
        },
    }
