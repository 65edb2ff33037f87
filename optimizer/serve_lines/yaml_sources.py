"""Commands in compose files, Kubernetes manifests and `--config` files, with every word's place in the file."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.serve_lines.commands import (
    ServeCommand,
    commands_of_tokens,
    image_version,
    is_vllm_image,
    serve_commands,
)
from vllm_opt.optimizer.serve_lines.shell_words import Word, shell_tokens
from vllm_opt.optimizer.serve_lines.yaml_config import config_file_command
from vllm_opt.optimizer.serve_lines.yaml_nodes import Place, found_again, items, members, scalar
from vllm_opt.profiles.reading.user_files import parse_user_text

_DOCUMENT_END = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
PRODUCT_LABELS = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "accelerator", "gpu.nvidia.com/class")
GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
_SHELL_FLAG = re.compile(r"-[a-z]*c")


def yaml_commands(text: str, file: Path) -> list[ServeCommand]:
    """Return the vLLM servers that a YAML or JSON file starts.

    Raises:
        InvalidRequest: the file breaks a limit of `profiles.user_files` or is not well-formed.
    """
    import yaml

    found: list[ServeCommand] = []
    for start, end in _documents(text):
        # Blank lines in front keep the line numbers of errors those of the whole file.
        blank = text.count("\n", 0, start)
        padded = "\n" * blank + text[start:end]
        if not padded.strip():
            continue
        parse_user_text(padded, file)
        node = yaml.compose(padded, Loader=yaml.SafeLoader)
        if node is not None:
            found.extend(_document_commands(node, Place(text, start - blank)))
    return found


def _documents(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _DOCUMENT_END.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _document_commands(node: Any, place: Place) -> Iterator[ServeCommand]:
    top = members(node)
    if "services" in top:
        for name, service in members(top["services"]).items():
            yield from _compose_service(name, service, place)
    elif "kind" in top or "apiVersion" in top:
        yield from _pods(node, place, "")
    elif top:
        yield from config_file_command(top, place)


def _compose_service(name: str, node: Any, place: Place) -> Iterator[ServeCommand]:
    service = members(node)
    image = scalar(service.get("image")) or ""
    shared = scalar(service.get("ipc")) == "host" or "shm_size" in service
    devices = members(members(members(service.get("deploy")).get("resources")).get("reservations")).get("devices")
    for command in _container_commands(service.get("entrypoint"), service.get("command"), image, place):
        yield replace(
            command,
            place=f"service '{name}'",
            environment={**command.environment, **_environment(service.get("environment"))},
            image_version=image_version(image) or command.image_version,
            gpu_count=_device_count(devices),
            shared_memory=shared,
        )


def _device_count(devices: Any) -> int | None:
    total = 0
    for device in items(devices):
        asked = members(device)
        ids = items(asked.get("device_ids"))
        count = scalar(asked.get("count")) or ""
        if not ids and not (count.isdecimal() and len(count) < 6):
            return None
        total += len(ids) or int(count)
    return total or None


def _environment(node: Any) -> dict[str, str]:
    """Read a mapping, a list of 'NAME=value', or a list of {name, value}."""
    found: dict[str, str] = {name: scalar(value) or "" for name, value in members(node).items()}
    for item in items(node):
        pair = members(item)
        if pair:
            found[scalar(pair.get("name")) or ""] = scalar(pair.get("value")) or ""
        else:
            name, _, value = (scalar(item) or "").partition("=")
            found[name] = value
    return found


def _pods(node: Any, place: Place, name: str) -> Iterator[ServeCommand]:
    """Every container anywhere in a manifest, with the pod's node selector and volumes."""
    top = members(node)
    name = scalar(members(top.get("metadata")).get("name")) or name
    if "containers" in top:
        selector = members(top.get("nodeSelector"))
        gpu = next((scalar(selector[label]) for label in PRODUCT_LABELS if label in selector), None)
        in_memory = {
            scalar(volume.get("name"))
            for volume in map(members, items(top.get("volumes")))
            if scalar(members(volume.get("emptyDir")).get("medium")) == "Memory"
        }
        for container in items(top["containers"]):
            yield from _container(container, place, name, gpu, in_memory)
        return
    for child in (*top.values(), *items(node)):
        yield from _pods(child, place, name)


def _container(
    node: Any, place: Place, pod: str, gpu: str | None, in_memory: set[str | None]
) -> Iterator[ServeCommand]:
    container = members(node)
    image = scalar(container.get("image")) or ""
    resources = members(container.get("resources"))
    asked = {**members(resources.get("requests")), **members(resources.get("limits"))}
    counts = [scalar(asked[name]) or "" for name in GPU_RESOURCES if name in asked]
    mounts = [members(mount) for mount in items(container.get("volumeMounts"))]
    shared = any(scalar(m.get("mountPath")) == "/dev/shm" and scalar(m.get("name")) in in_memory for m in mounts)
    label = scalar(container.get("name")) or ""
    for command in _container_commands(container.get("command"), container.get("args"), image, place):
        yield replace(
            command,
            place=f"container '{label}'" + (f" of '{pod}'" if pod else ""),
            environment={**command.environment, **_environment(container.get("env"))},
            image_version=image_version(image) or command.image_version,
            gpu=_product(gpu),
            gpu_count=int(counts[0]) if counts and counts[0].isdecimal() and len(counts[0]) < 6 else None,
            shared_memory=shared,
        )


def _product(label: str | None) -> str | None:
    """The GPU's name in a node label: 'NVIDIA-H100-80GB-HBM3-SHARED' -> 'NVIDIA-H100-80GB-HBM3'."""
    return None if label is None else re.sub(r"-(?:SHARED|MIG-.*)$", "", label)


def _container_commands(entry: Any, command: Any, image: str, place: Place) -> Iterator[ServeCommand]:
    """An entry point and its arguments, each a list of words or one string of shell text."""
    parts = [part for part in (entry, command) if part is not None]
    last = parts[-1] if parts else None
    words = [word for part in parts for word in (place.words(part) if items(part) else _shell_words(part, place))]
    texts = [word.text for word in words]
    script = next((i + 1 for i, text in enumerate(texts[:-1]) if i and _SHELL_FLAG.fullmatch(text)), None)
    if script is not None:
        yield from _located(words[script].text, words[script].start, words[script].end, place)
        return
    found = commands_of_tokens(words, place.text)
    if not found and words and is_vllm_image(image) and entry is None:
        found = [ServeCommand(tuple(words), "image", text=place.text, line=words[0].line, arguments_end=words[-1].end)]
    for each in found:
        yield replace(each, in_list=last is not None and bool(items(last)))


def _shell_words(node: Any, place: Place) -> list[Word]:
    text = scalar(node)
    if text is None:
        return []
    start, end = place.span(node)
    words = [token for token in shell_tokens(text) if isinstance(token, Word)]
    return found_again(words, text, start, end, place)


def _located(script: str, start: int, end: int, place: Place) -> Iterator[ServeCommand]:
    """The commands of a script that is one YAML string, with the words' places in the file."""
    for command in serve_commands(script):
        words = [token for token in shell_tokens(script) if isinstance(token, Word)]
        places = {
            word.start: again for word, again in zip(words, found_again(words, script, start, end, place), strict=True)
        }
        moved = tuple(places.get(word.start, replace(word, start=-1, end=-1)) for word in command.arguments)
        ends = [word.end for word in moved if word.end > 0]
        yield replace(
            command, arguments=moved, text=place.text, arguments_end=max(ends, default=0),
            line=place.line(start) + command.line - 1,
        )  # fmt: skip
