"""The whole summary: verdict, command in the first ten lines, figures, close calls, assumptions, warnings."""

from vllm_opt.optimizer.contract.answer import Answer, Explanation, Plan
from vllm_opt.optimizer.contract.quantities import quantity
from vllm_opt.optimizer.rendering.command import wrapped_command
from vllm_opt.optimizer.rendering.plan_words import load_in_words as traffic_in_words
from vllm_opt.optimizer.rendering.plan_words import only_prompts, parallelism, start_sentences, status_in_words
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.summary.close_calls import close_call_lines
from vllm_opt.optimizer.summary.lines import plain, prose
from vllm_opt.optimizer.summary.speed import memory_line, speed_lines
from vllm_opt.optimizer.summary.words import (
    assumptions,
    bill_in_words,
    context_in_words,
    duration,
    load_in_words,
    notes_worth_a_line,
    sentence,
    warnings,
    weights_in_brief,
)
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

MOST_RELAXATIONS = 5
COLOURS = {"optimal": "bold green", "feasible": "bold yellow"}
FOOTER = "More: --full (every number), --why (rules), --format json, --help (all formats)."


def summary_of_answer(answer: Answer, screen: Screen, *, why: bool = False) -> str:
    """Return the answer as text of some thirty lines; `why` adds the rules that bind or conflict."""
    title, *rest = _title(answer, screen)
    body = list(rest)
    if answer.plan is not None:
        body += _plan(answer, answer.plan, screen)
    if answer.explanation is not None:
        body += _explanation(answer.explanation, screen, why=why)
    if why and answer.plan is not None:
        body += _binding(answer.plan, screen)
    told = [line for words in assumptions(answer.request) for line in prose(words, screen)]
    told += [line for words in notes_worth_a_line(answer) for line in prose(words, screen)]
    if answer.doubt is not None:
        told += prose(f"Doubt: {answer.doubt.message}.", screen)
    body += ["", *told, *prose(FOOTER, screen)]
    return "\n".join([_coloured(title, answer.status, screen), *body]) + "\n"


def _title(answer: Answer, screen: Screen) -> list[str]:
    """Model, cards and load on the left, the verdict on the right or below."""
    request, plan = answer.request, answer.plan
    model = str(request.get("model", "model"))
    where = f" on {plan.gpu_count} x {plan.gpu}" if plan else ""
    left, status = f"{model}{where}, {load_in_words(request)}", _status(answer)
    left = plain(left, screen)
    if len(left) + len(status) + 2 <= screen.width:
        return [left + " " * (screen.width - len(left) - len(status)) + status]
    return [*prose(left, screen), *prose(status, screen)]


def _status(answer: Answer) -> str:
    return "PROVEN OPTIMAL" if answer.status == "optimal" else sentence(status_in_words(answer))


def _coloured(line: str, status: str, screen: Screen) -> str:
    if not screen.colour:
        return line
    from rich.color import ColorSystem
    from rich.style import Style

    return Style.parse(COLOURS.get(status, "bold red")).render(line, color_system=ColorSystem.STANDARD)


def _plan(answer: Answer, plan: Plan, screen: Screen) -> list[str]:
    request, speed = answer.request, plan.performance
    first = f"{traffic_in_words(speed)}, {context_in_words(plan, request)}"
    first += f": {'an answer' if only_prompts(speed) else 'first token'} in {duration(speed.ttft_ms)}"
    if speed.tpot_ms:
        first += f", then {1000 / speed.tpot_ms:.3g} tokens/s"
    per_server = plan.gpu_count // plan.replicas
    servers = "one server" if plan.replicas == 1 else f"each of {plan.replicas} servers"
    run = f"Run {servers} on {counted(per_server, 'GPU')} ({parallelism(plan)}), vLLM {plan.vllm_version}; "
    command = printable(wrapped_command(plan.command, plan.env, screen.width - 2)).split("\n")
    warned = [line for words in warnings(plan, request) for line in prose(words, screen, first="! ")]
    calls = close_call_lines(answer, screen)
    return [
        *prose(f"{first}. {sentence(bill_in_words(plan.cost))}", screen),
        "",
        *prose(f"{run}{weights_in_brief(plan)}:", screen),
        *(f"  {line}" for line in command),
        *(words for sentence in start_sentences(plan) for words in ("", *prose(sentence, screen))),
        "",
        *speed_lines(plan, request, screen),
        *memory_line(plan.memory, screen),
        *(["", *calls] if calls else []),
        *(["", *warned] if warned else []),
    ]


def _explanation(explanation: Explanation, screen: Screen, *, why: bool) -> list[str]:
    lines = ["", "In the way, together:"] if explanation.conflict else []
    for rule in explanation.conflict:
        lines += prose(f"{rule.rule}: {rule.message.rstrip('.')}.", screen, first="  - ")
    shown = explanation.relaxations if why else explanation.relaxations[:MOST_RELAXATIONS]
    if shown:
        lines += ["", "Any one of these would help:" if len(shown) > 1 else "This would help:"]
        for relaxation in shown:
            lines += prose(relaxation.message, screen, first="  - ")
        more = len(explanation.relaxations) - len(shown)
        lines += [f"  and {more} more behind --why"] if more else []
    if why and explanation.per_gpu:
        lines += ["", "By card:"]
        for words in explanation.per_gpu:
            lines += prose(words, screen, first="  - ")
    return lines


def _binding(plan: Plan, screen: Screen) -> list[str]:
    lines = ["", "Rules, the tightest first:"]
    for rule in plan.binding:
        words = f"{rule.rule}: {rule.message.rstrip('.')}, {quantity(rule.slack, rule.unit)} to spare."
        lines += prose(words, screen, first="  - ")
    return lines
