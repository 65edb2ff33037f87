"""One compose file a host: its processes as services, each with its own devices and port; a router on the first."""

from collections.abc import Collection
from typing import Any

from vllm_opt.optimizer.deployment.container import (
    CACHE_FOLDER,
    MODEL_FOLDER,
    PORT,
    contained,
    image,
    local_model,
    shared_memory_gib,
)
from vllm_opt.optimizer.deployment.deployment import Deployment, Host, Process, Service
from vllm_opt.optimizer.deployment.launch import address_variable, joins_by_ray, ray_script
from vllm_opt.optimizer.deployment.router import NGINX_IMAGE, nginx_text, router_hosts
from vllm_opt.optimizer.deployment.scripts import ADDRESS_FLAGS
from vllm_opt.optimizer.deployment.start_budget import start_seconds
from vllm_opt.optimizer.deployment.yaml_text import GENERATED, yaml_text
from vllm_opt.profiles.nouns.gpu import GpuProfile

TEMPLATE = "router.conf.template"


def compose_files(deployment: Deployment) -> dict[str, str]:
    """A file for each host, and the router's template beside them."""
    files = {
        f"compose/{host.name}.yaml": compose_text(deployment, host, router=position == 0)
        for position, host in enumerate(host for host in deployment.hosts if host.processes)
    }
    if deployment.routers:
        files[f"compose/{TEMPLATE}"] = nginx_text(deployment)
    return files


def compose_text(deployment: Deployment, host: Host, *, router: bool = False) -> str:
    """The compose file of one host."""
    document = compose_document(deployment, host)
    if router and deployment.routers:
        document["services"]["router"] = _router(deployment)
    kinds = [deployment.service(name).kind for name in dict.fromkeys(each.service for each in host.processes)]
    head = [f"{host.name}: {host.gpus} x {host.gpu.id}"]
    head += list(dict.fromkeys(line for kind in kinds for line in (kind.summary, *kind.comments) if line))
    head += [
        f"The model is the folder {folder}; a relative one is looked for beside this file."
        for folder in dict.fromkeys(local_model(kind) for kind in kinds)
        if folder is not None
    ]
    if host.gpu.vendor == "amd":
        head.append("Where this release has no such image, use a rocm/vllm image of the same vLLM version.")
    return yaml_text([document], [*head, GENERATED])


def compose_document(deployment: Deployment, host: Host) -> dict[str, Any]:
    """Services and volumes of one host."""
    services: dict[str, Any] = {}
    names = {_name(each, deployment.service(each.service)) for each in host.processes}
    for position, process in enumerate(host.processes):
        service = deployment.service(process.service)
        entry = _service(service, process, host.gpu, deployment.address_of(process.master or host.name))
        before = [each for each in host.processes[:position] if set(each.devices) & set(process.devices)]
        if before and before[-1].port is not None:
            name = _name(before[-1], deployment.service(before[-1].service))
            done = "service_completed_successfully" if before[-1].sleeps else "service_healthy"
            entry["depends_on"] = {_asleep(name, names) if before[-1].sleeps else name: {"condition": done}}
        services[_name(process, service)] = entry
        if process.sleeps:
            name = _name(process, service)
            services[_asleep(name, names)] = _sleeper(name, service)
    return {"services": services, "volumes": {"huggingface": {}}}


def _name(process: Process, service: Service) -> str:
    name = service.name if service.replicas == 1 else f"{service.name}-{process.replica}"
    return f"{name}-rank-{process.node_rank}" if process.nodes > 1 else name


def _asleep(name: str, taken: Collection[str]) -> str:
    """What is called the service that puts a server to sleep."""
    found = f"{name}-asleep"
    while found in taken:
        found += "-1"
    return found


def _sleeper(name: str, service: Service) -> dict[str, Any]:
    """What puts a server to sleep once it is healthy, and ends."""
    asked = f"http://{name}:{PORT}/sleep?level=1"
    code = f"import urllib.request as u; u.urlopen(u.Request({asked!r}, method='POST'), timeout=600)"
    return {
        "image": image(service.kind), "entrypoint": ["python3", "-c", code],
        "depends_on": {name: {"condition": "service_healthy"}}, "restart": "no",
    }  # fmt: skip


def _service(service: Service, process: Process, gpu: GpuProfile, address: str) -> dict[str, Any]:
    kind, inside = service.kind, process.nodes == 1
    environment = {"HF_TOKEN": "${HF_TOKEN:-}", **{name: literal(value) for name, value in kind.env.items()}}
    port = PORT if inside else process.port
    entry: dict[str, Any] = {
        "image": image(kind),
        **_words(service, process, address),
        "environment": environment,
        **({"ports": [f"{process.port}:{PORT}"]} if inside else {"network_mode": "host"}),
        "volumes": [f"huggingface:{CACHE_FOLDER}", *_model_volume(service)],
        "shm_size": f"{shared_memory_gib(service)}gb",
        "restart": "unless-stopped",
    }
    if port is not None:
        check = f"import urllib.request as u; u.urlopen('http://127.0.0.1:{port}/health', timeout=5)"
        entry["healthcheck"] = {
            "test": ["CMD", "python3", "-c", check], "interval": "10s", "timeout": "10s", "retries": 3,
            "start_period": f"{start_seconds(service)}s",
        }  # fmt: skip
    ids = [str(device) for device in process.devices]
    if gpu.vendor == "nvidia":
        device = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
        entry["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    else:
        entry["devices"] = ["/dev/kfd", "/dev/dri"] if gpu.vendor == "amd" else ["/dev/dri"]
        entry["group_add"] = ["video"]
        environment["HIP_VISIBLE_DEVICES" if gpu.vendor == "amd" else "ZE_AFFINITY_MASK"] = ",".join(ids)
    return entry


def _words(service: Service, process: Process, address: str) -> dict[str, Any]:
    """Entry point and arguments; a Ray cluster needs a shell that starts it first."""
    kind = service.kind
    if process.nodes == 1:
        words = contained(kind, kind.command)
        return {"entrypoint": [literal(word) for word in words[:2]], "command": [literal(word) for word in words[2:]]}
    words, master = contained(kind, process.argv), process.master or ""
    if not joins_by_ray(kind, process.nodes):
        spelled = [
            f"${{{address_variable(master)}:-{word}}}" if position and words[position - 1] in ADDRESS_FLAGS
            else literal(word)
            for position, word in enumerate(words)
        ]  # fmt: skip
        return {"entrypoint": spelled[:2], "command": spelled[2:]}
    script = ray_script(process, words, f"${{{address_variable(master)}:-{address}}}", escape=literal)
    return {"entrypoint": ["bash", "-c"], "command": [script]}


def _model_volume(service: Service) -> list[dict[str, Any]]:
    """The long form: in the short one a colon of the path would end it."""
    folder = local_model(service.kind)
    if folder is None:
        return []
    return [{"type": "bind", "source": literal(folder), "target": MODEL_FOLDER, "read_only": True}]


def _router(deployment: Deployment) -> dict[str, Any]:
    hosts = sorted({name for router in deployment.routers for name in router_hosts(router)})
    addresses = {
        address_variable(name): f"${{{address_variable(name)}:-{deployment.address_of(name)}}}" for name in hosts
    }
    return {
        "image": NGINX_IMAGE,
        "network_mode": "host",
        "environment": addresses,
        "volumes": [f"./{TEMPLATE}:/etc/nginx/templates/default.conf.template:ro"],
        "restart": "unless-stopped",
    }


def literal(word: str) -> str:
    """Compose reads `$`; doubled it stands for itself."""
    return word.replace("$", "$$")
