"""A `Simulation` for the terminal: a table beside the closed forms, and TTFT over time; and as CSV."""

import csv
import io
from typing import TYPE_CHECKING

from vllm_opt.optimizer.contract.quantities import milliseconds, percent, rate
from vllm_opt.optimizer.contract.simulation import PlayedRequest, Simulation
from vllm_opt.optimizer.rendering.estimate import configuration_in_words
from vllm_opt.optimizer.rendering.plan import bullets, heading, line, notes_section, speed_heading
from vllm_opt.optimizer.rendering.screen import Screen, drawn
from vllm_opt.optimizer.rendering.tables import table_of
from vllm_opt.profiles.reading.quantities import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

ROWS = 8
NAMES = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2e_ms": "end to end"}
SHOWN = ("mean", "p50", "p90", "p95", "p99")


def simulation_table(answer: Simulation, screen: Screen) -> str:
    """Draw the whole simulation."""
    subject = configuration_in_words(answer.request)
    if answer.played is None or answer.closed_form is None:
        reasons = [f"{item.rule}: {item.message.rstrip('.')}." for item in answer.violations]
        title = line(f"{subject}: does not start; nothing was played")
        return drawn(title, "", *bullets(reasons), screen=screen)
    played = answer.played
    words = (
        f"{counted(played.requests, 'request')} in {played.duration_s:,.1f} s: {rate(played.output_tokens_per_s)} "
        f"output tokens/s, {rate(played.requests_per_s)} requests/s, engines at work {percent(played.utilization)} of "
        f"the time, {counted(played.steps, 'step')}, {counted(played.preemptions, 'preemption')}"
    )
    title = line(f"{subject}: played, step by step")
    sections: list[RenderableType] = [title, heading(speed_heading(answer.closed_form, answer.request)), line(words)]
    headings = [("over requests", "left"), *((name, "right") for name in SHOWN)]
    sections.append(table_of(headings, rows(answer), screen))
    drawing = picture(answer, screen)
    if drawing:
        sections += [heading("TTFT by time of arrival: half of the requests below the dark part, 95 % below the light")]
        sections += list(drawing)
    return drawn(*sections, *notes_section(answer.notes), screen=screen)


def rows(answer: Simulation) -> list[list[str]]:
    """What was played, and below it what the closed forms say."""
    found = []
    played, form = answer.played, answer.closed_form
    for name, words in NAMES.items():
        values = played.times.get(name) if played is not None else None
        if not values or form is None:
            continue
        means = {"mean": getattr(form, name)} | form.percentiles.get(name, {})
        found.append([f"{words}, played", *(milliseconds(values[key]) for key in SHOWN)])
        found.append(["  closed form", *(milliseconds(means[key]) if key in means else "" for key in SHOWN)])
    return found


def picture(answer: Simulation, screen: Screen) -> list[str]:
    """One column per piece of time; the dark part ends at p50, the light one at p95."""
    pieces = answer.timeline
    known = [piece.ttft_ms["p95"] for piece in pieces if piece.ttft_ms]
    if not known:
        return []
    dark, light = ("█", "░") if screen.unicode else ("#", ":")
    top, label = max(known), 10
    group = max(1, -(-len(pieces) // max(10, screen.width - label - 2)))
    columns = [pieces[at : at + group] for at in range(0, len(pieces), group)]
    heights = [
        tuple(
            max((piece.ttft_ms.get(key, 0.0) for piece in column), default=0.0) / top * ROWS for key in ("p50", "p95")
        )
        for column in columns
    ]
    lines = []
    for row in range(ROWS, 0, -1):
        value = milliseconds(top * row / ROWS).rjust(label - 1)
        cells = "".join(dark if low >= row - 0.5 else light if high >= row - 0.5 else " " for low, high in heights)
        lines.append(f"{value} |{cells}".rstrip())
    ends = f"{pieces[0].from_s:,.0f} s", f"{pieces[-1].to_s:,.0f} s"
    width = len(columns)
    lines.append(" " * (label - 1) + " +" + "-" * width)
    lines.append(" " * (label + 1) + ends[0] + ends[1].rjust(max(1, width - len(ends[0]))))
    return lines


def simulation_csv(log: tuple[PlayedRequest, ...]) -> str:
    """Every request as one line."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    fields = tuple(PlayedRequest.model_fields)
    writer.writerow(fields)
    for one in log:
        values = one.model_dump()
        writer.writerow(["" if values[name] is None else values[name] for name in fields])
    return out.getvalue()
