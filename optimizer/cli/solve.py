"""`vllm-opt solve`: the best deployment, with proof."""

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
    switch,
    text,
    with_options,
)

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Answer
    from vllm_opt.profiles.catalogues.catalog import Catalog

EXIT_CODES = {"optimal": 0, "feasible": 0, "infeasible": 1, "unknown": 3}
"""Status of an answer -> exit code."""

SOLVE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    MODEL,
    text("--gpu", many=True, metavar="SKU", help="Candidate SKU; 'local' reads this machine. Repeatable."),
    count("--gpus", help="Use exactly this many GPUs in all."),
    count("--max-gpus", help="Use at most this many GPUs in all. Default 16."),
    count("--target-context", help="Tokens (prompt + output) that each sequence may reach. Default 8192."),
    count("--concurrency", help="Sequences held at once, all replicas together. Default 32."),
    count("--mean-context", help="Tokens that a running sequence holds on average. Default: the target context."),
    *TYPICAL_REQUEST,
    *LATENCY_LIMITS,
    number("--max-hourly-cost", help="Limit on the cost in USD per hour."),
    text("--quantization", many=True, help="Restrict the weight formats, or 'native'. Repeatable."),
    click.option(
        "--hypothetical-checkpoints/--no-hypothetical-checkpoints",
        default=None,
        help="Also plan with weights that nobody has published, to be made first. Default: no.",
    ),
    number("--min-quality", help="Lowest accepted recovery of weights and KV cache together. Default 0.98."),
    text("--kv-cache-dtype", help="One format, or 'any' (default): auto or fp8."),
    number("--max-gpu-memory-utilization", help="Highest gpu-memory-utilization to consider. Default 0.95."),
    count("--max-num-seqs", help="Largest batch per engine to try. Default 1024, or what is needed."),
    *FEATURES,
    count("--lora-adapters", help="Adapters served at once; vLLM's flags follow."),
    count("--lora-rank", help="Rank of the largest of them. Default 16."),
    *PRICES,
    GPU_FILE,
    number("--host-memory-gib", help="Host memory per node for KV offload. Unset: no offload."),
    INTERNODE,
    ENGINE,
    text(
        "--objective",
        many=True,
        metavar="NAME",
        help="cost, throughput, concurrency, gpus, latency or efficiency; repeat for less important ones. "
        "Default: cost, then throughput.",
    ),
    VLLM_VERSION,
    *CERTAINTY,
    count("--top", help="Also list the N best alternatives. Default: the best on each other SKU."),
    switch("--pareto", help="The cost / throughput / latency front instead of one plan."),
    number("--time-limit", help="Seconds for the solver. Default 30."),
    count("--workers", help="Threads of the solver. Default 1."),
    text("--seed", metavar="N", help="The same input and seed give the same plan. Default 0."),
    click.option(
        "--explain/--no-explain",
        default=None,
        help="When nothing fits, look for the smallest changes that would help. Default: yes.",
    ),
    EQUATIONS,
)


@click.command("solve", context_settings=SETTINGS)
@with_options((*SOLVE_OPTIONS, *PRESENTATION, REQUESTS))
@click.pass_context
def solve_command(context: click.Context, /, **options: Any) -> int:
    """Find the best deployment: GPU, count, parallelism, quantisation and every memory flag, with proof."""
    from vllm_opt.optimizer.contract.request import SolveRequest

    if options["requests"] is not None:
        from vllm_opt.optimizer.cli.requests import answer_file

        return answer_file(context, SolveRequest, _solve)
    answer = _solve(request_from(context, SolveRequest))
    show_answer(answer, options["format_name"], options["output"])
    return EXIT_CODES[answer.status]


def _solve(request: Any, catalog: "Catalog | None" = None) -> "Answer":
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.solver.solve import solve

    return solve(request, catalog)


def show_answer(answer: "Answer", format_name: str, output: str | None) -> None:
    """Render an answer and write it."""
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.formats import render_answer
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    write_answer(render_answer(answer, format_name, screen_of_standard_output(output is not None)), output)
