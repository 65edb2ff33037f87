"""`vllm-opt lint`: is this vLLM command right, does it start, and what would be better."""

import sys
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import (
    CERTAINTY,
    GPU_FILE,
    LATENCY_LIMITS,
    SETTINGS,
    TYPICAL_REQUEST,
    count,
    number,
    request_from,
    switch,
    text,
    with_options,
)
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_opt.optimizer.linter.subject.report import LintReport

FORMATS = ("table", "json", "sarif")
LONGEST_INPUT = 2 * 1024 * 1024 + 1

LINT_OPTIONS = (
    text("--file", "-f", metavar="FILE", help="A shell script, compose or Kubernetes file, or a --config YAML."),
    text("--gpu", metavar="SKU", help="GPU SKU; not needed where a Kubernetes node selector names it."),
    number("--gpu-memory-gib", help="Override the reported memory of the GPU."),
    text("--model", help="Catalogue name or config.json of the model served, when its own name is not known."),
    text("--vllm-version", metavar="V", help="Release. Default: the image's tag, else the newest."),
    text("--engine", metavar="v0|v1", help="For releases that had both engines."),
    count("--target-context", help="Tokens that the longest sequence needs."),
    count("--mean-context", help="Tokens that a running sequence holds on average."),
    count("--concurrency", help="Sequences to run at once."),
    *TYPICAL_REQUEST,
    *LATENCY_LIMITS,
    GPU_FILE,
    *CERTAINTY,
    click.option("--optimum/--no-optimum", default=None, help="Also solve for the best flags on the same GPUs."),
)


@click.command("lint", context_settings=SETTINGS)
@click.argument("command", nargs=-1)
@with_options(
    (
        *LINT_OPTIONS,
        switch("--fix", help="Print the corrected text alone: errors, and flags given twice."),
        switch("--fix-all", help="Print the text with every improvement that starts, too."),
        click.option("--format", "format_name", type=click.Choice(FORMATS), default="table", help="Default: table."),
        text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    )
)
@click.pass_context
def lint_command(context: click.Context, /, **options: Any) -> int:
    """Check a vLLM command: wrong flags, what start-up would refuse, and what would be better, in numbers.

    COMMAND is one quoted argument, "vllm serve …"; '-' reads it from standard input.
    """
    from vllm_opt.optimizer.linter.lint import lint
    from vllm_opt.optimizer.linter.subject.request import LintRequest

    context.params["command"] = _typed_command(options["command"])
    request = _request(context, LintRequest, options)
    report = lint(request)
    only_text = options["fix"] or options["fix_all"]
    _show(report, "fixed" if only_text else options["format_name"], options["output"])
    return 0 if report.clean else 1


def _request(context: click.Context, request_type: Any, options: dict[str, Any]) -> Any:
    """What was typed; `--fix-all` is the field `fix`."""
    if context.params["command"] is None and options["file"] is None:
        raise InvalidRequest('give a command in quotes, "vllm serve MODEL --flag …", or a file with --file')
    context.params.pop("fix")
    if context.params["command"] is None:
        context.params.pop("command")
    request = request_from(context, request_type)
    return request.replaced(fix="all") if options["fix_all"] else request


def _typed_command(words: tuple[str, ...]) -> str | None:
    """One quoted argument, or standard input for '-'.

    Raises:
        InvalidRequest: the command is not quoted, or standard input is not UTF-8 text.
    """
    if len(words) > 1:
        raise InvalidRequest('put the command in quotes: vllm-opt lint "vllm serve MODEL --flag …" --gpu SKU')
    if not words or words[0] != "-":
        return words[0] if words else None
    if sys.stdin is None:
        raise InvalidRequest("standard input is closed; give the command in quotes")
    try:
        return sys.stdin.buffer.read(LONGEST_INPUT).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("standard input is not UTF-8 text") from None


def _show(report: "LintReport", format_name: str, output: str | None) -> None:
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.linter.render import render_lint
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    write_answer(render_lint(report, format_name, screen_of_standard_output(output is not None)), output)
