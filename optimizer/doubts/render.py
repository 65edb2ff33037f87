"""A doubt as text."""

from collections.abc import Iterator

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.doubts.report import DoubtAnswer
from vllm_opt.optimizer.regret.line import in_words
from vllm_opt.profiles.reading.quantities import counted


def render_doubt(answer: DoubtAnswer) -> str:
    """For a terminal."""
    return "\n".join(_lines(answer)) + "\n"


def _lines(answer: DoubtAnswer) -> Iterator[str]:
    if answer.plan is None:
        yield f"{answer.request.get('model')}: {answer.status}, so there is no plan to doubt"
        for rule in answer.explanation.conflict if answer.explanation else ():
            yield f"  {rule.rule}: {rule.message}"
        return
    yield f"Plan: {_described(answer.plan)}"
    yield f"Compared with {counted(answer.considered - 1, 'other plan')}: {answer.message}."
    if answer.rivals:
        yield ""
        yield "Could be the best within the intervals:       gain at most   own regret"
        for rival in answer.rivals:
            yield f"  {_described(rival.plan):<46}{rival.gain:>10.0%}{rival.regret:>13.0%}"
    if answer.least_regret is not None:
        yield ""
        regret = answer.regret_of_that or 0.0
        yield f"Least regret by what is known so far: {_described(answer.least_regret)}, {regret:.0%}"
    if answer.benchmark is not None:
        run = answer.benchmark
        yield ""
        yield f"Start {run.what}, one server, and run ({run.minutes:g} minutes, {counted(run.gpus, 'GPU')}):"
        yield f"  {run.command}"
        yield "then: vllm-opt calibrate verify-doubt.json, and ask again"
    yield ""
    yield f"Note: {answer.notes[-1]}"


def _described(plan: Plan) -> str:
    price = f", ${plan.cost.usd_per_hour:,.2f}/h" if plan.cost is not None else ""
    return f"{in_words(plan)}{price}"
