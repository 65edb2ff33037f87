"""`vllm-opt estimate`: what one given vLLM configuration would do."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli import completion
from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import (
    CALIBRATION_FILE,
    CERTAINTY,
    ENGINE,
    EQUATIONS,
    FEATURES,
    GPU_FILE,
    INTERNODE,
    LATENCY_LIMITS,
    MODEL,
    PRESENTATION,
    PRICES,
    REQUESTS,
    SETTINGS,
    TRAFFIC,
    TYPICAL_REQUEST,
    VLLM_VERSION,
    WORKLOAD,
    count,
    number,
    read_pasted_command,
    request_from,
    text,
    with_options,
    with_settings,
)

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Estimate
    from vllm_opt.profiles.catalogues.catalog import Catalog


def toggle(name: str, help: str) -> Callable[[Any], Any]:
    """A vLLM switch with its negation; unset takes the release's default."""
    return click.option(f"--{name}/--no-{name}", default=None, help=help)


ESTIMATE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    *grouped(
        "Model and weights", "estimate Qwen/Qwen3-32B --gpu 2xh100 --quantization fp8",
        MODEL,
        text(
            "--quantization", "-q", complete=completion.quantizations,
            help="Weight format. Default: as the checkpoint is stored.",
        ),
        toggle("quantize-at-load", "Make the weight format from the 16-bit checkpoint while loading."),
        text("--kv-cache-dtype", complete=completion.kv_cache_dtypes, help="KV cache format. Default auto."),
    ),
    *grouped(
        "GPUs", "estimate --gpu 2xrtx-4090",
        text(
            "--gpu", metavar="SKU", complete=completion.gpus,
            help="GPU SKU; '2xSKU' also says -tp 2; 'local' reads this machine. Default h100-sxm.",
        ),
        number("--gpu-memory-gib", help="Override the reported memory of the GPU: 22.5, 80GB."),
        INTERNODE,
        GPU_FILE,
    ),
    *grouped(
        "Layout, in vLLM's own flags", "estimate Qwen/Qwen3-32B -tp 2 --replicas 2",
        count("--tensor-parallel-size", "-tp", help="GPUs that share every layer."),
        count("--pipeline-parallel-size", "-pp", help="Stages that share the layers."),
        count("--data-parallel-size", "-dp", help="Engine replicas inside one server."),
        count("--decode-context-parallel-size", "-dcp", help="GPUs that share one sequence's KV cache."),
        toggle("enable-expert-parallel", "Whole experts per GPU instead of slices of each."),
        count("--replicas", help="Separate servers. Default 1."),
    ),
    *grouped(
        "Memory and batch, in vLLM's own flags", "estimate --max-model-len 32K --gpu-memory-utilization 0.92",
        number("--gpu-memory-utilization", help="Share of the reported memory that vLLM may use."),
        text("--max-model-len", metavar="N|auto", help="Longest sequence; auto: the longest that fits."),
        count("--max-num-seqs", help="Sequences per step."),
        count("--max-num-batched-tokens", help="Tokens per step."),
        count("--block-size", help="Tokens per KV block."),
        text("--kv-cache-memory-bytes", metavar="BYTES", help="Size of the KV pool, instead of the profiled one."),
        count("--num-gpu-blocks-override", help="KV blocks, instead of the profiled number."),
        number("--swap-space", help="GiB of host memory per GPU for swapped sequences (old releases)."),
        number("--kv-offloading-size", help="GiB of host memory for offloaded KV blocks."),
        number("--offload-hit-share", help="Share of prompt tokens found there, 0 to 1. Default 0."),
        number("--cpu-offload-gb", help="GiB of weights per GPU kept in host memory."),
        text(
            "--performance-mode", metavar="balanced|interactivity|throughput",
            help="throughput doubles the default batch. Default balanced.",
        ),
        toggle("enforce-eager", "No CUDA graphs."),
        toggle("enable-prefix-caching", "Reuse the KV blocks of a common prefix."),
        toggle("enable-chunked-prefill", "Split long prompts over steps."),
        toggle("async-scheduling", "Schedule the next step while this one runs."),
        toggle("disable-hybrid-kv-cache-manager", "One KV group for all layers."),
    ),
    *grouped(
        "Load and limits", "estimate --workload chat --users 16 --max-ttft-ms 2s",
        WORKLOAD,
        count("--concurrency", "--users", help="Users at once, all replicas together. Default: what is admitted."),
        *TYPICAL_REQUEST,
        *LATENCY_LIMITS,
        *CERTAINTY,
        CALIBRATION_FILE,
    ),
    *grouped("Traffic", "estimate --requests-per-s 4 --max-ttft-ms 2s --ttft-percentile 95", *TRAFFIC),
    *grouped("Adapters, drafts, images", "estimate --enable-lora --max-loras 4 --max-lora-rank 32", *FEATURES),
    *grouped("Prices", "estimate --provider RunPod", *PRICES),
    *grouped("Release", "estimate --vllm-version 0.11", VLLM_VERSION, ENGINE),
)  # fmt: skip
ANSWER_OPTIONS = grouped("Answer", "estimate --format json", EQUATIONS, *PRESENTATION, REQUESTS)


@click.command("estimate", cls=GroupedCommand, context_settings=SETTINGS)
@click.argument("model_argument", required=False, metavar="[MODEL|COMMAND]", shell_complete=completion.models)
@with_options((*ESTIMATE_OPTIONS, *ANSWER_OPTIONS))
@click.pass_context
def estimate_command(context: click.Context, /, **options: Any) -> int:
    """Predict memory, what vLLM prints at start-up, and speed of one configuration, in vLLM's own flags.

    Instead of flags a whole command may be pasted as one quoted argument: vllm-opt estimate "vllm serve MODEL -tp 2
    …" --gpu h100. Flags of it that concern neither memory nor speed are listed as ignored.
    """
    from vllm_opt.optimizer.contract.request import EstimateRequest

    if options["requests"] is not None:
        from vllm_opt.optimizer.cli.requests import answer_file

        return answer_file(context, EstimateRequest, _estimate)
    notes = read_pasted_command(context)
    estimate = with_settings(context, _estimate(request_from(context, EstimateRequest)))
    estimate = estimate.model_copy(update={"notes": (*estimate.notes, *notes)})
    _show(estimate, options["format_name"], options["output"])
    return 0 if estimate.fits else 1


def _estimate(request: Any, catalog: "Catalog | None" = None) -> "Estimate":
    from vllm_opt.optimizer.estimation.estimate import estimate

    return estimate(request, catalog)


def _show(estimate: "Estimate", format_name: str, output: str | None) -> None:
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.formats import render_estimate
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    write_answer(render_estimate(estimate, format_name, screen_of_standard_output(output is not None)), output)
