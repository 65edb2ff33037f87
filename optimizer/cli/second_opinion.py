"""What the second opinion said, in one line on standard error, and the exit code that follows."""

import click

from vllm_opt.optimizer.contract.second_opinion import SecondOpinion
from vllm_opt.profiles.reading.quantities import counted


def told(opinion: SecondOpinion) -> int:
    """Say it; 1 where a figure does not come out the same: such a plan is not to be relied on."""
    checks = sum(len(plan.checks) for plan in opinion.plans)
    skipped = sorted({reason for plan in opinion.plans for reason in plan.not_judged})
    if opinion.agrees:
        words = f"second opinion: {counted(checks, 'figure')} of {counted(len(opinion.plans), 'plan')} counted again, "
        click.echo(words + "all agree" + (f"; not counted: {', '.join(skipped)}" if skipped else ""), err=True)
        return 0
    for text in opinion.disagreements:
        click.echo(f"second opinion disagrees: {text}", err=True)
    return 1
