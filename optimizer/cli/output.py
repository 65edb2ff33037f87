"""Where an answer goes: standard output, or a file that is written whole or not at all; and what is said beside it."""

import sys
from pathlib import Path

import click

from vllm_opt.optimizer.contract.second_opinion import SecondOpinion
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.whole_file import replace_file


def write_answer(answer: str, output: str | None) -> None:
    """Write the answer, ending in a line break, to the file or to standard output.

    Raises:
        InvalidRequest: the file cannot be written; what stood there before is untouched.
        OSError: standard output cannot be written.
    """
    answer = answer if answer.endswith("\n") else answer + "\n"
    if output is not None and output != "-":
        replace_file(Path(output), answer)
        return
    write_standard_output(answer)


def write_standard_output(answer: str) -> None:
    """Write to standard output; characters that its encoding lacks become '?'.

    Raises:
        InvalidRequest: there is no standard output.
    """
    if sys.stdout is None:
        raise InvalidRequest("standard output is closed; give --output FILE")
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    click.echo(answer, nl=False)
    sys.stdout.flush()


def told(opinion: SecondOpinion) -> int:
    """Say what the second opinion said; 1 where a figure differs: such a plan is not to be relied on."""
    checks = sum(len(plan.checks) for plan in opinion.plans)
    skipped = sorted({reason for plan in opinion.plans for reason in plan.not_judged})
    if opinion.agrees:
        words = f"second opinion: {counted(checks, 'figure')} of {counted(len(opinion.plans), 'plan')} counted again, "
        click.echo(words + "all agree" + (f"; not counted: {', '.join(skipped)}" if skipped else ""), err=True)
        return 0
    for text in opinion.disagreements:
        click.echo(f"second opinion disagrees: {text}", err=True)
    return 1
