"""What one figure becomes when one assumption at a time moves: the widest swing on top."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.charts.axes import Shown
from vllm_opt.optimizer.charts.scale import Scale, finite
from vllm_opt.optimizer.charts.svg import (
    SMALL_TEXT,
    TEXT_SIZE,
    WIDTH,
    colour,
    drawing,
    element,
    line,
    shortened,
    title,
    width_of,
    words,
)

ROW, LEGEND = 44, 24


@dataclass(frozen=True)
class Swing:
    """One assumption, and the figure with less and with more of it; None: not known."""

    name: str
    less: float | None
    more: float | None
    less_words: str = "-20 %"
    more_words: str = "+20 %"

    @property
    def width(self) -> float:
        """From the lowest to the highest of what is known."""
        ends = finite((self.less, self.more))
        return max(ends) - min(ends) if len(ends) == 2 else 0.0


def tornado_chart(name: str, base: float, swings: Sequence[Swing], shown: Shown) -> str:
    """Draw one bar an assumption around the present figure; nothing where none is known."""
    known = [swing for swing in swings if finite((swing.less, swing.more))]
    if not known or not finite((base,)):
        return ""
    known = sorted(
        known, key=lambda swing: (-max(abs(end - base) for end in finite((swing.less, swing.more))), swing.name)
    )
    ends = [base, *(end for swing in known for end in finite((swing.less, swing.more)))]
    room = max(width_of(shown(end), SMALL_TEXT) for end in ends) + 8
    spread = max(max(ends) - min(ends), abs(base) * 0.02, 1e-9)
    scale = Scale(min(ends) - spread * 0.02, max(ends) + spread * 0.02, room, WIDTH - room)
    middle, floor = scale.at(base), LEGEND + ROW * len(known)
    pieces = [
        part for index, swing in enumerate(known) for part in _swing(swing, LEGEND + index * ROW, base, scale, shown)
    ]
    pieces += [line(middle, LEGEND, middle, floor, "currentColor", stroke_dasharray="2 3")]
    pieces += [words(f"now {shown(base)}", middle, 14, anchor="middle", size=SMALL_TEXT, font_weight="600")]
    listed = "; ".join(
        f"{swing.name}: "
        + ", ".join(
            f"{said} {shown(end)}"
            for said, end in ((swing.less_words, swing.less), (swing.more_words, swing.more))
            if end is not None
        )
        for swing in known
    )
    return drawing(floor + 4, name, f"Now {shown(base)}. {listed}.", pieces)


def _swing(swing: Swing, top: float, base: float, scale: Scale, shown: Shown) -> list[str]:
    middle = scale.at(base)
    ends_said = f"{swing.less_words}  {swing.more_words}"
    room = WIDTH - width_of(ends_said, SMALL_TEXT) - 24
    after = width_of(shortened(swing.name, room)) + 10
    pieces = [
        words(shortened(swing.name, room), 0, top + 14, size=TEXT_SIZE),
        words(swing.less_words, after, top + 14, size=SMALL_TEXT, fill=colour(0)),
        words(
            swing.more_words,
            after + width_of(swing.less_words, SMALL_TEXT) + 10,
            top + 14,
            size=SMALL_TEXT,
            fill=colour(1),
        ),
    ]
    for index, (said, end) in enumerate(((swing.less_words, swing.less), (swing.more_words, swing.more))):
        if not finite((end,)) or end is None:
            continue
        at = scale.at(end)
        tip = title(f"{swing.name} {said}: {shown(end)}")
        pieces.append(
            element(
                "rect",
                tip,
                x=min(at, middle),
                y=top + 20,
                width=max(abs(at - middle), 1.5),
                height=16,
                fill=colour(index),
            )
        )
        left = at < middle or (at == middle and index == 0)
        pieces.append(
            words(shown(end), at - 5 if left else at + 5, top + 33, anchor="end" if left else "start", size=SMALL_TEXT)
        )
    return pieces
