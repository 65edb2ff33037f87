"""An `Answer` for the terminal: the recommendation, or why there is none and what would help."""

from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.contract.answer import Answer, Explanation
from vllm_opt.optimizer.contract.quantities import count, quantity
from vllm_opt.optimizer.rendering.comparison import plans_table, what_if_table
from vllm_opt.optimizer.rendering.plan import (
    binding_section,
    bullets,
    equations_section,
    heading,
    line,
    notes_section,
    plan_sections,
)
from vllm_opt.optimizer.rendering.plan_plots import front_plot, load_plots
from vllm_opt.optimizer.rendering.plan_words import SLOW_WORDS, asked_in_words, slow, status_in_words
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType


def answer_table(answer: Answer, screen: Screen) -> str:
    """Draw the whole answer."""
    sections: list[RenderableType] = [_title(answer), *_objectives(answer)]
    if answer.plan is not None:
        sections += plan_sections(answer.plan, answer.request, screen)
        sections += _pictures("Over load", load_plots(answer, screen))
    if answer.explanation is not None:
        sections += explanation_sections(answer.explanation)
    if answer.pareto:
        sections += [heading("Cost, throughput and latency front"), plans_table(answer.pareto, screen)]
        sections += _pictures("Cost and throughput", front_plot(answer.pareto, screen))
    if answer.alternatives:
        sections += [heading(_alternatives_heading(answer)), plans_table(answer.alternatives, screen)]
    if any(slow(plan.performance) for plan in (*answer.pareto, *answer.alternatives)):
        sections += [line(SLOW_WORDS)]
    plan_notes = answer.plan.notes if answer.plan else ()
    plan_notes += () if answer.doubt is None else (answer.doubt.message,)
    sections += notes_section((*plan_notes, *(note for note in answer.notes if note not in plan_notes)))
    if answer.plan is not None:
        sections += equations_section(answer.plan.equations)
    return drawn(*sections, line(""), line(_solver(answer)), screen=screen)


def _pictures(title: str, lines: list[str]) -> list["RenderableType"]:
    return [heading(title), *lines] if lines else []


def explanation_table(answer: Answer, others: list[tuple[dict[str, Any], Answer]], screen: Screen) -> str:
    """Draw why the answer is what it is, beside what changed requests would give."""
    sections: list[RenderableType] = [_title(answer), *_objectives(answer)]
    if answer.plan is not None:
        sections += [plans_table([answer.plan], screen), *binding_section(answer.plan)]
        sections += sensitivity_section(answer)
    if answer.explanation is not None:
        sections += explanation_sections(answer.explanation)
    if others:
        sections += [heading("What if"), what_if_table([({}, answer), *others], screen)]
    shown = [answer.plan, *(other.plan for _, other in others)]
    if any(plan is not None and slow(plan.performance) for plan in shown):
        sections += [line(SLOW_WORDS)]
    sections += notes_section(answer.notes)
    if answer.plan is not None:
        sections += equations_section(answer.plan.equations)
    return drawn(*sections, line(""), line(_solver(answer)), screen=screen)


def _title(answer: Answer) -> "RenderableType":
    from rich.text import Text

    style = {"optimal": "bold green", "feasible": "bold yellow"}.get(answer.status, "bold red")
    asked = answer.request
    words = f"{asked.get('model', 'model')}, {asked_in_words(asked)}: {status_in_words(answer)}"
    return Text(printable(words), style=style)


def _objectives(answer: Answer) -> list["RenderableType"]:
    if not answer.objectives:
        return []
    words = [
        f"{objective.name} {quantity(objective.value, objective.unit)}"
        + (f" (bound {quantity(objective.bound, objective.unit)})" if objective.gap > 0 else "")
        for objective in answer.objectives
    ]
    if answer.request.get("tolerance"):  # `search/order.py`: nothing stands between where nothing is conceded
        words.insert(1, "whose weights they are (the model's own first)")
    return [line("Decided by " + ", then ".join(words))]


def _alternatives_heading(answer: Answer) -> str:
    return "Next best" if answer.request.get("top") else "Best on each other SKU"


def explanation_sections(explanation: Explanation) -> list["RenderableType"]:
    """The rules that cannot hold together, SKU by SKU, and the smallest changes that would help."""
    sections: list[RenderableType] = []
    if explanation.conflict:
        sections += [heading("What cannot hold together"), *bullets([_conflict(rule) for rule in explanation.conflict])]
    if explanation.per_gpu:
        sections += [heading("By SKU"), *bullets(list(explanation.per_gpu))]
    if explanation.relaxations:
        messages = [relaxation.message for relaxation in explanation.relaxations]
        sections += [heading("Any one of these would make it feasible"), *bullets(messages)]
    return sections


def sensitivity_section(answer: Answer) -> list["RenderableType"]:
    """What small changes of the request would buy."""
    if not answer.sensitivity:
        return []
    return [heading("What a little more would buy"), *bullets([item.message for item in answer.sensitivity])]


def _conflict(rule: Any) -> str:
    words = f"{rule.rule}: {rule.message.rstrip('.')}."
    if rule.needed is not None and rule.available is not None:
        needed, available = quantity(rule.needed, rule.unit), quantity(rule.available, rule.unit)
        if any(shown.split()[0] not in rule.message for shown in (needed, available)):
            words += f" Needed {needed}, available {available}."
    return words


def _solver(answer: Answer) -> str:
    solver = answer.solver
    return (
        f"{counted(solver.layouts_considered, 'layout')} considered, {count(solver.layouts_solved)} in the model, "
        f"{solver.wall_ms / 1000:.2f} s."
    )
