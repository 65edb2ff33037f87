"""`vllm-opt batch`: recommended configurations for many models."""

from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import (
    CERTAINTY,
    GPU_FILE,
    INTERNODE,
    PRICES,
    SETTINGS,
    count,
    in_words_of_the_command_line,
    number,
    switch,
    text,
    typed,
    with_options,
)
from vllm_opt.optimizer.cli.save_dir import SAVE_DIR_OPTIONS, check_save_options, saved
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from vllm_opt.optimizer.batches.batch import BatchReport
    from vllm_opt.optimizer.contract.answer import Plan
    from vllm_opt.optimizer.deployment.deployment import Deployment

MOST_FAILURES_SHOWN = 20

BATCH_OPTIONS = (
    text("--models", many=True, help="Id, short name, glob ('Qwen/*') or path. Repeatable. Default: every model."),
    text("--models-file", metavar="FILE", help="The same, one per line; '#' starts a comment."),
    text("--gpu", many=True, metavar="SKU", help="SKU. Repeatable. Default: six common ones."),
    text("--workload", many=True, metavar="NAME", help="Workload preset. Repeatable. Default: all of them."),
    text("--objective", many=True, help="cost, or cost+throughput; repeatable. Default: the workload's own."),
    text("--vllm-version", many=True, metavar="V", help="vLLM release. Repeatable. Default: the newest."),
    count("--max-gpus", help="Use at most this many GPUs per configuration. Default 16."),
    text("--quantization", many=True, help="Restrict the weight formats, or 'native'. Repeatable."),
    number("--min-quality", help="Lowest accepted recovery of weights and KV cache together. Default 0.98."),
    text("--kv-cache-dtype", help="One format, or 'any' (default): auto or fp8."),
    number("--max-gpu-memory-utilization", help="Highest gpu-memory-utilization to consider."),
    number("--max-hourly-cost", help="Limit on the cost of one configuration in USD per hour."),
    switch("--hypothetical-checkpoints", help="Also recommend weights that nobody has published."),
    *PRICES,
    GPU_FILE,
    number("--host-memory-gib", help="Host memory per node for KV offload. Unset: no offload."),
    INTERNODE,
    *CERTAINTY,
    number("--time-limit", help="Seconds for one cell. Default 30."),
    text("--seed", metavar="N", help="The same input and seed give the same files. Default 0."),
    text("--output", "-o", metavar="DIR", help="Folder to write. Default: recommended."),
    text("--jobs", "-j", metavar="N", help="Workers. Default: one per CPU."),
    *SAVE_DIR_OPTIONS,
    switch("--resume", help="Keep what is there and still valid, solve the rest."),
    click.option("--backend", type=click.Choice(("local", "ray")), default="local", help="Where the work runs."),
    text("--address", help="Ray cluster. Default: RAY_ADDRESS, or a Ray of this machine."),
    click.option("--format", "format_name", type=click.Choice(("table", "json")), default="table", help="Report as."),
)


@click.command("batch", context_settings=SETTINGS)
@click.argument("spec", required=False, metavar="[SPEC.yaml]")
@with_options(BATCH_OPTIONS)
@click.pass_context
def batch_command(context: click.Context, /, spec: str | None, **options: Any) -> int:
    """Write a folder of recommended configurations: models x SKUs x workloads x objectives x vLLM releases.

    SPEC.yaml holds the options as keys with underscores; options on the command line replace its values. Each
    configuration is a file for `vllm serve --config`; index.html, index.csv and index.json list them all, and
    CHANGES.md says what differs from the run before. Exit code 0 when every cell has an answer, 'nothing fits'
    included; 1 when a cell failed; 3 when the time limit left one open; 130 when interrupted.
    """
    from vllm_opt.optimizer.batches.batch import BatchInterrupted, batch
    from vllm_opt.optimizer.batches.request import BatchRequest, read_batch_file
    from vllm_opt.optimizer.contract.answer import Plan

    check_save_options(options)
    fields, plans = tuple(BatchRequest.model_fields), dict[str, Plan]()
    from_file = read_batch_file(spec) if spec is not None else {}
    try:
        request = BatchRequest(**{**from_file, **typed(context, fields)})
    except InvalidRequest as error:
        raise InvalidRequest(in_words_of_the_command_line(str(error), fields)) from None
    try:
        report = batch(request, on_plan=None if options["save_dir"] is None else plans.__setitem__)
    except BatchInterrupted as interruption:
        click.echo(f"vllm-opt: {interruption}", err=True)
        raise
    _show(report, options["format_name"])
    stale = saved(options, lambda: _deployments(plans, request.gpu_file))
    return 1 if report.failed else 3 if report.counts.get("unknown") else stale or 0


def _deployments(plans: "dict[str, Plan]", gpu_file: str | None) -> "dict[str, Deployment]":
    """The deployment of every plan, in the folder that its configuration's path says."""
    from vllm_opt.optimizer.deployment.of_plan import deployment_of
    from vllm_opt.profiles.catalogues.catalog import Catalog

    catalog = Catalog(gpu_file=gpu_file)
    return {
        path.removeprefix("configs/").removesuffix(".yaml"): deployment_of(plan, catalog)
        for path, plan in sorted(plans.items())
    }


def _show(report: "BatchReport", format_name: str) -> None:
    from vllm_opt.optimizer.batches.rows import STATUS_WORDS
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.as_json import as_json
    from vllm_opt.profiles.printable import printable

    for failure in report.failed[:MOST_FAILURES_SHOWN]:
        click.echo(printable(f"failed: {failure.cell}: {failure.reason}"), err=True)
    if len(report.failed) > MOST_FAILURES_SHOWN:
        click.echo(f"and {len(report.failed) - MOST_FAILURES_SHOWN:,} more; index.json has them all", err=True)
    if format_name == "json":
        write_answer(as_json(report.model_dump(mode="json")), None)
        return
    kept = f", {report.reused:,} of them from the run before" if report.reused else ""
    lines = [f"{counted(report.cells, 'cell')} in {report.output}{kept}:"]
    lines += [f"  {number:>7,}  {STATUS_WORDS[status]}" for status, number in report.counts.items()]
    lines += ["Open index.html, or read CHANGES.md for what differs from the run before."]
    write_answer(printable("\n".join(lines)), None)
