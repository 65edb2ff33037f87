"""Pieces of an HTML page: every text is escaped here, nothing is loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape

from vllm_opt.optimizer.contract.answer import Memory
from vllm_opt.optimizer.contract.quantities import gib, percent
from vllm_opt.optimizer.rendering.memory_parts import memory_parts
from vllm_opt.profiles.printable import printable

STYLE = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.good { color: var(--good); } .bad { color: var(--bad); }
pre { padding: .8rem; border: 1px solid var(--line); border-radius: 6px; overflow-x: auto; }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .2rem .7rem; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.bar { display: flex; height: 1.6rem; border: 1px solid var(--line); border-radius: 4px; overflow: hidden; }
.weights { background: #4269d0; } .activation { background: #a463f2; } .graphs { background: #efb118; }
.other { background: #ff725c; } .kv { background: #3ca951; } .context { background: #6cc5b0; }
.free { background: #8883; }
.swatch { display: inline-block; width: .8em; height: .8em; border-radius: 2px; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; } footer { margin: 2rem 0; opacity: .7; }
"""


def safe(text: object) -> str:
    """Return text that HTML cannot mistake for markup."""
    return escape(printable(str(text)), quote=True)


def page(title: str, body: Iterable[str]) -> str:
    """Return a whole page that loads nothing and runs nothing."""
    policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    head = [
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{safe(title)}</title>",
        f"<style>{STYLE}</style>",
    ]
    parts = ["<!doctype html>", '<html lang="en">', "<head>", *head, "</head>", "<body>", *body, "</body>", "</html>"]
    return "\n".join(parts)


def section(title: str, *content: str) -> str:
    """A heading with what belongs to it; nothing when there is nothing."""
    return f"<h2>{safe(title)}</h2>\n" + "\n".join(content) if any(content) else ""


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{safe(text)}</p>"


def bullets(sentences: Sequence[str]) -> str:
    """A list of sentences."""
    return "<ul>" + "".join(f"<li>{safe(sentence)}</li>" for sentence in sentences) + "</ul>" if sentences else ""


def preformatted(text: str) -> str:
    """Text in which spaces count."""
    return f"<pre>{safe(text)}</pre>"


def table(headings: Sequence[tuple[str, str]], rows: Sequence[Sequence[str]]) -> str:
    """A table; columns whose side is 'right' hold numbers."""
    if not rows:
        return ""
    head = "".join(f"<th>{safe(name)}</th>" for name, _ in headings)
    body = "".join(f"<tr>{_cells(row, [side for _, side in headings])}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _cells(row: Sequence[str], sides: Sequence[str]) -> str:
    opening = {"right": '<td class="number">', "left": "<td>"}
    return "".join(f"{opening[side]}{safe(cell)}</td>" for cell, side in zip(row, sides, strict=True))


def memory_bar(memory: Memory) -> str:
    """The memory of one GPU as a bar and its legend."""
    parts = [part for part in memory_parts(memory) if part.size_bytes]
    total = sum(part.size_bytes for part in parts) or 1
    bar = "".join(
        f'<span class="{part.key}" title="{safe(part.words)}" '
        f'style="width:{100 * part.size_bytes / total:.3f}%"></span>'
        for part in parts
    )
    legend = "".join(
        f'<tr><td><span class="swatch {part.key}"></span> {safe(part.words)}</td>'
        f'<td class="number">{gib(part.size_bytes)}</td>'
        f'<td class="number">{percent(part.size_bytes / memory.gpu_total_bytes)}</td></tr>'
        for part in parts
    )
    return f'<div class="bar">{bar}</div>\n<table>{legend}</table>'
