"""A fleet answer as table, JSON, YAML, CSV, workbook or HTML, and the files that start it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.orders.order_sums import depreciation_years, paid_in
from vllm_opt.optimizer.orders.words import footer, sections, summary, title_of
from vllm_opt.optimizer.procurement.answer import Assignment, FleetAnswer, ServedDemand
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.rendering.written_forms import written_as
from vllm_opt.optimizer.report.table_files import SheetTable, csv_text, workbook
from vllm_opt.profiles.errors import InvalidRequest

if TYPE_CHECKING:
    from rich.console import RenderableType

FLEET_FORMATS = ("table", "json", "yaml", "csv", "html")
DEPLOY_EMITS: Mapping[str, str | None] = {
    "command": "scripts", "env": None, "compose": "compose", "kubernetes": "kubernetes"
}  # fmt: skip
"""Format of --deploy -> part of the deployment folder; None: one file a service."""
SERVER_COLUMNS = (
    "workload", "gpu", "replicas", "gpus", "gpu_part", "unit", "load", "capacity", "utilisation", "quantization",
    "kv_cache_dtype", "tensor_parallel_size", "pipeline_parallel_size", "checkpoint", "ttft_ms", "ttft_ms_low",
    "ttft_ms_high", "tpot_ms", "tpot_ms_low", "tpot_ms_high", "command",
)  # fmt: skip
ORDER_COLUMNS = (
    "gpu", "kind", "provider", "what", "nodes", "gpus", "idle_gpus", "usd_per_hour", "usd_per_month",
    "capex_usd", "watts", "rack_units", "source", "as_of", "synthetic",
)  # fmt: skip


def render_fleet(answer: FleetAnswer, format_name: str, screen: Screen, table: str = "orders") -> str:
    """Return the answer in one of the formats; `table` is the one that CSV writes.

    Raises:
        InvalidRequest: the format is unknown.
    """
    if format_name == "csv":
        return fleet_csv(answer, table)
    text = written_as(answer, format_name, lambda: fleet_table(answer, screen), lambda: _page(answer))
    if text is None:
        raise InvalidRequest(f"format '{format_name}' is not one of {', '.join(FLEET_FORMATS)}")
    return text


def _page(answer: FleetAnswer) -> str:
    from vllm_opt.optimizer.orders.page import fleet_page

    return fleet_page(answer)


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


def fleet_tables(answer: FleetAnswer) -> dict[str, SheetTable]:
    """The tables of a fleet for a spreadsheet, by name: what to order, the servers, the workloads."""
    spread = depreciation_years(answer)
    orders = [
        (
            position,
            *(getattr(order, name) for name in ORDER_COLUMNS),
            *(round(paid_in(order, years, spread), 2) for years in (1, 3)),
        )
        for position, order in enumerate(answer.nodes, 1)
    ]
    servers = [tuple(_server_fields(item)[name] for name in SERVER_COLUMNS) for item in answer.assignments]
    workloads = [tuple(getattr(item, name) for name in ServedDemand.model_fields) for item in answer.workloads]
    tables = (
        SheetTable("orders", ("order", *ORDER_COLUMNS, "usd_1_year", "usd_3_years"), tuple(orders)),
        SheetTable("servers", SERVER_COLUMNS, tuple(servers)),
        SheetTable("workloads", tuple(ServedDemand.model_fields), tuple(workloads)),
    )
    return {table.name: table for table in tables}


def _server_fields(item: Assignment) -> dict[str, Any]:
    plan = item.plan.model_dump(exclude={"memory", "performance", "performance_full", "cost"})
    speed, ends = item.plan.performance, item.plan.performance.interval
    times = {
        f"{name}{end}": ends[name][at] if name in ends else None
        for name in ("ttft_ms", "tpot_ms") for at, end in enumerate(("_low", "_high"))
    }  # fmt: skip
    return {**plan, **item.model_dump(exclude={"plan"}), "ttft_ms": speed.ttft_ms, "tpot_ms": speed.tpot_ms, **times}


def fleet_csv(answer: FleetAnswer, table: str = "orders") -> str:
    """One table of the fleet as comma-separated values.

    Raises:
        InvalidRequest: there is no such table.
    """
    tables = fleet_tables(answer)
    if table not in tables:
        raise InvalidRequest(f"--table '{table[:40]}' is not one of {', '.join(tables)}")
    return csv_text(tables[table])


def fleet_workbook(answer: FleetAnswer) -> bytes:
    """Every table of the fleet as a sheet of one workbook.

    Raises:
        InvalidRequest: openpyxl is not installed.
    """
    return workbook(list(fleet_tables(answer).values()))


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
