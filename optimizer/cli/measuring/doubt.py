"""`vllm-opt doubt`: which one benchmark would change your mind."""

from typing import Any

import click

from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import MODEL_ARGUMENT, SETTINGS, request_from, text, with_options, with_settings
from vllm_opt.optimizer.cli.solve import EXIT_CODES, SOLVE_OPTIONS

ANSWER_OPTIONS = grouped(
    "Answer", "doubt Qwen/Qwen3-32B --workload chat --format json",
    click.option("--format", "format_name", type=click.Choice(("table", "json", "html")), default="table",
                 help="Default: table."),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
)  # fmt: skip


@click.command("doubt", cls=GroupedCommand, context_settings=SETTINGS)
@MODEL_ARGUMENT
@with_options((*SOLVE_OPTIONS, *ANSWER_OPTIONS))
@click.pass_context
def doubt_command(context: click.Context, /, **options: Any) -> int:
    """Which plans could be the best within the intervals of the predictions, and which short benchmark would tell.

    Takes the options of solve. The benchmark's result goes to `vllm-opt calibrate`; then ask again.
    """
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.contract.request import SolveRequest
    from vllm_opt.optimizer.doubts.doubt import doubt
    from vllm_opt.optimizer.rendering.progress import ProgressLine

    with ProgressLine("doubt"):
        answer = with_settings(context, doubt(request_from(context, SolveRequest)))
    if options["format_name"] == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        shown = as_json(answer.model_dump(mode="json"))
    elif options["format_name"] == "html":
        from vllm_opt.optimizer.doubts.page import doubt_page

        shown = doubt_page(answer)
    else:
        from vllm_opt.optimizer.doubts.render import render_doubt

        shown = render_doubt(answer)
    write_answer(shown, options["output"])
    return EXIT_CODES[answer.status]
