"""A doubt as a report: the plan, the rivals that could be the best, and the benchmark that would tell."""

from vllm_opt.optimizer.charts.bars import Bar, Part, bar_chart
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.quantities import dollars, milliseconds, optional, rate
from vllm_opt.optimizer.doubts.report import DoubtAnswer
from vllm_opt.optimizer.regret.line import in_words
from vllm_opt.optimizer.rendering.plan_page import plan_sections_of_page
from vllm_opt.optimizer.report.document import Bullets, Code, Document, Figure, Table, Words, section
from vllm_opt.optimizer.report.page import page
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

HEADINGS = (
    ("plan", "left"), ("USD/h", "right"), ("tokens/s", "right"), ("TTFT", "right"), ("gain at most", "right"),
    ("own regret", "right"),
)  # fmt: skip


def doubt_page(answer: DoubtAnswer) -> str:
    """Write the answer as one self-contained page."""
    return page(doubt_document(answer))


def doubt_document(answer: DoubtAnswer) -> Document:
    """The answer as a report."""
    model = str(answer.request.get("model"))
    conflict = answer.explanation.conflict if answer.explanation is not None else ()
    rows = [[*_row(rival.plan), f"{rival.gain:.0%}", f"{rival.regret:.0%}"] for rival in answer.rivals]
    if answer.plan is not None:
        rows.insert(0, [*_row(answer.plan), "chosen", optional(answer.regret, "{:.0%}".format)])
    run = answer.benchmark
    told = (
        "" if run is None else f"Start {run.what}, one server; {run.minutes:g} minutes on {counted(run.gpus, 'GPU')}."
    )
    after = "" if run is None else f"The least regret left after it is {run.regret_after:.0%} on average."
    sections = (
        *section("What cannot hold together", Bullets(tuple(f"{rule.rule}: {rule.message}" for rule in conflict))),
        *section("Plans that could be the best within the intervals", _figure(answer), Table(HEADINGS, rows)),
        *section("The benchmark that would tell", Words(told), Code(run.command if run else ""), Words(after)),
        *(plan_sections_of_page(answer.plan, answer.request) if answer.plan is not None else ()),
        *section("Notes", Bullets(answer.notes)),
    )
    return Document(
        title=f"{model}: what the choice rests on", summary=_summary(answer), sections=sections,
        good=answer.plan is not None, footer=f"vllm-opt {installed_version()}.",
    )  # fmt: skip


def _summary(answer: DoubtAnswer) -> str:
    if answer.plan is None:
        return f"{answer.request.get('model')}: {answer.status}, so there is no plan to doubt."
    return f"{in_words(answer.plan)}, compared with {counted(answer.considered - 1, 'other plan')}: {answer.message}."


def _row(plan: Plan) -> list[str]:
    speed = plan.performance
    return [
        in_words(plan), optional(plan.cost, lambda cost: dollars(cost.usd_per_hour)), rate(speed.output_tokens_per_s),
        milliseconds(speed.ttft_ms),
    ]  # fmt: skip


def _figure(answer: DoubtAnswer) -> Figure | None:
    """By how much the chosen plan may lose against each rival."""
    bars = [
        Bar(in_words(rival.plan), (Part("gain at most", max(0.0, rival.gain), 1),), f"{rival.gain:.0%}")
        for rival in answer.rivals
    ]
    svg = bar_chart("What changing to a rival could gain at most", bars, "{:.0%}".format)
    return Figure(svg, "What changing to a rival could gain at most") if svg else None
