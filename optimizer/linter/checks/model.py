"""Findings about the model: whether it is known, and whether its weights are stored as --quantization says."""

from collections.abc import Iterator

from vllm_opt.optimizer.linter.subject.report import Change, Finding
from vllm_opt.optimizer.linter.subject.served_model import ServedModel
from vllm_opt.optimizer.serve_lines.commands import ServeCommand
from vllm_opt.optimizer.serve_lines.parsed_command import ParsedCommand


def no_model(command: ServeCommand) -> Finding:
    """The command names no model."""
    return Finding(
        rule="no_model",
        level="warning",
        message="the command names no model, so vLLM serves its default one; give the model after `vllm serve`",
        line=command.line,
    )


def model_findings(command: ServeCommand, parsed: ParsedCommand, served: ServedModel) -> Iterator[Finding]:
    """What is to be said of the model: unknown, recognised by its name, or stored otherwise than asked."""
    word = parsed.model_word
    line = word.line if word is not None and word.line > 0 else command.line
    if served.name is None:
        yield Finding(
            rule="unknown_model",
            level="warning",
            message=(
                f"memory and speed are not checked: {served.note.rstrip('.')}; --model NAME says which catalogued "
                "model or config.json this one is"
            ),
            line=line,
        )
    elif served.note:
        yield Finding(rule="model_by_name", level="note", message=served.note, line=line)
    if served.problem:
        value = parsed.value("quantization")
        change = Change(flag="--quantization", from_value=value)
        yield Finding(
            rule="quantization_without_checkpoint",
            level="error",
            message=served.problem,
            flag="--quantization",
            from_value=value,
            changes=(change,),
            line=line,
        )
