"""`vllm-opt calibrate`: learn from your own vLLM logs and benchmark results."""

from typing import Any

import click

from vllm_opt.optimizer.cli import completion
from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import GPU_FILE, SETTINGS, count, request_from, switch, text, with_options

CALIBRATE_OPTIONS = (
    *grouped(
        "Where it is kept", "calibrate vllm.log result.json --calibration-file ours.json",
        text("--calibration-file", metavar="FILE", help="Keep what is learned here. Default: in your data folder."),
        switch("--replace", help="Forget what was learned before. Default: add to it."),
        switch("--dry-run", help="Compare and learn, but write nothing."),
    ),
    *grouped(
        "What the files do not say", "calibrate result.json --gpu h100 -tp 2 --vllm-version 0.19",
        text("--model", complete=completion.models, help="The model, where a file names none or a local path."),
        text("--gpu", metavar="SKU", complete=completion.gpus, help="The SKU: benchmark results name none."),
        text("--vllm-version", metavar="V", help="The release.", complete=completion.engines),
        text("--quantization", complete=completion.quantizations, help="The weight format."),
        text("--kv-cache-dtype", complete=completion.kv_cache_dtypes, help="The KV cache format."),
        count("--tensor-parallel-size", "-tp", help="GPUs that share every layer."),
        count("--data-parallel-size", "-dp", help="Engines inside one server."),
        count("--replicas", help="Servers behind the endpoint that was measured."),
        count("--max-num-seqs", help="Sequences per step."),
        count("--max-num-batched-tokens", help="Tokens per step."),
        count("--input-tokens", help="Prompt tokens of a request."),
        count("--output-tokens", help="Generated tokens of a request."),
        count("--concurrency", "--users", help="Requests in flight."),
        GPU_FILE,
    ),
    *grouped(
        "Answer", "calibrate results/ --format json",
        click.option("--format", "format_name", type=click.Choice(("table", "json")), default="table",
                     help="Default: table."),
        text("--output", "-o", metavar="FILE", help="Write the answer to this file, whole or not at all."),
    ),
)  # fmt: skip


@click.command("calibrate", cls=GroupedCommand, context_settings=SETTINGS)
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@with_options(CALIBRATE_OPTIONS)
@click.pass_context
def calibrate_command(context: click.Context, /, **options: Any) -> int:
    """Learn from your own measurements; later answers use them and say so.

    FILE is a start-up log of vLLM 0.6 to 0.33 (plain or JSON lines, also .gz), a result of `vllm bench serve
    --save-result`, a folder of `vllm bench sweep`, a GuideLLM report, InferenceX rows, a CSV table, or a folder of
    such files.
    """
    from vllm_opt.optimizer.calibration.calibrate import calibrate
    from vllm_opt.optimizer.calibration.request import CalibrateRequest
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.progress import ProgressLine

    with ProgressLine("calibrating") as line:
        report = calibrate(request_from(context, CalibrateRequest), on_share=line.reached)
    if options["format_name"] == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        answer = as_json(report.model_dump(mode="json"))
    else:
        from vllm_opt.optimizer.calibration.render import render_calibration

        answer = render_calibration(report)
    write_answer(answer, options["output"])
    return 0 if report.learned and any(source.used for source in report.sources) else 1
