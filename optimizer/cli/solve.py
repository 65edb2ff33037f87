"""`vllm-opt solve`: the best deployment, with proof."""

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
    LENGTH_OF_TABLE,
    MODEL,
    MODEL_ARGUMENT,
    OFFLOAD_TIER,
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
    request_from,
    switch,
    text,
    with_options,
    with_settings,
)
from vllm_opt.optimizer.cli.save_dir import SAVE_DIR_OPTIONS, check_save_options, saved
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Answer
    from vllm_opt.profiles.catalogues.catalog import Catalog

EXIT_CODES = {"optimal": 0, "feasible": 0, "infeasible": 1, "unknown": 3}
"""Status of an answer -> exit code."""

SOLVE_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    *grouped(
        "Model and weights", "solve Qwen/Qwen3-32B --quantization fp8",
        MODEL,
        text(
            "--quantization", many=True, complete=completion.quantizations,
            help="Restrict the weight formats, or 'native'. Repeatable.",
        ),
        number("--min-quality", help="Lowest accepted recovery of weights and KV cache together. Default 0.98."),
        text(
            "--kv-cache-dtype", complete=completion.kv_cache_dtypes,
            help="One format, or 'any' (default): auto or fp8.",
        ),
        click.option(
            "--hypothetical-checkpoints/--no-hypothetical-checkpoints",
            default=None,
            help="Also plan with weights that nobody has published, to be made first. Default: no.",
        ),
        click.option(
            "--undocumented-layouts/--no-undocumented-layouts",
            default=None,
            help="Also plan what a platform (Gaudi, XPU, ROCm) does not document as supported. Default: no.",
        ),
    ),
    *grouped(
        "Load", "solve Qwen/Qwen3-32B --workload chat --users 64 --target-context 16K",
        WORKLOAD,
        text(
            "--concurrency", "--users", metavar="N|max",
            help="Sequences held at once, all replicas together; 'max': as many as there is room for. Default 32.",
        ),
        count("--target-context", help="Tokens (prompt + output) that each sequence may reach. Default 8192."),
        *TYPICAL_REQUEST,
        *OFFLOAD_TIER,
        count("--mean-context", help="Tokens that a running sequence holds on average. Default: the target context."),
        text(
            "--kv-sizing", metavar="typical|full",
            help="Room in the KV pool for the lengths stated, or for every sequence at full length.",
        ),
    ),
    *grouped("Traffic", "solve --requests-per-s 4 --max-ttft-ms 2s --ttft-percentile 95", *TRAFFIC),
    *grouped(
        "Limits", "solve --max-ttft-ms 2s --max-tpot-ms 50 --max-hourly-cost 10",
        *LATENCY_LIMITS,
        number("--max-hourly-cost", help="Limit on the cost in USD per hour."),
        click.option(
            "--default-limits/--no-default-limits",
            default=None,
            help="Limit TTFT and TPOT where neither is limited. Default: yes, named as an assumption.",
        ),
        number("--confidence", help="How sure limits must be met, 0.5 to 0.99. Default 0.9."),
    ),
    *grouped(
        "GPUs", "solve --gpu 2xrtx-4090 --gpu-file my-gpus.json",
        text(
            "--gpu", many=True, metavar="SKU", complete=completion.gpus,
            help="Candidate SKU; '2xSKU' also says --gpus 2; 'local' reads this machine. Repeatable.",
        ),
        count("--gpus", help="Use exactly this many GPUs in all."),
        count("--max-gpus", help="Use at most this many GPUs in all. Default 16."),
        number("--host-memory-gib", help="Host memory per node for KV offload: 512, 512GiB. Unset: no offload."),
        INTERNODE,
        GPU_FILE,
    ),
    *grouped("Prices", "solve --provider RunPod --price l40s=0.79", *PRICES),
    *grouped(
        "Adapters, drafts, images", "solve --lora-adapters 8 --lora-rank 32", *FEATURES,
        count("--lora-adapters", help="Adapters served at once; vLLM's flags follow."),
        count("--lora-rank", help="Rank of the largest of them. Default 16."),
    ),
    *grouped(
        "Pinned choices", "solve Qwen/Qwen3-32B --gpu h100 -tp 2 --replicas 1 --max-num-seqs 64",
        count("--tensor-parallel-size", "-tp", help="GPUs that share every layer: exactly this."),
        count("--pipeline-parallel-size", "-pp", help="Stages that share the layers: exactly this."),
        count("--data-parallel-size", "-dp", help="Engines inside one server: exactly this."),
        count("--replicas", help="Separate servers: exactly this."),
        count("--max-num-seqs", help="Sequences per step: exactly this."),
        count("--max-num-batched-tokens", help="Tokens per step: exactly this."),
        number("--max-gpu-memory-utilization", help="Highest gpu-memory-utilization to consider. Default 0.95."),
    ),
    *grouped(
        "What is best", "solve --objective throughput --gpu 8xh100 --top 3",
        text(
            "--objective",
            many=True,
            metavar="NAME",
            help="cost, throughput, concurrency, gpus, latency or efficiency; repeat for less important ones. "
            "Default: cost, then throughput.",
        ),
        number("--tolerance", help="Share of the first objective that later ones may use. Default 0.05."),
        count("--top", help="Also list the N best alternatives. Default: the best on each other SKU."),
        switch("--pareto", help="The cost / throughput / latency front instead of one plan."),
    ),
    *grouped("Release", "solve --vllm-version 0.11", VLLM_VERSION, ENGINE, CERTAINTY[1], CALIBRATION_FILE),
    *grouped(
        "Solver", "solve --time-limit 60 --workers 4",
        number("--time-limit", help="Seconds for the solver. Default 30."),
        count("--workers", help="Threads of the solver. Default 1."),
        text("--seed", metavar="N", help="The same input and seed give the same plan. Default 0."),
        click.option(
            "--explain/--no-explain",
            default=None,
            help="When nothing fits, look for the smallest changes that would help. Default: yes.",
        ),
        switch("--second-opinion", help="Count every plan again, slowly, by code that shares nothing with the search."),
    ),
)  # fmt: skip
ANSWER_OPTIONS = grouped(
    "Answer", "solve --format json --output answer.json", *LENGTH_OF_TABLE, EQUATIONS, *PRESENTATION,
    text(
        "--dump-model", metavar="FILE",
        help="Also write the CP-SAT model to this file: a table of its rows as comments, then the proto as text.",
    ),
    REQUESTS,
)  # fmt: skip
DEPLOY_OPTIONS = grouped("Deploy", "solve Qwen/Qwen3-32B --save-dir deploy --emit scripts,helm", *SAVE_DIR_OPTIONS)


@click.command("solve", cls=GroupedCommand, context_settings=SETTINGS)
@MODEL_ARGUMENT
@with_options((*SOLVE_OPTIONS, *ANSWER_OPTIONS, *DEPLOY_OPTIONS))
@click.pass_context
def solve_command(context: click.Context, /, **options: Any) -> int:
    """Find the best deployment: GPU, count, parallelism, quantisation and every memory flag, with proof.

    MODEL is a catalogue name, a Hugging Face id, or the path of a config.json or model folder. Options also come from
    VLLM_OPT_<OPTION> and from vllm-opt.toml, in this folder or the user's.
    """
    from vllm_opt.optimizer.contract.request import SolveRequest

    dump, models = options["dump_model"], list[str]()
    check_save_options(options)
    if options["save_dir"] is not None and (options["requests"] is not None or options["pareto"]):
        raise InvalidRequest("--save-dir writes the folder of one plan; leave --requests and --pareto out")
    if options["requests"] is not None:
        from vllm_opt.optimizer.cli.requests import answer_file

        if dump is not None:
            raise InvalidRequest("--dump-model writes the model of one request; leave --requests out")
        return answer_file(context, SolveRequest, _solve)
    if dump is not None:
        from vllm_opt.optimizer.cli.model_file import check_model_file

        check_model_file(dump, options["output"])
    answer = with_settings(
        context,
        _solve(
            request_from(context, SolveRequest),
            on_model=None if dump is None else models.append,
            brief=_alternatives_shown(options),
        ),
    )
    if dump is not None:
        from vllm_opt.optimizer.cli.model_file import write_model

        write_model(dump, models)
    return answered(answer, options)


def answered(answer: "Answer", options: dict[str, Any]) -> int:
    """Save the plan where --save-dir says, show the answer unless only a check was asked, and say how it ended."""
    code = None
    if answer.plan is not None:
        from vllm_opt.optimizer.deployment.of_plan import deployment_of

        code = saved(options, lambda: {"": deployment_of(answer)})
    if not (options["check"] and code is not None):
        show_answer(answer, options)
    if answer.second_opinion is not None:
        from vllm_opt.optimizer.cli.output import told

        code = told(answer.second_opinion) or code
    return EXIT_CODES[answer.status] or code or 0


def _alternatives_shown(options: dict[str, Any]) -> int | None:
    """How many alternatives are read at most: what nobody sees is not computed. None: all."""
    if options["format_name"] != "table" or options["full"] or options["save_dir"] is not None:
        return None
    from vllm_opt.optimizer.summary.close_calls import MOST_OTHERS

    return MOST_OTHERS


def _solve(
    request: Any,
    catalog: "Catalog | None" = None,
    on_model: Callable[[str], None] | None = None,
    brief: int | None = None,
) -> "Answer":
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.rendering.progress import ProgressLine
    from vllm_opt.optimizer.solver.solve import solve

    with ProgressLine("front" if request.pareto else "solving", request.time_limit):
        return solve(request, catalog, on_model=on_model, brief=brief)


def show_answer(answer: "Answer", options: dict[str, Any]) -> None:
    """Render an answer and write it: some thirty lines for a terminal, or everything with `--full`."""
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    screen, format_name = screen_of_standard_output(options["output"] is not None), options["format_name"]
    if format_name == "table" and not options["full"] and not answer.pareto:
        from vllm_opt.optimizer.summary.answer import summary_of_answer

        write_answer(summary_of_answer(answer, screen, why=bool(options["why"])), options["output"])
        return
    from vllm_opt.optimizer.rendering.formats import render_answer

    write_answer(render_answer(answer, format_name, screen), options["output"])
