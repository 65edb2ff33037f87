"""`vllm-opt procure DEMAND.yaml`: which GPUs to buy or rent for everything that is served."""

from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli import completion
from vllm_opt.optimizer.cli.options import SETTINGS, text, with_options
from vllm_opt.optimizer.cli.save_dir import SAVE_DIR_OPTIONS, check_save_options, saved
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from vllm_opt.optimizer.procurement.answer import FleetAnswer

EXIT_CODES = {"optimal": 0, "feasible": 0, "infeasible": 1, "unknown": 3}

PROCURE_OPTIONS = (
    click.option(
        "--format", "format_name", type=click.Choice(("table", "json", "yaml", "csv", "xlsx", "html")),
        default="table", help="Default: table. xlsx: every table as a sheet, to --output FILE.",
    ),
    text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    click.option(
        "--table", "table_name", type=click.Choice(("orders", "servers", "workloads")), default="orders",
        help="Which table csv writes. Default: orders.",
    ),
    text("--deploy", metavar="FORMAT", help="Also write one kind of file: command, env, compose or kubernetes."),
    *SAVE_DIR_OPTIONS,
    text("--deploy-dir", metavar="FOLDER", help="Where --deploy writes. Default: deploy."),
    text(
        "--workload", metavar="NAME", complete=completion.workloads,
        help="Preset of the workloads that name none: fills in lengths, context and limits that they do not state.",
    ),
    text("--time-limit", metavar="S", help="Seconds for the fleet; overrides the file."),
    text("--workers", metavar="N", help="Threads of the solver; overrides the file."),
    text("--seed", metavar="N", help="The same file and seed give the same fleet; overrides the file."),
    click.option("--comparisons/--no-comparisons", default=None, help="Other fleets, sensitivity, why SKUs lost."),
    click.option(
        "--second-opinion", is_flag=True, default=None,
        help="Count every plan and the bill again, slowly, by code that shares nothing with the search.",
    ),
    click.option("--schema", "show_schema", is_flag=True, help="Print the JSON schema of DEMAND.yaml."),
)  # fmt: skip


@click.command("procure", context_settings=SETTINGS)
@click.argument("demand", required=False, metavar="DEMAND")
@with_options(PROCURE_OPTIONS)
def procure_command(demand: str | None, **options: Any) -> int:
    """Decide a fleet: what to order, what runs where, what it costs, and what would change it.

    DEMAND is a YAML or JSON file, or a table of workloads as .csv or .xlsx, one a row under headings named as the keys.
    """
    from vllm_opt.optimizer.cli.output import write_answer

    if options["show_schema"]:
        from vllm_opt.optimizer.procurement.demand_file import demand_schema
        from vllm_opt.optimizer.rendering.as_json import as_json

        write_answer(as_json(demand_schema()), options["output"])
        return 0
    check_save_options(options)
    if options["format_name"] == "xlsx":
        _check_workbook(options["output"])
    if demand is None:
        raise click.UsageError("name a demand file, as in: vllm-opt procure DEMAND.yaml (see examples/procure_*.yaml)")
    from vllm_opt.optimizer.procurement.demand_file import read_demand
    from vllm_opt.optimizer.procurement.procure import procure
    from vllm_opt.optimizer.rendering.progress import ProgressLine

    request = read_demand(demand, options["workload"])
    changes = {name: options[name] for name in ("time_limit", "workers", "seed", "comparisons", "second_opinion")}
    changes = {name: value for name, value in changes.items() if value is not None}
    request = request.replaced(**changes) if changes else request
    limits = 2 if request.comparisons else 1
    with ProgressLine("fleet and its comparisons" if request.comparisons else "fleet", limits * request.time_limit):
        answer = procure(request)
    code = None
    if answer.assignments:
        from vllm_opt.optimizer.procurement.deployment import deployment_of_fleet

        code = saved(options, lambda: {"": deployment_of_fleet(answer)})
    if not (options["check"] and code is not None):
        _write(answer, options)
    if answer.second_opinion is not None:
        from vllm_opt.optimizer.cli.output import told

        code = told(answer.second_opinion) or code
    return EXIT_CODES[answer.status] or code or 0


def _check_workbook(output: str | None) -> None:
    """Refuse before a long run what cannot be written after it."""
    from importlib.util import find_spec

    from vllm_opt.optimizer.report.table_files import NEEDS_OPENPYXL
    from vllm_opt.profiles.errors import InvalidRequest

    if output is None or output == "-":
        raise InvalidRequest("--format xlsx writes a file: give --output FILE.xlsx")
    if find_spec("openpyxl") is None:
        raise InvalidRequest(NEEDS_OPENPYXL)


def _write(answer: "FleetAnswer", options: dict[str, Any]) -> None:
    from pathlib import Path

    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.orders.render import deployable_files, fleet_workbook, render_fleet
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output
    from vllm_opt.profiles.errors import InvalidRequest
    from vllm_opt.profiles.whole_file import replace_file

    if options["deploy"]:
        folder = Path(options["deploy_dir"] or "deploy")
        files = deployable_files(answer, options["deploy"])
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidRequest(f"cannot make the folder '{folder}': {error.strerror or error}") from None
        for name, content in files.items():
            replace_file(folder / name, content)
        click.echo(f"{counted(len(files), 'file')} written to {folder}", err=True)
    if options["format_name"] == "xlsx":
        replace_file(Path(options["output"]), fleet_workbook(answer))
        return
    screen = screen_of_standard_output(options["output"] is not None)
    write_answer(render_fleet(answer, options["format_name"], screen, options["table_name"]), options["output"])
