"""The picture of the rooms: `python docs/pictures/house.py` writes house.svg beside this file.

An arrow reads "is used by". tests/test_documents.py holds every arrow to the door of the room that it leads to.
"""

from pathlib import Path

COLUMNS = {
    "profiles: what exists": (("reading",), ("nouns",), ("configs",), ("catalogues",), ("checking",)),
    "constraints: what must hold": (
        ("decisions",), ("weights", "kv"), ("memory", "layouts", "speed", "money"), ("judging", "queueing"), ("rules",),
    ),
    "optimizer: found, explained, shown": (
        ("contract", "serve_lines"), ("estimation", "fleet"), ("space", "deployment"),
        ("search", "planning"), ("cpsat", "questions", "rendering"), ("explanation", "procurement"),
        ("solver", "summary"), ("linter", "batches"), ("cli",),
    ),
}  # fmt: skip
ARROWS = (
    ("reading", "nouns"), ("nouns", "configs"), ("configs", "catalogues"), ("catalogues", "checking"),
    ("decisions", "weights"), ("decisions", "kv"), ("weights", "memory"), ("kv", "memory"), ("weights", "layouts"),
    ("kv", "layouts"), ("decisions", "speed"), ("speed", "queueing"), ("memory", "judging"), ("money", "judging"),
    ("judging", "rules"), ("layouts", "rules"),
    ("contract", "estimation"), ("serve_lines", "estimation"), ("estimation", "space"), ("space", "search"),
    ("space", "planning"), ("planning", "questions"), ("questions", "explanation"), ("explanation", "solver"),
    ("search", "cpsat"), ("cpsat", "solver"), ("fleet", "procurement"), ("planning", "procurement"),
    ("contract", "deployment"), ("deployment", "rendering"), ("rendering", "summary"), ("summary", "cli"),
    ("solver", "linter"), ("solver", "batches"), ("linter", "cli"), ("batches", "cli"), ("procurement", "cli"),
)  # fmt: skip
WIDTH, HEIGHT, GAP, STEP, LEFT, TITLE = 92, 28, 12, 118, 20, 34


def drawn() -> str:
    """The picture as SVG."""
    boxes: dict[str, tuple[int, int]] = {}
    parts: list[str] = []
    top, wide = 10, 2 * LEFT + STEP * max(map(len, COLUMNS.values())) - (STEP - WIDTH)
    for number, (title, columns) in enumerate(COLUMNS.items()):
        rows = max(map(len, columns))
        tall = TITLE + rows * (HEIGHT + GAP) + 6
        parts.append(f'<rect class="band" x="8" y="{top}" width="{wide - 16}" height="{tall}" rx="8"/>')
        parts.append(f'<text class="title" x="{LEFT}" y="{top + 21}">{title}</text>')
        for column, rooms in enumerate(columns):
            for row, room in enumerate(rooms):
                boxes[room] = (LEFT + column * STEP, top + TITLE + row * (HEIGHT + GAP))
        top += tall + 26
        if number + 1 < len(COLUMNS):
            parts.append(f'<path class="arrow" d="M{wide // 2},{top - 25} V{top - 3}"/>')
    parts += [_arrow(*boxes[start], *boxes[end]) for start, end in ARROWS]
    for room, (x, y) in boxes.items():
        parts.append(f'<rect class="room" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>')
        parts.append(f'<text class="name" x="{x + WIDTH // 2}" y="{y + 18}">{room}</text>')
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {top - 16}" width="{wide}" \
height="{top - 16}" role="img" aria-label="The rooms of the three packages, and which is used by which">
<style>
.ground {{ fill: #fff }} .band {{ fill: #f3f4f8; stroke: #c9cddb }} .room {{ fill: #fff; stroke: #3f51b5 }}
.arrow {{ fill: none; stroke: #6b7390; marker-end: url(#tip) }}
text {{ font: 12px system-ui, sans-serif; fill: #1d2233 }} .name {{ text-anchor: middle }}
.title {{ font-weight: 600; font-size: 13px }}
</style>
<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">\
<path d="M0,0 L8,4 L0,8 z" fill="#6b7390"/></marker></defs>
<rect class="ground" width="{wide}" height="{top - 16}"/>
{body}
</svg>
"""


def _arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    """From the right edge to the left edge; within a column, from top to bottom."""
    middle = HEIGHT // 2
    if x == to_x:
        down = to_y > y
        start, end = (y + HEIGHT, to_y - 1) if down else (y, to_y + HEIGHT + 1)
        return f'<path class="arrow" d="M{x + WIDTH // 2},{start} V{end}"/>'
    start_x, end_x, bend = x + WIDTH, to_x - 1, (STEP - WIDTH) // 2 + 6
    return (
        f'<path class="arrow" d="M{start_x},{y + middle} C{start_x + bend},{y + middle} '
        f'{end_x - bend},{to_y + middle} {end_x},{to_y + middle}"/>'
    )


if __name__ == "__main__":
    (Path(__file__).parent / "house.svg").write_text(drawn(), encoding="utf-8")
