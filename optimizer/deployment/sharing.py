"""GPUs that several servers share, as Kubernetes hands them out.

Time slicing (or MPS) of the NVIDIA device plugin divides every GPU of a node into equal parts, whole and shared GPUs
never mixed. Where a plan's shared GPUs are of that kind, pods ask for `nvidia.com/gpu.shared`. Otherwise each shared
GPU is one ResourceClaim that its pods name (dynamic resource allocation, Kubernetes 1.34), which is exact for any mix.

Sources: https://github.com/NVIDIA/k8s-device-plugin (shared access), https://kubernetes.io/docs/concepts/
scheduling-eviction/dynamic-resource-allocation/, profiles of
https://docs.nvidia.com/datacenter/tesla/mig-user-guide/supported-mig-profiles.html.
"""

from collections import defaultdict
from typing import Any

from vllm_opt.optimizer.deployment.container import product_label
from vllm_opt.optimizer.deployment.deployment import Deployment, Host, Process, Service
from vllm_opt.profiles.reading.quantities import counted

SHARED_RESOURCE = "nvidia.com/gpu.shared"
CONFIG_LABEL = "nvidia.com/device-plugin.config"
MIG_PROFILES: dict[str, dict[int, str]] = {
    "a100-pcie-40gb": {2: "3g.20gb", 4: "1g.10gb"},
    "a100-sxm4-40gb": {2: "3g.20gb", 4: "1g.10gb"},
    "a100-pcie-80gb": {2: "3g.40gb", 4: "1g.20gb"},
    "a100-sxm4-80gb": {2: "3g.40gb", 4: "1g.20gb"},
    "h100-pcie": {2: "3g.40gb", 4: "1g.20gb"},
    "h100-sxm": {2: "3g.40gb", 4: "1g.20gb"},
    "h200-sxm": {2: "3g.71gb", 4: "1g.35gb"},
    "b200": {2: "3g.90gb", 4: "1g.45gb"},
}
"""SKU -> parts of a GPU -> the profile that holds about as much memory; the share of its cores is smaller."""


def shares(deployment: Deployment) -> bool:
    """Whether any server has a part of a GPU only."""
    return any(service.kind.gpu_part < 1 for service in deployment.services)


def parts_of(service: Service) -> int:
    """Into how many parts a GPU of this service is cut."""
    return round(1 / service.kind.gpu_part)


def equal_parts(deployment: Deployment) -> bool:
    """Whether every host with shared GPUs holds nothing but equal parts, the same on all hosts of a SKU."""
    cuts: dict[str, set[int]] = defaultdict(set)
    for host in deployment.hosts:
        parts = {round(1 / each.gpu_part) for each in host.processes}
        if len(parts) > 1:
            return False
        if parts and parts != {1}:
            cuts[host.gpu.id] |= parts
    return all(len(found) == 1 for found in cuts.values())


def uses_claims(deployment: Deployment) -> bool:
    """Whether shared GPUs are claims of their own rather than slices."""
    return shares(deployment) and not equal_parts(deployment)


def claim_name(host: Host, process: Process) -> str:
    """The claim of a shared GPU."""
    return f"shared-gpu-{host.name}-{process.devices[0]}"


def claims(deployment: Deployment) -> list[dict[str, Any]]:
    """One ResourceClaim for each GPU that servers share."""
    found: dict[str, dict[str, Any]] = {}
    for host in deployment.hosts:
        for process in host.processes:
            if process.gpu_part < 1:
                found[claim_name(host, process)] = _claim(claim_name(host, process), deployment, process)
    return list(found.values())


def _claim(name: str, deployment: Deployment, process: Process) -> dict[str, Any]:
    kind = deployment.service(process.service).kind
    driver = "gpu.amd.com" if kind.gpu.vendor == "amd" else "gpu.nvidia.com"
    exactly: dict[str, Any] = {"deviceClassName": driver}
    if kind.gpu.vllm_device_names:
        expression = f"device.attributes['{driver}'].productName in {list(kind.gpu.vllm_device_names)!r}"
        exactly["selectors"] = [{"cel": {"expression": expression}}]
    return {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "ResourceClaim",
        "metadata": {"name": name},
        "spec": {"devices": {"requests": [{"name": "gpu", "exactly": exactly}]}},
    }


def plugin_configs(deployment: Deployment) -> dict[str, Any]:
    """A ConfigMap for the device plugin: a configuration for time slicing and one for MPS, per number of parts."""
    cuts = sorted({parts_of(service) for service in deployment.services if service.kind.gpu_part < 1})
    data = {}
    for cut in cuts:
        for way, key in (("time-slicing", "timeSlicing"), ("mps", "mps")):
            resource = f"    - name: nvidia.com/gpu\n      replicas: {cut}\n"
            data[f"{way}-{cut}"] = (
                f"version: v1\nsharing:\n  {key}:\n    renameByDefault: true\n    failRequestsGreaterThanOne: true\n"
                f"    resources:\n{resource}"
            )
    return {
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "nvidia-device-plugin-sharing"}, "data": data,
    }  # fmt: skip


def plugin_selector(service: Service) -> dict[str, str]:
    """The node label that says how the device plugin divides its GPUs."""
    return {CONFIG_LABEL: f"time-slicing-{parts_of(service)}"} if service.kind.gpu.vendor == "nvidia" else {}


def sharing_words(deployment: Deployment) -> list[str]:
    """What README says about shared GPUs."""
    lines = []
    for service in deployment.services:
        if service.kind.gpu_part >= 1:
            continue
        cut, gpu = parts_of(service), service.kind.gpu
        label, value = product_label(service.kind)
        profile = MIG_PROFILES.get(gpu.id, {}).get(cut)
        lines.append(
            f"{service.name}: {counted(service.replicas, 'server')}, each with 1/{cut} of a {gpu.id} by "
            f"`--gpu-memory-utilization {service.kind.gpu_memory_utilization:g}`; nodes are those with {label}={value}."
            if service.kind.gpu_memory_utilization is not None
            else f"{service.name}: {counted(service.replicas, 'server')}, each with 1/{cut} of a {gpu.id}."
        )
        if profile is not None:
            lines.append(
                f"With MIG instead, profile {profile}: ask for `nvidia.com/mig-{profile}`, and state "
                "`--gpu-memory-utilization` as a share of the slice; predictions hold for shared time, not for a slice "
                "with its fixed part of the cores."
            )
    return lines
