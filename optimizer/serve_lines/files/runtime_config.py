"""`vllmConfig` blocks of charts and operators: keys in camel case that become flags."""

import re
from collections.abc import Iterator

from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.words import Word, finished

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_FLAGS = {
    "tensor-parallel-size", "pipeline-parallel-size", "max-model-len", "max-num-seqs", "max-num-batched-tokens",
    "gpu-memory-utilization", "dtype", "max-loras", "enable-chunked-prefill", "enable-prefix-caching", "enable-lora",
    "kv-cache-dtype", "data-parallel-size",
}  # fmt: skip
_LIMITS = {"dtype": "dtype", "maxModelLen": "max-model-len", "maxNumSeqs": "max-num-seqs"}


def model_word(uri: str, line: int) -> Word:
    """The model of a `hf://` address; `pvc://` and `s3://` stay as they are."""
    name = uri.removeprefix("hf://").removeprefix("huggingface://").partition("?")[0]
    return finished(name, -1, -1, line, literal=False)


def config_words(document: Document, node: Node, *, only_limits: bool = False) -> list[Word]:
    """The flags that a chart's template makes of these keys, its `extraArgs` included."""
    found: list[Word] = []
    for key, value in document.members(node).items():
        name = _LIMITS.get(key) if only_limits else "-".join(_HUMP.split(key)).lower()
        if name in _FLAGS and value.kind == "scalar" and value.text not in ("", "null"):
            found += _flag(document, name, value)
    if not only_limits:
        for item in document.items(document.at(node, "extraArgs")):
            line = document.file.line(item.start)
            if item.kind == "scalar":
                found.append(finished(item.text, item.start, item.end, line, literal=False))
    return found


def _flag(document: Document, name: str, value: Node) -> Iterator[Word]:
    line, text = document.file.line(value.start), value.text
    if text in ("true", "false") and name.startswith("enable-"):
        yield Word(f"--{'no-' if text == 'false' else ''}{name}", -1, -1, line, literal=False)
        return
    yield Word(f"--{name}", -1, -1, line, literal=False)
    yield finished(text, -1, -1, line, literal=False)


def image_of(document: Document, node: Node) -> str:
    """`{registry, name}`, `{repository, tag}` or plain text as the name of an image."""
    if node.kind == "scalar":
        return node.text
    name = document.text_at(node, "repository") or document.text_at(node, "name")
    tag = document.text_at(node, "tag")
    return f"{name}:{tag}" if tag else name
