"""Kubernetes manifests: a workload, its Service and disks for each kind of server, and a router where several answer.

One replica is a Deployment with a disk for its weights; several are a StatefulSet, each with its own disk; a server
over hosts is a LeaderWorkerSet. Servers on shared GPUs that are claims have a Deployment each.
"""

from typing import Any

from vllm_opt.optimizer.deployment.container import PORT, local_model, product_is_known, product_label
from vllm_opt.optimizer.deployment.deployment import Deployment, Router, Service
from vllm_opt.optimizer.deployment.pod import FRONT, cache_claim, disk, labels_of, model_claim, pod
from vllm_opt.optimizer.deployment.router import NGINX_IMAGE, server_block, upstream
from vllm_opt.optimizer.deployment.sharing import claim_name, claims, equal_parts, plugin_configs, shares, uses_claims
from vllm_opt.optimizer.deployment.worker_group import worker_group
from vllm_opt.optimizer.deployment.yaml_text import GENERATED, yaml_text

ROUTER_PORT = 8080


def kubernetes_files(deployment: Deployment) -> dict[str, str]:
    """One file a service, one for the router, one for shared GPUs."""
    files = {
        f"kubernetes/{service.name}.yaml": yaml_text(service_documents(deployment, service), service_comments(service))
        for service in deployment.services
    }
    for router in deployment.routers:
        files[f"kubernetes/{router.name}.yaml"] = yaml_text(router_documents(deployment, router), (GENERATED,))
    if uses_claims(deployment):
        files["kubernetes/shared-gpus.yaml"] = yaml_text(
            claims(deployment),
            ("One claim for each GPU that servers share; Kubernetes 1.34 or newer with the vendor's DRA driver.",),
        )
    elif shares(deployment) and equal_parts(deployment):
        files["kubernetes/optional/gpu-sharing.yaml"] = yaml_text(
            [plugin_configs(deployment)],
            (
                "For the NVIDIA device plugin (its namespace): how the GPUs of nodes with the label "
                "nvidia.com/device-plugin.config are divided.",
            ),
        )
    return files


def service_comments(service: Service) -> list[str]:
    """What stands above a manifest."""
    kind = service.kind
    lines = [kind.summary, *kind.comments, "A gated model needs the secret 'hf-token' with the key 'token'."]
    if not product_is_known(kind):
        label, _ = product_label(kind)
        lines.append(f"Compare the node selector with: kubectl get nodes -L {label}")
    if local_model(kind) is not None:
        lines.append(f"The claim '{model_claim(service)}' has to hold the folder {local_model(kind)}.")
    return [line for line in [*lines, GENERATED] if line]


def service_documents(deployment: Deployment, service: Service) -> list[dict[str, Any]]:
    """Every object of one service."""
    documents: list[dict[str, Any]] = []
    if local_model(service.kind) is not None:
        documents.append(disk(model_claim(service), service, "ReadWriteMany"))
    if service.nodes > 1:
        documents += [disk(cache_claim(service), service, "ReadWriteMany"), worker_group(service)]
    elif service.kind.gpu_part < 1 and uses_claims(deployment):
        documents += [disk(cache_claim(service), service, "ReadWriteMany")]
        documents += [
            _deployment(service, f"{service.name}-{process.replica}", claim=claim_name(host, process))
            for host, process in deployment.processes_of(service.name)
        ]
    elif service.replicas == 1:
        documents += [disk(cache_claim(service), service), _deployment(service, service.name)]
    else:
        documents += [_stateful_set(service), _pods_service(service)]
    return [*documents, _front_service(service)]


def _deployment(service: Service, name: str, *, claim: str | None = None) -> dict[str, Any]:
    labels = labels_of(service)
    own = {"vllm-opt/server": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": service.name, **own}},
            # A second server beside the first would need another GPU.
            "strategy": {"type": "Recreate"},
            "template": {"metadata": {"labels": {**labels, **own}}, "spec": pod(service, claim=claim)},
        },
    }


def _stateful_set(service: Service) -> dict[str, Any]:
    labels = labels_of(service)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": service.name, "labels": labels},
        "spec": {
            "replicas": service.replicas,
            "serviceName": f"{service.name}-pods",
            # Each server on a shared GPU measures the memory that is free when it starts.
            "podManagementPolicy": "OrderedReady" if service.kind.gpu_part < 1 else "Parallel",
            "selector": {"matchLabels": {"app": service.name}},
            "template": {"metadata": {"labels": labels}, "spec": pod(service, own_cache=True)},
            "volumeClaimTemplates": [disk(None, service)],
        },
    }


def _front_service(service: Service) -> dict[str, Any]:
    selector = {"app": service.name}
    if service.nodes > 1:
        selector["leaderworkerset.sigs.k8s.io/worker-index"] = "0"
    return _service(service.name, service, {"selector": selector}, {FRONT: "front"})


def _pods_service(service: Service) -> dict[str, Any]:
    """Names for single pods, which a router needs before they are ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"app": service.name}}
    return _service(f"{service.name}-pods", service, spec, {FRONT: "pods"})


def _service(name: str, service: Service, spec: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    ports = [{"name": "http", "port": PORT, "targetPort": "http"}]
    return {
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "labels": {**labels_of(service), **labels}},
        "spec": {**spec, "ports": ports},
    }  # fmt: skip


def backends(deployment: Deployment, router: Router) -> list[str]:
    """The names by which a router in the cluster reaches single servers."""
    found: list[str] = []
    for name in dict.fromkeys(each.service for each in router.endpoints):
        service = deployment.service(name)
        if service.replicas == 1 or service.nodes > 1 or (service.kind.gpu_part < 1 and uses_claims(deployment)):
            found.append(f"{name}:{PORT}")
        else:
            found += [f"{name}-{replica}.{name}-pods:{PORT}" for replica in range(service.replicas)]
    return found


def router_documents(deployment: Deployment, router: Router) -> list[dict[str, Any]]:
    """nginx in front of all servers that answer the same requests: configuration, Deployment, Service."""
    labels = {"app": router.name, "app.kubernetes.io/managed-by": "vllm-opt"}
    text = (
        "resolver ${NGINX_LOCAL_RESOLVERS} valid=10s;\n"
        + upstream(router.name, [_full(name) for name in backends(deployment, router)], " resolve")
        + server_block(router.name, ROUTER_PORT)
    )
    container = {
        "name": "nginx",
        "image": NGINX_IMAGE,
        "env": [
            {"name": "NGINX_ENTRYPOINT_LOCAL_RESOLVERS", "value": "1"},
            {"name": "POD_NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        ],
        "ports": [{"containerPort": ROUTER_PORT, "name": "http"}],
        "resources": {"requests": {"cpu": "500m", "memory": "256Mi"}},
        "readinessProbe": {"tcpSocket": {"port": ROUTER_PORT}, "periodSeconds": 5},
        "volumeMounts": [{"name": "configuration", "mountPath": "/etc/nginx/templates", "readOnly": True}],
    }
    template = {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [container],
            "volumes": [{"name": "configuration", "configMap": {"name": router.name}}],
        },
    }
    metadata = {"name": router.name, "labels": labels}
    return [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"default.conf.template": text}},
        {
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
            "spec": {"replicas": 1, "selector": {"matchLabels": {"app": router.name}}, "template": template},
        },
        {
            "apiVersion": "v1", "kind": "Service", "metadata": metadata,
            "spec": {"selector": {"app": router.name},
                     "ports": [{"name": "http", "port": PORT, "targetPort": "http"}]},
        },
    ]  # fmt: skip


def _full(name: str) -> str:
    """nginx asks the DNS itself and knows no search domains."""
    host, _, port = name.partition(":")
    return f"{host}.${{POD_NAMESPACE}}.svc.cluster.local:{port}"
