"""`vllm-opt explain`: why nothing fits and what would; or what binds a feasible plan, and what a change would do."""

from typing import TYPE_CHECKING, Any

import click

from vllm_opt.optimizer.cli.grouped_help import GroupedCommand, grouped
from vllm_opt.optimizer.cli.options import (
    EQUATIONS,
    MODEL_ARGUMENT,
    PRESENTATION,
    REQUESTS,
    SETTINGS,
    in_words_of_the_command_line,
    request_from,
    text,
    typed,
    with_options,
    with_settings,
)
from vllm_opt.optimizer.cli.solve import EXIT_CODES, SOLVE_OPTIONS
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Answer

WHAT_IF = text(
    "--what-if",
    many=True,
    metavar="KEY=VALUE,…",
    help="Solve again with these options changed and compare; a key given twice makes a list. Repeatable.",
)
EXPLAIN_OPTIONS = grouped(
    "Answer", "explain --gpu l4 --what-if target-context=4096,users=16", WHAT_IF, EQUATIONS, *PRESENTATION, REQUESTS
)


@click.command("explain", cls=GroupedCommand, context_settings=SETTINGS)
@MODEL_ARGUMENT
@with_options((*SOLVE_OPTIONS, *EXPLAIN_OPTIONS))
@click.pass_context
def explain_command(context: click.Context, /, **options: Any) -> int:
    """Explain the answer to a request: the conflict and the relaxations, or the rules that bind."""
    from vllm_opt.optimizer.cpsat.lean_start import import_solver

    import_solver()
    from vllm_opt.optimizer.contract.request import SolveRequest
    from vllm_opt.optimizer.rendering.progress import ProgressLine
    from vllm_opt.optimizer.solver.explained import explain
    from vllm_opt.optimizer.solver.solve import solve

    if options["requests"] is not None:
        from vllm_opt.optimizer.cli.requests import answer_file

        return answer_file(context, SolveRequest, explain)
    request = request_from(context, SolveRequest)
    changes = [read_changes(what_if) for what_if in options["what_if"]]
    variants = [_changed(context, SolveRequest, change) for change in changes]
    with ProgressLine("explaining"):
        answer = with_settings(context, explain(request))
        others = [solve(variant) for variant in variants]
    _show(answer, list(zip(changes, others, strict=True)), options["format_name"], options["output"])
    return EXIT_CODES[answer.status]


def read_changes(what_if: str) -> dict[str, Any]:
    """Read 'key=value,key=value' into request fields; 'none' unsets, a key given twice makes a list.

    Raises:
        InvalidRequest: a part has no '='.
    """
    changes: dict[str, Any] = {}
    for part in what_if.split(","):
        key, separator, value = part.partition("=")
        field = key.strip().lstrip("-").replace("-", "_")
        if not separator or not field:
            raise InvalidRequest(f"--what-if must look like key=value,key=value, got '{what_if[:80]}'")
        changes.setdefault(field, []).append(None if value.strip().lower() == "none" else value.strip())
    return {field: values[0] if len(values) == 1 else values for field, values in changes.items()}


def _changed(context: click.Context, request_type: Any, changes: dict[str, Any]) -> Any:
    fields = {**typed(context, request_type.model_fields), **changes}
    try:
        return request_type(**{field: value for field, value in fields.items() if value is not None})
    except InvalidRequest as error:
        sentence = in_words_of_the_command_line(str(error), tuple(request_type.model_fields))
        raise InvalidRequest(f"--what-if: {sentence}") from None


def _show(
    answer: "Answer", others: list[tuple[dict[str, Any], "Answer"]], format_name: str, output: str | None
) -> None:
    from vllm_opt.optimizer.cli.output import write_answer
    from vllm_opt.optimizer.rendering.formats import render_explanation
    from vllm_opt.optimizer.rendering.screen import screen_of_standard_output

    screen = screen_of_standard_output(output is not None)
    write_answer(render_explanation(answer, others, format_name, screen), output)
