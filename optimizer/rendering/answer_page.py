"""An answer or an estimate as one self-contained report, for a mail, a ticket, or a printer."""

from vllm_opt.optimizer.contract.answer import Answer, Estimate, Explanation
from vllm_opt.optimizer.contract.quantities import count
from vllm_opt.optimizer.rendering.comparison import COLUMNS, plan_row
from vllm_opt.optimizer.rendering.estimate import BILL_HEADINGS, bill, verdict_of
from vllm_opt.optimizer.rendering.memory import memory_heading, pool_sentence
from vllm_opt.optimizer.rendering.plan_charts import front_figure, limits_figure, memory_figure
from vllm_opt.optimizer.rendering.plan_page import (
    equations_sections,
    others_of,
    plan_sections_of_page,
    plan_summary,
    speed_sections,
)
from vllm_opt.optimizer.rendering.plan_words import asked_in_words, status_in_words
from vllm_opt.optimizer.report.document import Bullets, Code, Document, Section, Table, Words, section
from vllm_opt.optimizer.report.page import page
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version


def answer_page(answer: Answer) -> str:
    """Return the whole answer as a page."""
    return page(answer_document(answer))


def estimate_page(estimate: Estimate) -> str:
    """Return the whole estimate as a page."""
    return page(estimate_document(estimate))


def answer_document(answer: Answer) -> Document:
    """The answer as a report: charts need the configuration estimated again, some hundredths of a second each."""
    asked, plan = answer.request, answer.plan
    doubted = () if answer.doubt is None else (answer.doubt.message,)
    notes = dict.fromkeys((*(plan.notes if plan else ()), *answer.notes, *doubted))
    sections = (
        *(plan_sections_of_page(plan, asked, others_of(answer)) if plan is not None else ()),
        *(_explanation(answer.explanation) if answer.explanation is not None else ()),
        *_front(answer),
        *section("Alternatives", Table(COLUMNS, [plan_row(other) for other in answer.alternatives])),
        *section("Notes", Bullets(tuple(notes))),
    )
    return Document(
        title=f"{asked.get('model', 'model')}: {status_in_words(answer)}",
        subtitle=asked_in_words(asked),
        summary=_summary(answer),
        sections=sections,
        good=answer.status in ("optimal", "feasible"),
        footer=_footer(answer),
    )


def estimate_document(estimate: Estimate) -> Document:
    """The estimate as a report."""
    asked, memory, speed = estimate.request, estimate.memory, estimate.performance
    verdict = verdict_of(estimate)
    reasons = tuple(f"{violation.rule}: {violation.message}" for violation in estimate.violations)
    limits = limits_figure(asked, speed) if speed is not None else None
    sections = (
        *section("Not met", Bullets(reasons)),
        *section(memory_heading(memory), memory_figure(memory), Words(pool_sentence(memory))),
        *section("The sum", Table(BILL_HEADINGS, bill(memory))),
        *section("vLLM would print", Code("\n".join(estimate.startup_log))),
        *(speed_sections(speed) if speed is not None else ()),
        *section("Limits", limits),
        *section("Notes", Bullets(estimate.notes)),
        *equations_sections(estimate.equations),
    )
    title = f"{asked.get('model')} on {asked.get('gpu')}: {verdict}"
    first = f" {reasons[0].rstrip('.')}." if reasons else ""
    return Document(
        title=title, summary=f"{asked.get('model')} on {asked.get('gpu')} {verdict}.{first}", sections=sections,
        good=estimate.fits, footer=f"vllm-opt {installed_version()}.",
    )  # fmt: skip


def _summary(answer: Answer) -> str:
    if answer.plan is not None:
        return plan_summary(answer.plan, answer.request)
    if answer.pareto:
        first, last = answer.pareto[0], answer.pareto[-1]
        ends = [f"{one.gpu_count} x {one.gpu}" for one in (first, last)]
        return f"{counted(len(answer.pareto), 'plan')} that no other beats, from {ends[0]} to {ends[1]}."
    if answer.explanation is not None and answer.explanation.conflict:
        reason = answer.explanation.conflict[0].message.rstrip(".")
        helps = answer.explanation.relaxations
        return f"Nothing meets this request: {reason}." + (f" What would help: {helps[0].message}" if helps else "")
    return f"{status_in_words(answer)[:1].upper()}{status_in_words(answer)[1:]}."


def _front(answer: Answer) -> tuple[Section, ...]:
    rows = [plan_row(plan) for plan in answer.pareto]
    return section("Front: cost, throughput and latency", front_figure(answer.pareto), Table(COLUMNS, rows))


def _explanation(explanation: Explanation) -> tuple[Section, ...]:
    conflict = tuple(f"{rule.rule}: {rule.message}" for rule in explanation.conflict)
    relaxations = tuple(relaxation.message for relaxation in explanation.relaxations)
    return (
        *section("What cannot hold together", Bullets(conflict)),
        *section("By SKU", Bullets(explanation.per_gpu)),
        *section("Any one of these would make it feasible", Bullets(relaxations)),
    )


def _footer(answer: Answer) -> str:
    solver = answer.solver
    return (
        f"{counted(solver.layouts_considered, 'layout')} considered, {count(solver.layouts_solved)} in the model. "
        f"vllm-opt {installed_version()}."
    )
