"""Blocks of vLLM's flags inside files of any other kind: launchers of benchmarks, values of charts of one's own.

Such a file says some flags and leaves the rest to its launcher, so nothing that is absent is judged.
"""

import re
from collections.abc import Iterator

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.flag_history import every_flag
from vllm_opt.optimizer.serve_lines.images import image_version, is_unversioned, is_vllm_image
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.words import Word, finished

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_TELLING = frozenset(
    ("tensor-parallel-size", "max-model-len", "gpu-memory-utilization", "max-num-seqs", "max-num-batched-tokens",
     "pipeline-parallel-size", "data-parallel-size", "kv-cache-dtype", "enable-expert-parallel")
)  # fmt: skip
_LEAST_FLAGS = 2
_MODEL = re.compile(r"[\w.-]+/[\w.-]+")
_DEEPEST = 8
_OTHER_ENGINES = ("sglang", "trt", "tgi", "lmdeploy", "llamacpp", "ollama", "bench")


def flag_blocks(document: Document) -> Iterator[Reading]:
    """One command per mapping that holds at least two of vLLM's telling flags."""
    if not any("vllm" in node.text.lower() for node in _keys_and_texts(document)):
        return
    image = next((node.text for node in document.scalars(document.top) if is_vllm_image(node.text)), "")
    model = _model(document)
    for path, node in _blocks(document, document.top, (), 0):
        words = _words(document, node)
        line = document.file.line(node.start)
        named = [finished(model.text, -1, -1, document.file.line(model.start), literal=False)] if model else []
        rest = Word("the file's launcher", -1, -1, line, ("the file's launcher",), literal=False, many=True)
        yield Reading([
            ServeCommand(
                (*named, rest, *words), "serve" if named else "api_server", text=document.file.text, line=line,
                place=f"flags under '{'.'.join(path)}'" if path else "flags", image_version=image_version(image),
                unversioned=is_unversioned(image),
                in_container=True, leading=("vllm", "serve"),
            )
        ])  # fmt: skip


def _blocks(
    document: Document, node: Node, path: tuple[str, ...], depth: int
) -> Iterator[tuple[tuple[str, ...], Node]]:
    if path and any(other in path[-1].lower() for other in _OTHER_ENGINES):
        return
    members = document.members(node)
    names = {_flag_name(name) for name, value in members.items() if value.kind == "scalar"}
    if len(names & _TELLING) >= _LEAST_FLAGS:
        yield path, node
        return
    if depth < _DEEPEST:
        for name, value in members.items():
            yield from _blocks(document, value, (*path, name), depth + 1)


def _flag_name(key: str) -> str:
    """`max_model_len`, `max-model-len` and `maxModelLen` are one flag."""
    return "-".join(_HUMP.split(key)).lower().replace("_", "-")


def _words(document: Document, node: Node) -> list[Word]:
    found: list[Word] = []
    for key, value in document.members(node).items():
        name, line = _flag_name(key), document.file.line(value.start)
        known = name in every_flag() or name.removeprefix("no-") in every_flag()
        if value.kind != "scalar" or not known or value.text in ("", "null", "~"):
            continue
        if value.text.lower() in ("true", "false") and value.style is None:
            switch = f"--{name}" if value.text.lower() == "true" else f"--no-{name}"
            found.append(Word(switch, -1, -1, line, literal=False))
            continue
        found += [Word(f"--{name}", -1, -1, line, literal=False), finished(value.text, -1, -1, line, literal=False)]
    return found


def _model(document: Document) -> Node | None:
    """A key that names the model by its id."""
    for keys in (("model",), ("model", "id"), ("model", "name"), ("model", "path"), ("modelId",), ("modelName",),
                 ("modelURL",), ("model_name",), ("model_id",)):  # fmt: skip
        node = document.at(document.top, *keys)
        if node is not None and node.kind == "scalar" and _MODEL.fullmatch(node.text):
            return node
    return None


def _keys_and_texts(document: Document) -> Iterator[Node]:
    remaining = [document.top]
    while remaining:
        node = remaining.pop()
        if node.kind == "scalar":
            yield node
        remaining += node.items
        for key, value in node.pairs:
            remaining += [key, value]
