"""Renting against buying: what each has cost after so many months, and where the lines cross."""

import math

from vllm_opt.optimizer.charts.axes import Axis, Shown
from vllm_opt.optimizer.charts.lines import Chosen, Series, line_chart
from vllm_opt.optimizer.charts.scale import finite

LEAST_MONTHS, MOST_MONTHS = 12, 60
BEYOND = 1.5
"""How far past the crossing the axis runs, as a multiple of it."""


def crossing_chart(
    name: str, rent_per_month: float, running_per_month: float, capex: float, months: float | None, shown: Shown
) -> str:
    """Draw the sum of rent and the price with its running cost over months; the crossing is marked where it is near."""
    if len(finite((rent_per_month, running_per_month, capex))) < 3:
        return ""
    months = months if finite((months,)) else None
    last = LEAST_MONTHS if months is None else min(max(LEAST_MONTHS, math.ceil(BEYOND * months)), MOST_MONTHS)
    at = [last * step / 6 for step in range(7)]
    series = (
        Series("rent", tuple((month, rent_per_month * month) for month in at)),
        Series("buy and run", tuple((month, capex + running_per_month * month) for month in at)),
    )
    near = months is not None and months <= last
    mark = Chosen(f"{months:.0f} months", months) if near and months is not None else None
    return line_chart(
        name, series, Axis("months of use day and night", "{:.0f}".format), Axis("USD so far", shown), chosen=mark
    )
