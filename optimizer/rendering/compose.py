"""A plan as a compose file for one host; the rest of the replicas take the same file on further hosts."""

from typing import Any

from vllm_opt.optimizer.rendering.as_yaml import as_yaml
from vllm_opt.optimizer.rendering.server_spec import MODEL_FOLDER, PORT, ServerSpec
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import one_line
from vllm_opt.profiles.reading.quantities import counted


def compose_file(spec: ServerSpec) -> str:
    """Return one service per replica that fits on a host, each with its own GPUs and port.

    Raises:
        InvalidRequest: one server spans several hosts.
    """
    if spec.nodes_per_server > 1:
        raise InvalidRequest(
            f"one server of this plan spans {counted(spec.nodes_per_server, 'node')}, which a compose file cannot "
            "start; use --format command on each node"
        )
    here = min(spec.replicas, spec.gpu.gpus_per_node // spec.gpus)
    hosts = -(-spec.replicas // here)
    services = {_service_name(spec, index): _service(spec, index) for index in range(here)}
    document = {"services": services, "volumes": {"huggingface": {}}}
    body = as_yaml(document)
    return "\n".join([*(f"# {one_line(line)}" for line in _header(spec, here, hosts)), body])


def _header(spec: ServerSpec, here: int, hosts: int) -> list[str]:
    lines = [spec.summary, *([spec.release_note] if spec.release_note else [])]
    if hosts > 1:
        lines.append(
            f"{counted(spec.replicas, 'server')} need {counted(hosts, 'host')}: start this file, "
            f"{counted(here, 'server')}, on each of them;"
        )
        lines.append(f"on the last one only {spec.replicas - here * (hosts - 1)}.")
    if spec.local_model is not None:
        lines.append(f"The model is the folder {spec.local_model}; a relative one is looked for beside this file.")
    if spec.gpu.vendor == "amd":
        lines.append("Where this release has no such image, use a rocm/vllm image of the same vLLM version.")
    return lines


def _service_name(spec: ServerSpec, index: int) -> str:
    return spec.name if spec.replicas == 1 else f"{spec.name}-{index}"


def _service(spec: ServerSpec, index: int) -> dict[str, Any]:
    first = index * spec.gpus
    ids = [str(number) for number in range(first, first + spec.gpus)]
    environment = {"HF_TOKEN": "${HF_TOKEN:-}", **{name: _literal(value) for name, value in spec.env.items()}}
    service: dict[str, Any] = {
        "image": spec.image,
        "entrypoint": [_literal(word) for word in spec.container_command[:2]],
        "command": [_literal(word) for word in spec.container_command[2:]],
        "environment": environment,
        "ports": [f"{PORT + index}:{PORT}"],
        "volumes": ["huggingface:/root/.cache/huggingface", *_model_volume(spec)],
        "shm_size": f"{spec.shared_memory_gib}gb",
        "restart": "unless-stopped",
    }
    if spec.gpu.vendor == "amd":
        service["devices"] = ["/dev/kfd", "/dev/dri"]
        service["group_add"] = ["video"]
        environment["HIP_VISIBLE_DEVICES"] = ",".join(ids)
    else:
        device = {"driver": "nvidia", "device_ids": ids, "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service


def _model_volume(spec: ServerSpec) -> list[dict[str, Any]]:
    """The long form: in the short one a colon of the path would end it."""
    if spec.local_model is None:
        return []
    return [{"type": "bind", "source": _literal(spec.local_model), "target": MODEL_FOLDER, "read_only": True}]


def _literal(word: str) -> str:
    """Compose reads `$`; doubled it stands for itself."""
    return word.replace("$", "$$")
