"""An answer or an estimate as one self-contained page, for a mail or a ticket."""

from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Equation, Estimate, Explanation, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import count, quantity
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.comparison import COLUMNS, plan_row
from vllm_opt.optimizer.rendering.estimate import BILL_HEADINGS, bill, verdict_of
from vllm_opt.optimizer.rendering.html_parts import (
    bullets,
    memory_bar,
    page,
    paragraph,
    preformatted,
    safe,
    section,
    table,
)
from vllm_opt.optimizer.rendering.memory import memory_heading, pool_sentence
from vllm_opt.optimizer.rendering.pareto_chart import pareto_chart
from vllm_opt.optimizer.rendering.plan_words import (
    basis_in_words,
    cost_in_words,
    gpus_in_words,
    slow,
    slow_in_words,
    speed_rows,
    start_sentences,
    status_in_words,
    weights_in_words,
)
from vllm_opt.optimizer.serve_lines.flag_words import FLAG_WORDS
from vllm_opt.profiles.reading.quantities import counted

COMMAND_WIDTH = 100


def answer_page(answer: Answer) -> str:
    """Return the whole answer as a page."""
    asked = answer.request
    title = f"{asked.get('model', 'model')}: {status_in_words(answer)}"
    colour = "good" if answer.status in ("optimal", "feasible") else "bad"
    load = f"{_counted(asked, 'concurrency', 'sequence')} of {_counted(asked, 'target_context', 'token')}"
    body = [f'<h1 class="{colour}">{safe(title)}</h1>', paragraph(load)]
    if answer.plan is not None:
        body += _plan(answer.plan, asked.get("concurrency"))
    if answer.explanation is not None:
        body += _explanation(answer.explanation)
    body += [section("Front", pareto_chart(answer.pareto), table(COLUMNS, [plan_row(plan) for plan in answer.pareto]))]
    body += [section("Alternatives", table(COLUMNS, [plan_row(plan) for plan in answer.alternatives]))]
    notes = (*(answer.plan.notes if answer.plan else ()), *answer.notes)
    notes += () if answer.doubt is None else (answer.doubt.message,)
    body += [section("Notes", bullets(list(dict.fromkeys(notes)))), _footer(answer)]
    return page(title, body)


def _counted(asked: dict[str, Any], field: str, noun: str) -> str:
    value = asked.get(field)
    return counted(value, noun) if isinstance(value, int) else f"some {noun}s"


def estimate_page(estimate: Estimate) -> str:
    """Return the whole estimate as a page."""
    asked = estimate.request
    verdict = verdict_of(estimate)
    title = f"{asked.get('model')} on {asked.get('gpu')}: {verdict}"
    reasons = [f"{violation.rule}: {violation.message}" for violation in estimate.violations]
    body = [
        f'<h1 class="{"good" if estimate.fits else "bad"}">{safe(title)}</h1>',
        section("Not met", bullets(reasons)),
        section(
            memory_heading(estimate.memory), memory_bar(estimate.memory), paragraph(pool_sentence(estimate.memory))
        ),
        section("The sum", table(BILL_HEADINGS, bill(estimate.memory))),
        section("vLLM would print", preformatted("\n".join(estimate.startup_log)) if estimate.startup_log else ""),
    ]
    if estimate.performance is not None:
        body.append(_speed(estimate.performance))
    body += [section("Notes", bullets(estimate.notes)), _equations(estimate.equations)]
    return page(title, body)


def _plan(plan: Plan, concurrency: object) -> list[str]:
    flags = [
        [name, str(value).lower() if isinstance(value, bool) else str(value), FLAG_WORDS.get(name, "")]
        for name, value in plan.flags.items()
    ]
    binding = [
        f"{rule.rule}: {rule.message.rstrip('.')} ({quantity(rule.slack, rule.unit)} to spare)."
        for rule in plan.binding
    ]
    return [
        paragraph(gpus_in_words(plan, concurrency if isinstance(concurrency, int) else None)),
        paragraph(weights_in_words(plan)),
        paragraph(cost_in_words(plan.cost) + (f"; price: {plan.cost.price_source}" if plan.cost else "")),
        section(
            f"Start each server with vLLM {plan.vllm_version}",
            preformatted(wrapped_command(plan.command, plan.env, COMMAND_WIDTH)),
            *(paragraph(sentence) for sentence in start_sentences(plan)),
            table([("flag", "left"), ("value", "right"), ("what it decides", "left")], flags),
        ),
        section(memory_heading(plan.memory), memory_bar(plan.memory), paragraph(pool_sentence(plan.memory))),
        _speed(plan.performance),
        section("What binds", bullets(binding)),
        _equations(plan.equations),
    ]


def _speed(performance: Performance) -> str:
    headings = [("", "left"), ("predicted", "right"), ("90 % interval", "left")]
    return section(
        f"Speed with {counted(performance.concurrency, 'user')} at once",
        table(headings, speed_rows(performance)),
        paragraph(slow_in_words(performance)) if slow(performance) else "",
        paragraph(basis_in_words(performance)),
    )


def _explanation(explanation: Explanation) -> list[str]:
    relaxations = [relaxation.message for relaxation in explanation.relaxations]
    return [
        section(
            "What cannot hold together", bullets([f"{rule.rule}: {rule.message}" for rule in explanation.conflict])
        ),
        section("By SKU", bullets(list(explanation.per_gpu))),
        section("Any one of these would make it feasible", bullets(relaxations)),
    ]


def _equations(equations: tuple[Equation, ...]) -> str:
    rows = [
        [equation.name, equation.formula, equation.values, quantity(equation.result, equation.unit), equation.source]
        for equation in equations
    ]
    headings = [("", "left"), ("formula", "left"), ("with numbers", "left"), ("result", "right"), ("source", "left")]
    return section("Equations", table(headings, rows))


def _footer(answer: Answer) -> str:
    solver = answer.solver
    words = f"{counted(solver.layouts_considered, 'layout')} considered, {count(solver.layouts_solved)} in the model."
    return f"<footer>{safe(words)}</footer>"
