"""A fleet answer as table, JSON, YAML, CSV or HTML, and one deployable file per assignment."""

import csv
import dataclasses
import io
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.optimizer.procurement.words import Section, footer, sections, summary, title_of
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.server_spec import ServerSpec
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

FLEET_FORMATS = ("table", "json", "yaml", "csv", "html")
FILE_ENDINGS: Mapping[str, str] = {
    "command": "sh", "env": "env", "compose": "compose.yaml", "kubernetes": "kubernetes.yaml"
}  # fmt: skip
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


@dataclasses.dataclass(frozen=True)
class FleetServerSpec(ServerSpec):
    """The servers of one assignment; several of one model stand side by side, so the name tells them apart."""

    label: str = ""

    @property
    def name(self) -> str:
        """A DNS name of at most 50 characters: number, workload and SKU."""
        plain = re.sub(r"[^a-z0-9]+", "-", f"vllm-{self.label}".lower()).strip("-")
        return plain[:50].strip("-")


def deployable_files(answer: FleetAnswer, format_name: str) -> dict[str, str]:
    """Return one file per assignment, by name, written by the ordinary renderers.

    Raises:
        InvalidRequest: the format writes no servers.
    """
    from vllm_opt.optimizer.rendering.command import command_line
    from vllm_opt.optimizer.rendering.formats import _server_file
    from vllm_opt.optimizer.rendering.server_spec import spec_of_plan, to_make_first
    from vllm_opt.profiles.catalogues.catalog import Catalog

    if format_name not in FILE_ENDINGS:
        raise InvalidRequest(f"--deploy '{format_name}' is not one of {', '.join(FILE_ENDINGS)}")
    catalog = Catalog(gpu_file=answer.request.get("gpu_file"))
    files: dict[str, str] = {}
    for number, item in enumerate(answer.assignments, 1):
        name = re.sub(r"[^A-Za-z0-9.-]+", "-", f"{number:02d}-{item.workload}-{item.gpu}")
        if format_name == "command":
            lines = [
                "#!/bin/sh",
                "# one server" if item.replicas == 1 else f"# {counted(item.replicas, 'server')} like this one",
                f"{to_make_first(item.plan)}{command_line(item.plan.command, item.plan.env)}",
            ]
            files[f"{name}.sh"] = "\n".join([*lines, ""])
        else:
            spec = spec_of_plan(item.plan, catalog.gpu(item.plan.gpu))
            fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec)}
            text = to_make_first(item.plan) + _server_file(FleetServerSpec(**fields, label=name), format_name)
            files[f"{name}.{FILE_ENDINGS[format_name]}"] = text
    return files
