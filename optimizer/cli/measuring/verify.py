"""`vllm-opt verify`: does the running server do what the plan says."""

from typing import Any

import click

from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import SETTINGS, count, number, request_from, switch, text, with_options

VERIFY_OPTIONS = (
    *grouped(
        "Results that exist", "verify plan.json --results result.json",
        text(
            "--results", many=True, metavar="FILE",
            help="Results of `vllm bench serve --save-result` or GuideLLM, start-up logs, or folders. Repeatable.",
        ),
    ),
    *grouped(
        "Measure now", "verify deploy/ --run --base-url http://localhost:8000",
        switch("--run", help="Measure the server at --base-url with the plan's load."),
        text("--base-url", metavar="URL", help="Server or router. Default http://localhost:8000."),
        text("--served-model-name", help="What the server calls the model. Default: the checkpoint."),
        text("--service", help="One service of a plan with several."),
        count("--requests", help="Requests in all. Default: some two minutes of the load."),
        text("--client", metavar="auto|vllm|own", help="vLLM's benchmark, or our own small client. Default: auto."),
        text("--save-result", metavar="FILE", help="Keep the measured result for `calibrate`."),
        number("--time-limit", help="Seconds after which a run is given up. Default 1800."),
    ),
    *grouped(
        "Answer", "verify plan.json --format json",
        click.option("--format", "format_name", type=click.Choice(("table", "json")), default="table",
                     help="Default: table."),
        text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    ),
)  # fmt: skip


@click.command("verify", cls=GroupedCommand, context_settings=SETTINGS)
@click.argument("plan", metavar="PLAN.json|DIR")
@with_options(VERIFY_OPTIONS)
@click.pass_context
def verify_command(context: click.Context, /, **options: Any) -> int:
    """Check a plan against a server: print the benchmark to run with its limits, run it, or judge results.

    PLAN is what `solve`, `procure` or `estimate` wrote with --format json, or the folder of --save-dir. Exit code 1: a
    limit was missed. `vllm-opt calibrate` learns from the same results.
    """
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.verification.request import VerifyRequest
    from vllm_opt.optimizer.verification.verify import verify

    answer = verify(request_from(context, VerifyRequest, {"plan": options["plan"]}))
    if options["format_name"] == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        shown = as_json(answer.model_dump(mode="json"))
    else:
        from vllm_opt.optimizer.verification.render import render_verification

        shown = render_verification(answer)
    write_answer(shown, options["output"])
    return 1 if answer.status == "missed" else 0
