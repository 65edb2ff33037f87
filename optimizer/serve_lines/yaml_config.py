"""A YAML file of flags for `vllm serve --config`, read as the command that it stands for."""

from collections.abc import Iterator
from typing import Any

from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.shell_words import Word
from vllm_opt.optimizer.serve_lines.yaml_nodes import Place, items, scalar


def config_file_command(top: dict[str, Any], place: Place) -> Iterator[ServeCommand]:
    """A file of flags for `vllm serve --config`; it is one when it names a model or a flag of memory or ranks."""
    known = {"model", "max-model-len", "tensor-parallel-size", "gpu-memory-utilization", "max-num-seqs", "port"}
    if not known & {name.replace("_", "-") for name in top}:
        return
    words: list[Word] = []
    for name, node in top.items():
        start, end = place.span(node)
        key = max(0, place.text.rfind(name, 0, start + 1))
        values = [scalar(item) or "" for item in items(node)] or [scalar(node) or place.text[start:end].strip()]
        line = place.line(key)
        if name == "model":
            words.insert(0, Word(values[0], key, end, line))
        elif values in (["true"], ["True"]):
            words.append(Word(f"--{name}", key, end, line))
        elif values in (["false"], ["False"]):
            words.append(Word(f"--no-{name}", key, end, line))
        else:
            words += [Word(f"--{name}", key, end, line), *(Word(value, -1, -1, line) for value in values)]
    first = [] if words and not words[0].text.startswith("--") else [Word("", -1, -1, 1)]
    yield ServeCommand(
        tuple(word for word in (*first, *words) if word.text), "config", text=place.text, place="config file",
        arguments_end=len(place.text.rstrip()),
    )  # fmt: skip
