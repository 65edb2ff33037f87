"""Services of a compose file."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.files.containers_in_yaml import YamlContainer, environment_of
from vllm_opt.optimizer.serve_lines.files.filling_in import compose_filler, known_only
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.placed_text import unmarked
from vllm_opt.optimizer.serve_lines.shell.reading import Reading


def is_compose(document: Document) -> bool:
    """Whether the document lists services."""
    services = document.members(document.at(document.top, "services"))
    keys = {"image", "command", "entrypoint", "build", "extends", "<<"}
    return any(service.kind == "map" and keys & {key.text for key, _ in service.pairs} for service in services.values())


def compose_servers(document: Document, variables: Mapping[str, str]) -> Iterator[Reading]:
    """What each service starts; `variables` are those of the `.env` file beside it."""
    for name, service in document.members(document.at(document.top, "services")).items():
        yield _service(document, name, service, variables)


def _service(document: Document, name: str, node: Node, variables: Mapping[str, str]) -> Reading:
    service = document.members(node)
    fill = compose_filler(variables)
    image_node = service.get("image")
    image = (
        unmarked(fill(document.placed(image_node), True).text)
        if image_node is not None and image_node.kind == "scalar"
        else ""
    )
    environment = known_only(environment_of(document, service.get("environment"), fill))
    reading = YamlContainer(document, fill, environment).read(image, service.get("entrypoint"), service.get("command"))
    shared = document.scalar(service.get("ipc")) in ("host", "shareable") or "shm_size" in service
    gpus = _device_count(document, document.at(node, "deploy", "resources", "reservations", "devices"))
    if gpus is None:
        gpus = _device_count(document, service.get("gpus"))
    reading.commands = [
        replace(
            command,
            place=f"service '{name}'",
            gpu_count=gpus if gpus is not None else command.gpu_count,
            shared_memory=shared,
        )
        for command in reading.commands
    ]
    return reading


def _device_count(document: Document, devices: Node | None) -> int | None:
    total = 0
    for device in document.items(devices):
        asked = document.members(device)
        ids = document.items(asked.get("device_ids"))
        count = document.scalar(asked.get("count")) or ""
        if not ids and not (count.isdecimal() and len(count) < 6):
            return None
        total += len(ids) or int(count)
    return total or None
