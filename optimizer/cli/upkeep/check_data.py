"""`vllm-opt check-data`: is every file of facts in order, the package's own or one that is given."""

from typing import TYPE_CHECKING

import click

from vllm_opt.optimizer.cli.options import GPU_FILE, SETTINGS, text

if TYPE_CHECKING:
    from vllm_opt.profiles.checking.check import DataReport

SCHEMA = "vllm-opt/data-check/1"
FAULTY = 1


@click.command("check-data", context_settings=SETTINGS)
@GPU_FILE
@text("--prices", metavar="FILE", help="A price list, as --prices of solve takes it.")
@text("--model-file", metavar="FILE", help="A config.json, or the folder that holds it.")
@click.option(
    "--format", "format_name", type=click.Choice(("table", "json", "yaml")), default="table", help="Default: table."
)
@text("--output", "-o", metavar="FILE", help="Write the report to this file, whole or not at all.")
def check_data_command(
    gpu_file: str | None, prices: str | None, model_file: str | None, format_name: str, output: str | None
) -> int:
    """Check the data files: schema, sources, units, duplicates, and names that refer to nothing.

    Without a file every file of the catalogue is checked; with one or more, these alone, as the other commands would
    read them. Nothing is fetched: a source is judged by its form. The exit code is 1 where a file has an error; a note
    does not count.

    \b
    vllm-opt check-data --gpu-file my-gpus.yaml --prices my-prices.yaml
    """
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.profiles.checking.check import check_data

    report = check_data(gpu_file=gpu_file, prices=prices, model_file=model_file)
    if format_name == "table":
        write_answer(_table(report), output)
    else:
        from vllm_opt.optimizer.rendering.written_forms import document_as

        document = {"schema": SCHEMA, "ok": report.ok, **report.model_dump(mode="json")}
        write_answer(document_as(document, format_name), output)
    return 0 if report.ok else FAULTY


def _table(report: "DataReport") -> str:
    lines = [
        f"{one.file}{f': {one.place}' if one.place else ''}: {one.level}: {one.message}"
        for one in sorted(report.faults, key=lambda one: (one.level, one.file))
    ]
    errors = sum(one.level == "error" for one in report.faults)
    rows = sum(one.rows for one in report.files)
    found = "nothing wrong" if errors == 0 else f"{errors:,} error{'s' * (errors != 1)}"
    return "\n".join([*lines, f"{len(report.files):,} files, {rows:,} rows: {found}"]) + "\n"
