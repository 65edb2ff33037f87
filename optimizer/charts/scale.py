"""From a number to a place on the paper, and the round numbers that an axis names."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FEW_TICKS = 5
FINITE_MOST = 1e300
DECADES_FOR_LOGARITHMS = 1.3
"""Decades that values span from which on a logarithmic axis shows them better."""


@dataclass(frozen=True)
class Scale:
    """Maps `low`..`high` onto `start`..`end`, by value or by logarithm."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The place of a value; beyond the ends it stays at the end."""
        low, high, here = self.low, self.high, min(max(value, self.low), self.high)
        if self.logarithmic:
            low, high, here = math.log(low), math.log(high), math.log(here)
        share = (here - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self) -> tuple[float, ...]:
        """Round numbers within the scale, a handful."""
        found = _powers(self.low, self.high) if self.logarithmic else _steps(self.low, self.high)
        return tuple(value for value in found if self.low * (1 - 1e-9) <= value <= self.high * (1 + 1e-9))


def finite(values: Iterable[float | None]) -> list[float]:
    """The numbers among them that can be drawn."""
    return [value for value in values if value is not None and math.isfinite(value) and abs(value) < FINITE_MOST]


def scale_from_zero(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale that begins at 0, or below where values do, and ends at a round number above the largest."""
    found = finite(values)
    low, high = min([0.0, *found]), max([0.0, *found])
    step = _step(low, high)
    return Scale(math.floor(low / step) * step, max(math.ceil(high / step - 1e-9), 1) * step, start, end)


def scale_of(values: Sequence[float], start: float, end: float, *, spread: bool = False) -> Scale:
    """A scale for an axis; with `spread` a logarithmic one where positive values span more than a decade or so."""
    found = finite(values)
    positive = [value for value in found if value > 0]
    if spread and positive and len(positive) == len(found):
        low, high = min(positive), max(positive)
        if math.log10(high / low) >= DECADES_FOR_LOGARITHMS:
            return Scale(low / 1.12, high * 1.12, start, end, logarithmic=True)
    return scale_from_zero(found, start, end)


def _step(low: float, high: float) -> float:
    rough = max(high - low, 1e-12) / FEW_TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))


def _steps(low: float, high: float) -> list[float]:
    step = _step(low, high)
    first = math.ceil(low / step - 1e-9)
    return [index * step for index in range(first, first + 3 * FEW_TICKS) if index * step <= high * (1 + 1e-9) + 1e-12]


def _powers(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        if len([value for value in found if low <= value <= high]) <= FEW_TICKS + 2:
            return found
    return found[:: max(1, len(found) // FEW_TICKS)]
