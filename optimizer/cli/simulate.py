"""`vllm-opt simulate`: requests played through vLLM's scheduler, step by step."""

from typing import Any

import click

from vllm_opt.optimizer.cli.estimate import ESTIMATE_OPTIONS
from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import (
    EQUATIONS,
    SETTINGS,
    count,
    read_pasted_command,
    request_from,
    text,
    with_options,
    with_settings,
)

PLAYED_OPTIONS = grouped(
    "What is played", "simulate --gpu l40s --requests-per-s 3 --num-requests 2000",
    count("--num-requests", help="Requests that are sent. Default: all of a trace, else 1000, or ten for each user."),
    text("--seed", metavar="N", help="The same input and seed play the same requests. Default 0."),
)  # fmt: skip
ANSWER_OPTIONS = grouped(
    "Answer", "simulate --format json --csv requests.csv",
    text("--csv", "csv_file", metavar="FILE", help="Also write every request, one a line."),
    EQUATIONS,
    click.option("--format", "format_name", type=click.Choice(("table", "json")), default="table", help="Or json."),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
)  # fmt: skip


@click.command("simulate", cls=GroupedCommand, context_settings=SETTINGS)
@click.argument("model_argument", required=False, metavar="[MODEL|COMMAND]")
@with_options((*ESTIMATE_OPTIONS, *PLAYED_OPTIONS, *ANSWER_OPTIONS))
@click.pass_context
def simulate_command(context: click.Context, /, **options: Any) -> int:
    """Play requests through the scheduler of one configuration: steps, chunked prefill, admission, preemption.

    Takes what estimate takes. With --lengths and times in it the trace is replayed as it was recorded. The answer
    stands beside the closed forms of estimate, with a picture of TTFT over time.
    """
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.contract.simulation import SimulateRequest
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output
    from vllm_opt.optimizer.simulation.simulate import simulate

    notes = read_pasted_command(context)
    answer = with_settings(context, simulate(request_from(context, SimulateRequest)))
    answer = answer.model_copy(update={"notes": (*answer.notes, *notes)})
    if options["csv_file"] is not None:
        from vllm_opt.optimizer.rendering.simulation import simulation_csv

        write_answer(simulation_csv(answer.log), options["csv_file"])
    if options["format_name"] == "json":
        shown = answer.model_dump_json(indent=2)
    else:
        from vllm_opt.optimizer.rendering.simulation import simulation_table

        shown = simulation_table(answer, screen_of_standard_output(options["output"] is not None))
    write_answer(shown, options["output"])
    return 0 if answer.fits else 1
