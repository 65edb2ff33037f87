"""A fleet answer as table, JSON, YAML, CSV or HTML, and the files that start it."""

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.optimizer.procurement.words import Section, footer, sections, summary, title_of
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

FLEET_FORMATS = ("table", "json", "yaml", "csv", "html")
DEPLOY_EMITS: Mapping[str, str | None] = {
    "command": "scripts", "env": None, "compose": "compose", "kubernetes": "kubernetes"
}  # fmt: skip
"""Format of --deploy -> part of the deployment folder; None: one file a service."""
CSV_HEADINGS = (
    "workload", "gpu", "replicas", "gpus", "gpu_part", "unit", "load", "capacity", "utilisation", "quantization",
    "kv_cache_dtype", "tensor_parallel_size", "pipeline_parallel_size", "checkpoint", "command",
)  # fmt: skip
ORDER_CSV_HEADINGS = (
    "order", "gpu", "kind", "provider", "what", "nodes", "gpus", "idle_gpus", "usd_per_hour", "usd_per_month",
    "capex_usd", "watts", "rack_units", "source", "as_of", "synthetic",
)  # fmt: skip


def render_fleet(answer: FleetAnswer, format_name: str, screen: Screen) -> str:
    """Return the answer in one of the formats.

    Raises:
        InvalidRequest: the format is unknown.
    """
    if format_name == "table":
        return fleet_table(answer, screen)
    if format_name == "html":
        return fleet_page(answer)
    if format_name == "csv":
        return fleet_csv(answer)
    document = answer.model_dump(mode="json")
    if format_name == "json":
        from vllm_opt.optimizer.rendering.as_json import as_json

        return as_json(document)
    if format_name == "yaml":
        from vllm_opt.optimizer.rendering.as_yaml import as_yaml

        return as_yaml(document)
    raise InvalidRequest(f"format '{format_name}' is not one of {', '.join(FLEET_FORMATS)}")


def fleet_table(answer: FleetAnswer, screen: Screen) -> str:
    """Draw the answer for a terminal."""
    from rich.text import Text

    from vllm_opt.optimizer.rendering.plan import bullets, heading, line
    from vllm_opt.optimizer.rendering.screen import drawn
    from vllm_opt.optimizer.rendering.tables import table_of
    from vllm_opt.profiles.printable import printable

    style = {"optimal": "bold green", "feasible": "bold yellow"}.get(answer.status, "bold red")
    parts: list[RenderableType] = [Text(printable(title_of(answer)), style=style)]
    parts += [line(sentence) for sentence in summary(answer)]
    for section in sections(answer):
        parts.append(heading(section.title))
        parts += [table_of(section.headings, section.rows, screen)] if section.rows else bullets(section.sentences)
    return drawn(*parts, line(""), line(footer(answer)), screen=screen)


def fleet_page(answer: FleetAnswer) -> str:
    """Write the answer as one self-contained page."""
    from vllm_opt.optimizer.rendering.command import wrapped_command
    from vllm_opt.optimizer.rendering.html_parts import page, paragraph, preformatted, safe, section

    colour = "good" if answer.status in ("optimal", "feasible") else "bad"
    body = [f'<h1 class="{colour}">{safe(title_of(answer))}</h1>']
    body += [paragraph(sentence) for sentence in summary(answer)]
    body += [section(part.title, _section_html(part)) for part in sections(answer)]
    commands = [
        paragraph(f"{item.workload} on {item.gpu}, {item.replicas} times")
        + preformatted(wrapped_command(item.plan.command, item.plan.env, 100))
        for item in answer.assignments
    ]
    body += [section("Commands", *commands), f"<footer>{safe(footer(answer))}</footer>"]
    return page(title_of(answer), body)


def _section_html(part: Section) -> str:
    from vllm_opt.optimizer.rendering.html_parts import bullets, table

    return table(part.headings, part.rows) if part.rows else bullets(part.sentences)


def fleet_csv(answer: FleetAnswer) -> str:
    """Write two tables for a spreadsheet: the orders, an empty line, the assignments."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(ORDER_CSV_HEADINGS)
    for position, order in enumerate(answer.nodes, 1):
        fields = order.model_dump(exclude={"placement"})
        writer.writerow([position, *(_cell(fields[name]) for name in ORDER_CSV_HEADINGS[1:])])
    writer.writerow([])
    writer.writerow(CSV_HEADINGS)
    for item in answer.assignments:
        fields = {
            **item.plan.model_dump(exclude={"memory", "performance", "cost"}),
            **item.model_dump(exclude={"plan"}),
        }
        writer.writerow([_cell(fields[name]) for name in CSV_HEADINGS])
    return stream.getvalue()


def _cell(value: object) -> object:
    """A spreadsheet reads a leading =, +, - or @ as a formula, after a tab too: a quote in front keeps text text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def deployable_files(answer: FleetAnswer, format_name: str) -> dict[str, str]:
    """Return the files of one format, by name: start scripts and compose files one a node, manifests one a service.

    Raises:
        InvalidRequest: the format writes no servers, or the answer has no fleet.
    """
    from vllm_opt.optimizer.deployment.files import EMITS
    from vllm_opt.optimizer.deployment.single_file import env_file
    from vllm_opt.optimizer.procurement.deployment import deployment_of_fleet

    if format_name not in DEPLOY_EMITS:
        raise InvalidRequest(f"--deploy '{format_name}' is not one of {', '.join(DEPLOY_EMITS)}")
    deployment = deployment_of_fleet(answer)
    emit = DEPLOY_EMITS[format_name]
    if emit is None:
        return {
            f"{service.name}.env": env_file(deployment.model_copy(update={"services": (service,)})) + "\n"
            for service in deployment.services
        }
    return {path.partition("/")[2]: text for path, text in EMITS[emit](deployment).items()}
