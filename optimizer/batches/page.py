"""index.html: every model with its workloads and SKUs, self-contained, nothing runs in it."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby

from vllm_opt.optimizer.batches.rows import STATUS_WORDS, IndexRow
from vllm_opt.optimizer.contract.quantities import count, dollars, milliseconds, percent, rate
from vllm_opt.optimizer.rendering.html_parts import bullets, page, paragraph, safe
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset
from vllm_opt.profiles.reading.quantities import counted
from vllm_opt.profiles.version import installed_version

OWN_STYLE = """<style>
body { max-width: 90rem; } details { border-top: 1px solid var(--line); padding: .3rem 0; }
summary { cursor: pointer; } td { min-width: 9rem; } td.none { opacity: .75; max-width: 18rem; }
td small, th small, summary small { opacity: .75; font-weight: normal; }
</style>"""


def ordered(workloads: Sequence[WorkloadPreset]) -> list[WorkloadPreset]:
    """Workloads by name: the order in which they were asked for does not count."""
    return sorted(workloads, key=lambda preset: preset.id)


def index_page(rows: Sequence[IndexRow], workloads: Sequence[WorkloadPreset], *, complete: bool) -> str:
    """Return the page; rows must be in the order of their cells."""
    counts = Counter(row.status for row in rows)
    listed = [f"{STATUS_WORDS[status]}: {number:,}" for status, number in sorted(counts.items())]
    body = [
        OWN_STYLE,
        "<h1>Recommended vLLM configurations</h1>",
        paragraph(f"{counted(len(rows), 'cell')} by vllm-opt {installed_version()}."),
        "" if complete else paragraph("This run was interrupted: only what is finished is listed. --resume goes on."),
        bullets(listed),
        paragraph(
            "Each entry links to a file for vllm serve --config. Speed is predicted at full load; the file holds "
            "intervals, memory and the source of the price."
        ),
        _workloads(workloads),
        *(_model(model, list(group)) for model, group in groupby(rows, key=lambda row: row.model)),
    ]
    return page("Recommended vLLM configurations", [part for part in body if part]) + "\n"


def _workloads(workloads: Sequence[WorkloadPreset]) -> str:
    lines = [
        f"<dt>{safe(preset.id)}</dt><dd>{safe(_workload(preset))}<ul>"
        + "".join(f"<li><small>{safe(field)}: {safe(source)}</small></li>" for field, source in preset.sources.items())
        + "</ul></dd>"
        for preset in ordered(workloads)
    ]
    title = "What the workloads are, and where their numbers come from"
    return f"<details><summary>{title}</summary><dl>{''.join(lines)}</dl></details>"


def _workload(preset: WorkloadPreset) -> str:
    limits = [f"TTFT within {milliseconds(preset.max_ttft_ms)}"] if preset.max_ttft_ms is not None else []
    limits += [f"TPOT within {milliseconds(preset.max_tpot_ms)}"] if preset.max_tpot_ms is not None else []
    cached = [f"{percent(preset.prefix_hit_share)} of the prompt cached"] if preset.prefix_hit_share else []
    parts = [
        f"{count(preset.input_tokens)} tokens in",
        f"{count(preset.output_tokens)} out",
        f"{count(preset.concurrency)} at once",
        f"up to {count(preset.target_context)} each",
        *cached,
        *limits,
    ]
    return f"{preset.description} {', '.join(parts)}.".strip()


def _model(model: str, rows: Sequence[IndexRow]) -> str:
    answered = sum(row.file is not None for row in rows)
    skus = list(dict.fromkeys(row.gpu for row in rows))
    head = "".join(f"<th>{safe(sku)}</th>" for sku in skus)
    lines = []
    for label, group in groupby(rows, key=_label):
        by_sku = {row.gpu: row for row in group}
        cells = "".join(_cell(by_sku.get(sku)) for sku in skus)
        workload, details = label
        lines.append(f"<tr><th>{safe(workload)}<br><small>{safe(details)}</small></th>{cells}</tr>")
    return (
        f"<details><summary>{safe(model)} <small>{answered} of {len(rows)} have a configuration</small></summary>"
        f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
        "</details>"
    )


def _label(row: IndexRow) -> tuple[str, str]:
    return row.workload, f"{row.objective.replace('+', ' then ')}, vLLM {row.vllm_version}"


def _cell(row: IndexRow | None) -> str:
    if row is None:
        return "<td></td>"
    if row.file is None:
        return f'<td class="none">{safe(STATUS_WORDS[row.status])}<br><small>{safe(row.reason or "")}</small></td>'
    price = f"{dollars(row.usd_per_hour)} per hour" if row.usd_per_hour is not None else "no price"
    speed = [f"{rate(row.output_tokens_per_s or 0)} tok/s"]
    speed += [f"TTFT {milliseconds(row.ttft_ms)}"] if row.ttft_ms is not None else []
    speed += [f"TPOT {milliseconds(row.tpot_ms)}"] if row.tpot_ms is not None else []
    return (
        f'<td><a href="{safe(row.file)}">{safe(_servers(row))}</a><br>{safe(price)}<br>'
        f"<small>{safe(', '.join(speed))}</small></td>"
    )


def _servers(row: IndexRow) -> str:
    servers = f", {counted(row.replicas or 1, 'server')}" if (row.replicas or 1) > 1 else ""
    return f"{counted(row.gpu_count or 1, 'GPU')}{servers}, {row.quantization}"
