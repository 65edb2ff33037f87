"""From an answer and the name of a format to text."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.written_forms import document_as, written_as
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import one_line

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.answer import Answer, Estimate, Plan
    from vllm_opt.optimizer.deployment.deployment import Deployment

WhatIf = list[tuple[dict[str, Any], "Answer"]]


def render_answer(answer: "Answer", format_name: str, screen: Screen) -> str:
    """Return an answer in one of the formats.

    Raises:
        InvalidRequest: the plan cannot be written in this format.
    """
    text = written_as(answer, format_name, lambda: _answer_table(answer, screen), lambda: _answer_page(answer))
    if text is not None:
        return text
    plans = answer.pareto or ((answer.plan,) if answer.plan else ())
    if not plans:
        return _reasons(answer)
    if answer.plan is None or answer.pareto:
        if format_name == "command":
            return _noted(plans[0].notes, "\n".join(_command(plan) for plan in plans))
        raise InvalidRequest(f"--format {format_name} writes one plan; leave --pareto out")
    from vllm_opt.optimizer.deployment.of_plan import deployment_of

    return server_file(deployment_of(answer), format_name)


def render_estimate(estimate: "Estimate", format_name: str, screen: Screen) -> str:
    """Return an estimate in one of the formats; those that start servers start what was asked.

    Raises:
        InvalidRequest: the configuration cannot be written in this format.
    """
    text = written_as(
        estimate, format_name, lambda: _estimate_table(estimate, screen), lambda: _estimate_page(estimate)
    )
    if text is not None:
        return text
    if not estimate.fits:
        messages = [violation.message for violation in estimate.violations]
        return "\n".join(f"# does not fit: {one_line(message)}" for message in messages)
    from vllm_opt.optimizer.estimation.command import command_of_estimate

    command = command_of_estimate(estimate)
    if format_name == "command":
        return _noted(estimate.notes, command)
    from vllm_opt.optimizer.deployment.of_plan import deployment_of_estimate

    return server_file(deployment_of_estimate(estimate, command), format_name)


def render_explanation(answer: "Answer", others: WhatIf, format_name: str, screen: Screen) -> str:
    """Return an explanation and its variants; the formats that start servers take the answer itself."""
    if format_name == "table":
        from vllm_opt.optimizer.rendering.table import explanation_table

        return explanation_table(answer, others, screen)
    if format_name in ("json", "yaml") and others:
        variants = [{"changes": changes, "answer": other.model_dump(mode="json")} for changes, other in others]
        document = {"schema": "vllm-opt/what-if/1", "answer": answer.model_dump(mode="json"), "what_if": variants}
        return document_as(document, format_name)
    return render_answer(answer, format_name, screen)


def _answer_table(answer: "Answer", screen: Screen) -> str:
    from vllm_opt.optimizer.rendering.table import answer_table

    return answer_table(answer, screen)


def _answer_page(answer: "Answer") -> str:
    from vllm_opt.optimizer.rendering.answer_page import answer_page

    return answer_page(answer)


def _estimate_table(estimate: "Estimate", screen: Screen) -> str:
    from vllm_opt.optimizer.rendering.estimate import estimate_table

    return estimate_table(estimate, screen)


def _estimate_page(estimate: "Estimate") -> str:
    from vllm_opt.optimizer.rendering.answer_page import estimate_page

    return estimate_page(estimate)


def _command(plan: "Plan") -> str:
    from vllm_opt.optimizer.deployment.kinds import to_make_first
    from vllm_opt.optimizer.deployment.yaml_text import comment_lines
    from vllm_opt.optimizer.rendering.command import command_line

    return comment_lines(to_make_first(plan)) + command_line(plan.command, plan.env)


def _noted(notes: "Iterable[str]", command: str) -> str:
    """Put the note about a release without a profile, where there is one, above the command as a comment."""
    from vllm_opt.optimizer.deployment.kinds import release_note
    from vllm_opt.optimizer.deployment.yaml_text import comment_lines

    return comment_lines(release_note(notes)) + command


def _reasons(answer: "Answer") -> str:
    """Comments instead of a command: why there is none and what would help."""
    lines = ["no feasible plan" if answer.status == "infeasible" else "no plan found within the time limit"]
    if answer.explanation is not None:
        lines += [f"{rule.rule}: {rule.message}" for rule in answer.explanation.conflict]
        lines += [f"would help: {relaxation.message}" for relaxation in answer.explanation.relaxations]
    return "\n".join(f"# {one_line(line)}" for line in lines)


def server_file(deployment: "Deployment", format_name: str) -> str:
    """A deployment as one text.

    Raises:
        InvalidRequest: it cannot be written in this format.
    """
    from vllm_opt.optimizer.deployment.single_file import command_lines, compose_file, env_file, kubernetes_manifests

    writers: dict[str, Callable[[Deployment], str]] = {
        "command": command_lines,
        "env": env_file,
        "compose": compose_file,
        "kubernetes": kubernetes_manifests,
    }
    return writers[format_name](deployment)
