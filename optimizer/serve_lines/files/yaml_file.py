"""YAML and JSON files, document by document: whichever kind each one is."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.compose import compose_servers, is_compose
from vllm_opt.optimizer.serve_lines.files.containers_in_yaml import YamlContainer
from vllm_opt.optimizer.serve_lines.files.filling_in import kubernetes_filler
from vllm_opt.optimizer.serve_lines.files.flag_blocks import flag_blocks
from vllm_opt.optimizer.serve_lines.files.flag_file import flag_file_server, is_flag_file
from vllm_opt.optimizer.serve_lines.files.helm_values import served_artifacts, value_servers
from vllm_opt.optimizer.serve_lines.files.kubernetes import ConfigMaps, Pod, config_maps, pod_servers
from vllm_opt.optimizer.serve_lines.files.markdown import markdown_servers
from vllm_opt.optimizer.serve_lines.files.serving_kinds import special_servers
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node, documents
from vllm_opt.optimizer.serve_lines.images import looks_like_vllm
from vllm_opt.optimizer.serve_lines.placed_text import Lines, clean, without_templates
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.shell.shell import read_shell
from vllm_opt.optimizer.serve_lines.shell.state import ShellState
from vllm_opt.profiles.errors import InvalidRequest

_DOCUMENT_END = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)
_CONTROL_LINE = re.compile(
    r"^(?P<indent>[ \t]*)(?P<rest>(?:\{\{[^\n]*\}\}|\{%[^\n]*%\}|\{#[^\n]*#\})[ \t]*)$", re.MULTILINE
)
_STARTS = re.compile(r"vllm serve|vllm[./]entrypoints|vllm/vllm-openai")
_INSTALLED = re.compile(r"vllm(?:\[[\w,]*\])?==(\d+\.\d+(?:\.\d+)?)")


def yaml_servers(text: str, name: str, variables: Mapping[str, str]) -> Reading:
    """Return the servers of every document, and the documents that cannot be read.

    Raises:
        InvalidRequest: nothing can be read at all.
    """
    reading = Reading()
    file, masked = Lines(text), _without_templates(text)
    found: list[Document] = []
    for start, end in _documents(masked):
        try:
            document = _document(file, text, masked, start, end, name)
        except InvalidRequest as fault:
            reading.unread.append((file.line(start), str(fault)))
            continue
        if document is not None:
            found.append(document)
            templated = masked[start:end] != text[start:end]
            repeated = [] if templated else document.repeated
            reading.unread += [(line, f"{name}, line {line}: {problem}") for line, problem in repeated]
    maps = config_maps(found)
    for document in found:
        try:
            for part in _servers(document, maps, variables):
                reading.commands += part.commands
                reading.unread += part.unread
                reading.embedded += part.embedded
        except InvalidRequest as fault:
            reading.unread.append((file.line(document.top.start), str(fault)))
    return reading


def _document(file: Lines, text: str, masked: str, start: int, end: int, name: str) -> Document | None:
    """One document; where lines of directives as blanks make no YAML, they are taken for comments."""
    if not masked[start:end].strip():
        return None
    try:
        return documents(file, masked[start:end], start, name)
    except InvalidRequest:
        if masked[start:end] == text[start:end]:
            raise
        return documents(file, _without_templates(text, as_comments=True)[start:end], start, name)


def _without_templates(text: str, *, as_comments: bool = False) -> str:
    """The text without Helm's and Jinja's directives, each replaced by as many characters."""
    text = clean(text)
    if "{{" not in text and "{%" not in text:
        return text

    def replaced(match: re.Match[str]) -> str:
        rest = match.group("rest")
        return match.group("indent") + (("#" if as_comments else " ") + " " * (len(rest) - 1))

    text = _CONTROL_LINE.sub(replaced, text)
    return without_templates(text)


def _documents(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in _DOCUMENT_END.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _servers(document: Document, maps: ConfigMaps, variables: Mapping[str, str]) -> Iterator[Reading]:
    top = document.members(document.top)
    kind, group = document.text_at(document.top, "kind"), document.text_at(document.top, "apiVersion")
    if is_compose(document):
        yield from compose_servers(document, variables)
        return
    if document.top.kind == "list":
        yield from _list_of_flags(document)
        return
    if "run" in top and ({"resources", "setup", "envs", "service", "num_nodes"} & set(top)):
        yield _sky_task(document)
        return
    if kind or group:
        special = special_servers(document, kind, group, maps)
        found = list(special if special is not None else pod_servers(document, document.top, maps, Pod()))
    elif is_flag_file(document):
        found = [flag_file_server(document)]
    else:
        found = list(value_servers(document))
        if not served_artifacts(document):
            found += pod_servers(document, document.top, maps, Pod())
    yield from found
    if not any(reading.commands for reading in found):
        scripts = list(_scripts(document))
        yield from scripts
        if not any(reading.commands for reading in scripts) and not kind:
            yield from flag_blocks(document)


def _list_of_flags(document: Document) -> Iterator[Reading]:
    """A template of nothing but arguments, or a list of documents such as Ansible's tasks."""
    words = YamlContainer(document, kubernetes_filler({}), {}).words(document.top) or []
    if looks_like_vllm(words):
        last = words[-1]
        yield Reading([
            ServeCommand(
                tuple(words), "api_server", text=document.file.text, line=words[0].line, place="list of arguments",
                in_list=True, in_container=True, leading=("vllm", "serve"), arguments_end=max(0, last.end),
            )
        ])  # fmt: skip
        return
    yield from _scripts(document)


def _sky_task(document: Document) -> Reading:
    """A SkyPilot task: `run` is shell text, `envs` its variables, `setup` says which release is installed."""
    envs = {
        name: value.text for name, value in document.members(document.at(document.top, "envs")).items() if value.text
    }
    run = document.at(document.top, "run")
    if run is None or run.kind != "scalar":
        return Reading()
    accelerators = document.at(document.top, "resources", "accelerators")
    names = list(document.members(accelerators)) or [item.text for item in document.items(accelerators)]
    names = names or [document.scalar(accelerators) or ""]
    gpu, _, count = names[0].partition(":") if len(names) == 1 else ("", "", "")
    counted = next(iter(document.members(accelerators).values()), None) if len(names) == 1 else None
    count = count or (counted.text if counted is not None else "")
    given = count if count.isdecimal() and 0 < len(count) < 5 else ""
    values: dict[str, str] = {**envs, **({"SKYPILOT_NUM_GPUS_PER_NODE": given} if given else {})}
    reading = read_shell(document.placed(run), ShellState(dict(values), set(values)))
    installed = _INSTALLED.search(document.text_at(document.top, "setup"))
    reading.commands = [
        replace(
            command,
            place=command.place or "run",
            gpu=gpu or None,
            gpu_count=int(given) if given else None,
            image_version=command.image_version or (installed.group(1) if installed else None),
        )
        for command in reading.commands
    ]
    return reading


def _scripts(document: Document) -> Iterator[Reading]:
    """Shell text or Markdown in the strings of a file of any other kind."""
    for node in document.scalars(document.top):
        if _is_script(node):
            source = document.placed(node)
            yield markdown_servers(source) if "```" in node.text else read_shell(source)


def _is_script(node: Node) -> bool:
    if not _STARTS.search(node.text):
        return False
    first = node.text.lstrip().partition("\n")[0]
    plain = re.match(r"(?:[A-Z_]+=\S+ )*(?:vllm serve|docker run|python3? -m vllm|exec vllm|uv run vllm)", first)
    return plain is not None or (node.style in ("|", ">") and "\n" in node.text)
