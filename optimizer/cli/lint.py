"""`vllm-opt lint`: is this vLLM command right, does it start, and what would be better."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import (
    CALIBRATION_FILE,
    CERTAINTY,
    GPU_FILE,
    LATENCY_LIMITS,
    SETTINGS,
    TRAFFIC,
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

FORMATS = ("table", "json", "sarif", "github")
STARTS = ("vllm", "python", "python3", "docker", "podman", "uv")
LONGEST_INPUT = 2 * 1024 * 1024 + 1

LINT_OPTIONS = (
    text("--file", "-f", metavar="FILE", help="The same as naming the file."),
    text("--exclude", many=True, metavar="PATTERN", help="Leave these files of folders alone. Repeatable."),
    text("--select", many=True, metavar="CODE,…", help="Report these rules only."),
    text("--ignore", many=True, metavar="CODE,…", help="Do not report these rules."),
    switch("--advice", help="Report what could be better at a price, too."),
    text("--gpu", metavar="SKU", help="GPU SKU, or 'local'; not needed where the file names it."),
    number("--gpu-memory-gib", help="Override the reported memory of the GPU."),
    text("--model", help="Catalogue name or config.json of the model served, when its own name is not known."),
    text("--vllm-version", metavar="V", help="Release. Default: the image's tag, else the newest."),
    text("--engine", metavar="v0|v1", help="For releases that had both engines."),
    count("--target-context", help="Tokens that the longest sequence needs."),
    count("--mean-context", help="Tokens that a running sequence holds on average."),
    count("--concurrency", help="Sequences to run at once."),
    *TYPICAL_REQUEST,
    number("--offload-hit-share", help="Share of prompt tokens loaded from the line's KV offload tier. Default 0."),
    *TRAFFIC,
    *LATENCY_LIMITS,
    GPU_FILE,
    *CERTAINTY,
    CALIBRATION_FILE,
    click.option("--optimum/--no-optimum", default=None, help="Also solve for the best flags on the same GPUs."),
)


@click.command("lint", context_settings=SETTINGS)
@click.argument("command", nargs=-1)
@with_options(
    (
        *LINT_OPTIONS,
        switch("--fix", help="Print the corrected text alone: errors, and flags given twice."),
        switch("--fix-all", help="Print the text with every improvement that starts and loses no accuracy, too."),
        switch("--diff", help="Print what --fix would change, as a diff."),
        switch(
            "--in-place", help="With --fix: write the corrected files, each whole or not at all, and print the diff."
        ),
        switch("--exit-zero", help="Exit with 0 although there are errors."),
        switch("--allow-none", help="Exit with 0 where no file holds a command, as in a pre-commit hook."),
        click.option("--format", "format_name", type=click.Choice(FORMATS), default="table", help="Default: table."),
        text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    )
)
@click.pass_context
def lint_command(context: click.Context, /, **options: Any) -> int:
    """Check vLLM commands: wrong flags, what start-up would refuse, and what would be better, in numbers.

    COMMAND is one quoted argument, "vllm serve …", or any number of files, folders and patterns; '-' reads a command
    from standard input.
    """
    from vllm_opt.optimizer.linter.lint import lint
    from vllm_opt.optimizer.linter.subject.request import LintRequest

    _sort_arguments(context, options)
    request = _request(context, LintRequest, options)
    try:
        report = lint(request)
    except InvalidRequest as fault:
        if options["allow_none"] and "holds no command" in str(fault):
            return 0
        raise
    _answer(report, options)
    return 0 if report.clean or options["exit_zero"] else 1


def _sort_arguments(context: click.Context, options: dict[str, Any]) -> None:
    """An argument with a blank is a command, '-' reads one, anything else is a path.

    Raises:
        InvalidRequest: a command that is not quoted, or paths and a command together.
    """
    words: tuple[str, ...] = options["command"]
    command, paths = None, words
    if len(words) == 1 and (words[0] == "-" or any(mark in words[0] for mark in (" ", "\n"))):
        known_file = words[0] != "-" and len(words[0]) < 1024 and Path(words[0]).exists()
        command, paths = (None, words) if known_file else (_typed_command(words[0]), ())
    elif words and words[0] in STARTS and not Path(words[0]).exists():
        raise InvalidRequest('put the command in quotes: vllm-opt lint "vllm serve MODEL --flag …" --gpu SKU')
    context.params["command"], context.params["paths"] = command, paths


def _request(context: click.Context, request_type: Any, options: dict[str, Any]) -> Any:
    """What was typed over the settings of `vllm-opt.toml`; `--fix-all` is the field `fix`."""
    from vllm_opt.optimizer.linter.settings import lint_settings

    command, paths = context.params["command"], context.params["paths"]
    if command is None and not paths and options["file"] is None:
        raise InvalidRequest('give a command in quotes, "vllm serve MODEL --flag …", or a file with --file')
    context.params.pop("fix")
    context.params.pop("paths")
    if command is None:
        context.params.pop("command")
    request = request_from(context, request_type, also={"paths": paths} if paths else {})
    defaults = {name: value for name, value in lint_settings(Path()).items() if not options.get(name)}
    if defaults:
        request = request.replaced(**defaults)
    return request.replaced(fix="all") if options["fix_all"] else request


def _typed_command(text: str) -> str:
    """A command as typed, or standard input for '-'.

    Raises:
        InvalidRequest: standard input is closed or not UTF-8 text.
    """
    if text != "-":
        return text
    if sys.stdin is None:
        raise InvalidRequest("standard input is closed; give the command in quotes")
    try:
        return sys.stdin.buffer.read(LONGEST_INPUT).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("standard input is not UTF-8 text") from None


def _answer(report: "LintReport", options: dict[str, Any]) -> None:
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.linter.differences import differences
    from vllm_opt.optimizer.linter.render import render_lint
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output
    from vllm_opt.profiles.whole_file import replace_file

    fixes = options["fix"] or options["fix_all"] or options["diff"] or options["in_place"]
    if not fixes:
        screen = screen_of_standard_output(options["output"] is not None)
        write_answer(render_lint(report, options["format_name"], screen), options["output"])
        return
    several = len(report.files) > 0
    changed = differences(report)
    if options["in_place"] or options["diff"] or several:
        if options["in_place"]:
            if report.file is None and not several:
                raise InvalidRequest("--in-place needs a file; a command on the command line is printed with --fix")
            for change in changed:
                replace_file(Path(change.file), change.text)
        write_answer("".join(change.diff for change in changed), options["output"]) if changed else None
        return
    write_answer(report.fixed_text, options["output"])
