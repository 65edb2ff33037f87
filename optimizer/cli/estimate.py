"""`vllm-opt estimate`: what one given vLLM configuration would do."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.options import (
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
    TYPICAL_REQUEST,
    VLLM_VERSION,
    count,
    number,
    request_from,
    text,
    with_options,
)

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Estimate
    from vllm_opt.profiles.catalogues.catalog import Catalog


def toggle(name: str, help: str) -> Callable[[Any], Any]:
    """A vLLM switch with its negation; unset takes the release's default."""
    return click.option(f"--{name}/--no-{name}", default=None, help=help)


ESTIMATE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    MODEL,
    text("--gpu", metavar="SKU", help="GPU SKU; 'local' reads this machine. Default h100-sxm."),
    number("--gpu-memory-gib", help="Override the reported memory of the GPU."),
    VLLM_VERSION,
    ENGINE,
    *TYPICAL_REQUEST,
    count("--concurrency", help="Users served at once, all replicas together. Default: what is admitted."),
    count("--replicas", help="Separate servers. Default 1."),
    count("--tensor-parallel-size", "-tp", help="GPUs that share every layer."),
    count("--pipeline-parallel-size", "-pp", help="Stages that share the layers."),
    count("--data-parallel-size", "-dp", help="Engine replicas inside one server."),
    count("--decode-context-parallel-size", "-dcp", help="GPUs that share one sequence's KV cache."),
    toggle("enable-expert-parallel", "Whole experts per GPU instead of slices of each."),
    text("--quantization", "-q", help="Weight format. Default: as the checkpoint is stored."),
    toggle("quantize-at-load", "Make the weight format from the 16-bit checkpoint while loading."),
    text("--kv-cache-dtype", help="KV cache format. Default auto."),
    count("--block-size", help="Tokens per KV block."),
    number("--gpu-memory-utilization", help="Share of the reported memory that vLLM may use."),
    text("--max-model-len", metavar="N|auto", help="Longest sequence; auto: the longest that fits."),
    count("--max-num-seqs", help="Sequences per step."),
    count("--max-num-batched-tokens", help="Tokens per step."),
    toggle("enforce-eager", "No CUDA graphs."),
    toggle("enable-prefix-caching", "Reuse the KV blocks of a common prefix."),
    toggle("enable-chunked-prefill", "Split long prompts over steps."),
    toggle("async-scheduling", "Schedule the next step while this one runs."),
    toggle("disable-hybrid-kv-cache-manager", "One KV group for all layers."),
    text("--kv-cache-memory-bytes", metavar="BYTES", help="Size of the KV pool, instead of the profiled one."),
    count("--num-gpu-blocks-override", help="KV blocks, instead of the profiled number."),
    number("--swap-space", help="GiB of host memory per GPU for swapped sequences (old releases)."),
    number("--kv-offloading-size", help="GiB of host memory for offloaded KV blocks."),
    number("--cpu-offload-gb", help="GiB of weights per GPU kept in host memory."),
    *FEATURES,
    *LATENCY_LIMITS,
    *PRICES,
    GPU_FILE,
    INTERNODE,
    *CERTAINTY,
    EQUATIONS,
)


@click.command("estimate", context_settings=SETTINGS)
@with_options((*ESTIMATE_OPTIONS, *PRESENTATION, REQUESTS))
@click.pass_context
def estimate_command(context: click.Context, /, **options: Any) -> int:
    """Predict memory, what vLLM prints at start-up, and speed of one configuration, in vLLM's own flags."""
    from vllm_opt.optimizer.contract.request import EstimateRequest

    if options["requests"] is not None:
        from vllm_opt.optimizer.cli.requests import answer_file

        return answer_file(context, EstimateRequest, _estimate)
    estimate = _estimate(request_from(context, EstimateRequest))
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
