"""Optional objects that need an operator: Prometheus' ServiceMonitor, and scaling by the number of waiting requests.

Scaling is never part of the plan: it adds replicas, and cost, beyond what was proven. Of two ways one is applied:
KEDA (asks Prometheus), or a HorizontalPodAutoscaler over `vllm_num_requests_waiting` (needs prometheus-adapter).
"""

from itertools import pairwise
from typing import Any

from vllm_opt.optimizer.deployment.deployment import Deployment, Service
from vllm_opt.optimizer.deployment.pod import FRONT, labels_of
from vllm_opt.optimizer.deployment.yaml_text import GENERATED, yaml_text

WAITING = "vllm:num_requests_waiting"
"""vLLM's own gauge of its queue (https://docs.vllm.ai/en/latest/usage/metrics.html)."""
MOST_TIMES = 2
"""How far beyond the plan the optional scaling goes."""
PROMETHEUS = "http://prometheus-operated.monitoring.svc:9090"


def monitoring_files(deployment: Deployment) -> dict[str, str]:
    """A monitor for all services, and for each one that may grow both ways of scaling."""
    files = {
        "kubernetes/optional/service-monitor.yaml": yaml_text(
            [service_monitor(service) for service in deployment.services], ("Needs the Prometheus operator.", GENERATED)
        )
    }
    grown = [service for service in deployment.services if service.nodes == 1 and service.kind.gpu_part == 1]
    beyond = "The plan proves the least number of replicas only; more of them cost more than it says."
    if grown:
        files["kubernetes/optional/keda.yaml"] = yaml_text(
            [scaled_object(service) for service in grown], ("Needs KEDA; leave hpa.yaml out then.", beyond, GENERATED)
        )
        files["kubernetes/optional/hpa.yaml"] = yaml_text(
            [autoscaler(service) for service in grown],
            ("Needs prometheus-adapter with vllm:num_requests_waiting as vllm_num_requests_waiting;", "leave keda.yaml "
             "out then.", beyond, GENERATED),
        )  # fmt: skip
    return files


def waiting_requests(service: Service) -> int:
    """Waiting requests per replica at which one more helps: a quarter of what a step takes."""
    command = service.kind.command
    stated = next((value for flag, value in pairwise(command) if flag == "--max-num-seqs"), "")
    return max(1, int(stated) // 4) if stated.isdecimal() else 8


def workload_kind(service: Service) -> str:
    """The object that holds the replicas."""
    return "Deployment" if service.replicas == 1 else "StatefulSet"


def service_monitor(service: Service) -> dict[str, Any]:
    """Every pod's /metrics, each half minute."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": service.name, "labels": labels_of(service)},
        "spec": {
            "selector": {"matchLabels": {"app": service.name, FRONT: "front"}},
            "endpoints": [{"port": "http", "path": "/metrics", "interval": "30s"}],
        },
    }


def _target(service: Service) -> dict[str, str]:
    return {"apiVersion": "apps/v1", "kind": workload_kind(service), "name": service.name}


def scaled_object(service: Service) -> dict[str, Any]:
    """KEDA's object."""
    query = f'sum({WAITING}{{service="{service.name}"}})'
    trigger = {
        "type": "prometheus",
        "metadata": {"serverAddress": PROMETHEUS, "query": query, "threshold": str(waiting_requests(service))},
    }
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": service.name, "labels": labels_of(service)},
        "spec": {
            "scaleTargetRef": _target(service),
            "minReplicaCount": service.replicas,
            "maxReplicaCount": MOST_TIMES * service.replicas,
            "pollingInterval": 15,
            "cooldownPeriod": 600,
            "triggers": [trigger],
        },
    }


def autoscaler(service: Service) -> dict[str, Any]:
    """The HorizontalPodAutoscaler."""
    metric = {
        "type": "Pods",
        "pods": {
            "metric": {"name": "vllm_num_requests_waiting"},
            "target": {"type": "AverageValue", "averageValue": str(waiting_requests(service))},
        },
    }
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": service.name, "labels": labels_of(service)},
        "spec": {
            "scaleTargetRef": _target(service),
            "minReplicas": service.replicas,
            "maxReplicas": MOST_TIMES * service.replicas,
            "metrics": [metric],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 600}},
        },
    }
