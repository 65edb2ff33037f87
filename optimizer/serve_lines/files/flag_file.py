"""A YAML file of flags for `vllm serve --config`, told apart from any other YAML, and read as its command."""

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.files.yaml_tree import Document, Node
from vllm_opt.optimizer.serve_lines.flag_history import every_flag, json_flags
from vllm_opt.optimizer.serve_lines.placed_text import HOLE
from vllm_opt.optimizer.serve_lines.shell.reading import Reading
from vllm_opt.optimizer.serve_lines.words import Word, finished

_OWN = {"model", "config", "model-tag"}
_TELLING = frozenset(
    ("max-model-len", "tensor-parallel-size", "gpu-memory-utilization", "max-num-seqs", "max-num-batched-tokens",
     "served-model-name", "kv-cache-dtype", "enable-prefix-caching", "pipeline-parallel-size", "model", "port")
)  # fmt: skip
_LEAST_SHARE_KNOWN = 0.6


def is_flag_file(document: Document) -> bool:
    """Most keys are flags, at least one tells vLLM from others, and only flags that take JSON hold a mapping."""
    top = document.members(document.top)
    names = [name.replace("_", "-") for name in top]
    known = [name for name in names if name in every_flag() or name.removeprefix("no-") in every_flag() or name in _OWN]
    nested = [
        name
        for name, value in zip(names, top.values(), strict=True)
        if value.kind == "map" and name.partition(".")[0] not in json_flags()
    ]
    few = set(names) <= {"model", "port", "host", "config"} and len(names) < 2
    lists = [
        value for value in top.values() if value.kind == "list" and any(each.kind != "scalar" for each in value.items)
    ]
    telling = _TELLING & set(names)
    return bool(telling) and not nested and not lists and not few and len(known) >= _LEAST_SHARE_KNOWN * len(names)


def flag_file_server(document: Document) -> Reading:
    """The command that the file stands for; its edits are of whole lines."""
    words: list[Word] = []
    file = document.file
    for key, value in document.top.pairs:
        words += _words(document, key, value, file.line(key.start))
    model = next((index for index, word in enumerate(words) if word.text == "--model"), None)
    if model is not None and model + 1 < len(words):
        name = words[model + 1]
        words = [Word(name.text, words[model].start, words[model].end, name.line, literal=False), *words[:model],
                 *words[model + 2 :]]  # fmt: skip
    command = ServeCommand(
        tuple(words), "config", text=file.text, place="config file", line=words[0].line if words else 1,
        arguments_end=len(file.text.rstrip()), leading=("vllm", "serve"),
    )  # fmt: skip
    return Reading([command])


def _words(document: Document, key: Node, node: Node, line: int) -> list[Word]:
    start, end = key.start, max(key.end, node.end)
    if node.kind == "map":
        raw = document.file.text[node.start : node.end]
        return [Word(f"--{key.text}", start, end, line, literal=False),
                Word(raw, -1, -1, line, ("a mapping",), literal=False)]  # fmt: skip
    values = [item.text for item in node.items] if node.kind == "list" else [node.text]
    literal = node.kind == "scalar" and HOLE not in node.text and node.style not in ("|", ">")
    if values in (["true"], ["True"]) and node.style is None:
        return [Word(f"--{key.text}", start, end, line, literal=literal)]
    if values in (["false"], ["False"]) and node.style is None:
        return [Word(f"--no-{key.text}", start, end, line, literal=literal)]
    first = Word(f"--{key.text}", start, end, line, literal=literal)
    return [first, *(finished(value, -1, -1, line, literal=literal) for value in values)]
