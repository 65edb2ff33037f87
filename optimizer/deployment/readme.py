"""README.md of a deployment: what runs where, how to start it, how to see that it does."""

import re

from vllm_opt.optimizer.deployment.container import image
from vllm_opt.optimizer.deployment.deployment import Deployment, Host, Service
from vllm_opt.optimizer.deployment.expected import FILE
from vllm_opt.optimizer.deployment.sharing import sharing_words, uses_claims
from vllm_opt.optimizer.deployment.start_budget import start_seconds
from vllm_opt.profiles.printable import one_line
from vllm_opt.profiles.reading.quantities import counted


def readme(deployment: Deployment, emit: tuple[str, ...]) -> str:
    """The page."""
    parts = [f"# {deployment.name}\n", _summary(deployment), _hosts(deployment)]
    parts += [_start(deployment, emit), _check(deployment)]
    shared = sharing_words(deployment)
    if shared:
        parts.append("## Shared GPUs\n\n" + "".join(f"- {safe(line)}\n" for line in shared))
        parts.append(_sharing(deployment))
    if any(each.sleeps for host in deployment.hosts for each in host.processes):
        parts.append(_sleepers(deployment))
    comments = list(dict.fromkeys(line for service in deployment.services for line in service.kind.comments))
    if comments:
        parts.append("## Before the first start\n\n" + "".join(f"- {safe(line)}\n" for line in comments))
    return "\n".join(parts)


def safe(text: str) -> str:
    """Text from outside on one line of Markdown: no tag, no link, no end of a code span."""
    return re.sub(r"([\\*_\[\]|])", r"\\\1", one_line(text).replace("&", "&amp;").replace("<", "&lt;"))


def code(text: str) -> str:
    """A code span, whatever the text holds."""
    plain = one_line(text)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", plain)), default=0))
    pad = " " if "`" in plain else ""
    return f"{ticks}{pad}{plain}{pad}{ticks}".replace("|", "\\|")


def _summary(deployment: Deployment) -> str:
    rows = "".join(_row(service) for service in deployment.services)
    return (
        "| service | model | servers | GPUs each | vLLM | image |\n|---|---|---:|---:|---|---|\n" + rows +
        f"\nPredictions (memory, TTFT, TPOT, tokens/s, cost) are in `{FILE}`; nothing else here depends on prices.\n"
    )  # fmt: skip


def _row(service: Service) -> str:
    kind = service.kind
    part = f"1/{round(1 / kind.gpu_part)}" if kind.gpu_part < 1 else str(kind.gpus)
    over = f" over {counted(service.nodes, 'host')}" if service.nodes > 1 else ""
    return (
        f"| {service.name} | {code(kind.command[2])} | {service.replicas} | {part} x {kind.gpu.id}{over} | "
        f"{safe(kind.vllm_version)} | `{image(kind)}` |\n"
    )


def _hosts(deployment: Deployment) -> str:
    lines = ["## What runs where\n\n| host | GPU | server | devices | port |\n|---|---|---|---|---|\n"]
    for host in deployment.hosts:
        lines += [_process_rows(host)]
    for router in deployment.routers:
        behind = ", ".join(f"{each.host}:{each.port}" for each in router.endpoints)
        lines.append(f"\nOne address for {behind}: port {router.port} ({router.name}).\n")
    return "".join(lines)


def _process_rows(host: Host) -> str:
    place = f"| {host.name} | {host.gpus} x {host.gpu.id} | "
    if not host.processes:
        return f"{place}nothing | | |\n"
    rows = []
    for each in host.processes:
        devices = ", ".join(map(str, each.devices))
        role = "" if each.nodes == 1 else f", {each.role}"
        rows.append(f"{place}{each.service} {each.replica}{role} | {devices} | {each.port or ''} |\n")
    return "".join(rows)


def _sleepers(deployment: Deployment) -> str:
    """Which servers sleep, and how one is woken."""
    lines = ["## Servers that sleep\n\n"]
    port = 0
    for host in deployment.hosts:
        by_gpu: dict[tuple[int, ...], list[str]] = {}
        for each in host.processes:
            if each.sleeps:
                port = port or each.port or 0
                by_gpu.setdefault(each.devices, []).append(f"{each.service} {each.replica} (port {each.port})")
        for devices, names in by_gpu.items():
            one = "one of them awake at a time: " if len(names) > 1 else ""
            lines.append(f"- {host.name}, GPU {', '.join(map(str, devices))}: {one}{safe(', '.join(names))}\n")
    return "".join(lines) + (
        "\nScripts and compose files put each of them to sleep once it has started, before the next one of its GPU "
        "starts. Before requests, "
        f"`curl -X POST http://127.0.0.1:{port}/wake_up`; after them `curl -X POST "
        f"'http://127.0.0.1:{port}/sleep?level=1'`. Put the one that is awake to sleep before you wake another of its "
        "GPU. In Kubernetes do the same in each pod once it is ready, one after another: `kubectl exec POD -- python3 "
        "-c \"import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/sleep?level=1', method='POST'))"
        '"`.\n'
    )


def _start(deployment: Deployment, emit: tuple[str, ...]) -> str:
    first = next(host.name for host in deployment.hosts if host.processes)
    lines = ["## Start\n\n"]
    several = len([host for host in deployment.hosts if host.processes]) > 1
    if "scripts" in emit:
        lines.append(
            f"- Bare hosts with vLLM installed: `bash scripts/{first}.sh` on {first}"
            + (", and each other host's own script there. " if several else ". ")
            + f"`scripts/{first}.service` runs it under systemd.\n"
        )
        if several:
            lines.append(
                "  Host names must resolve; `scripts/addresses.env` with lines such as `NODE_1_ADDRESS=10.0.0.1` "
                "replaces them.\n"
            )
        if deployment.routers:
            lines.append('  Router: `nginx -c "$PWD/scripts/router.conf"`.\n')
    if "compose" in emit:
        more = ", the other files on theirs" if several else ""
        lines.append(f"- Docker: `docker compose -f compose/{first}.yaml up -d` on {first}{more}.\n")
    if "kubernetes" in emit:
        lines.append(
            "- Kubernetes: `kubectl apply -f kubernetes/`; what lies in `kubernetes/optional` needs operators.\n"
        )
    if "kustomize" in emit:
        lines.append("- Kustomize: `kubectl apply -k kubernetes/`.\n")
    if "kserve" in emit:
        lines.append("- KServe: `kubectl apply -f kserve/`.\n")
    if "helm" in emit:
        lines.append("- Helm: the command is the comment above each file of `helm/`.\n")
    return "".join(lines)


def _check(deployment: Deployment) -> str:
    slowest = max(start_seconds(service) for service in deployment.services)
    host, port = next(
        (host.address, each.port) for host in deployment.hosts for each in host.processes if each.port is not None
    )
    host = "127.0.0.1" if len(deployment.hosts) == 1 else host
    return (
        "## Check\n\n"
        f"A start may take up to {counted(-(-slowest // 60), 'minute')} the first time, when weights are downloaded. "
        f"Then `curl http://{host}:{port}/health` answers 200, and `vllm-opt verify .` says which benchmark proves "
        "the predictions.\n"
    )


def _sharing(deployment: Deployment) -> str:
    turns = (
        "On hosts and in compose the servers start one after another; a pod that starts while another measures its GPU "
        "may fail once and is restarted.\n"
    )
    if uses_claims(deployment):
        return (
            "In Kubernetes each shared GPU is a ResourceClaim (`kubernetes/shared-gpus.yaml`), because shared and "
            f"whole GPUs, or unequal parts, stand on one node. {turns}"
        )
    return (
        "In Kubernetes `kubernetes/optional/gpu-sharing.yaml` configures the device plugin: time slicing, or MPS with "
        f"the label's other value. {turns}"
    )
