"""How good the latency model is on what it has not seen: whole sources, models, SKUs, configurations; and its choices.

A fit without some rows is one Gauss-Newton step from the full fit over the rows that stay, with the same priors; the
prediction that is judged is then the true model's. Constants that nothing touches any more go back to their priors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vllm_opt.constraints.speed.spread import Metric, quantile_of
from vllm_opt.constraints.speed.step_time import BASES, LatencyCoefficients, Numbers
from vllm_opt.optimizer.fitting.latency.calibration import (
    FEW_POINTS,
    LEAST_SPREAD,
    NORMAL_90,
    known_only,
    spread_of_rows,
)
from vllm_opt.optimizer.fitting.latency.cells import Mask, cells_of
from vllm_opt.optimizer.fitting.latency.parameters import apply
from vllm_opt.optimizer.fitting.latency.regression import PRIOR_WEIGHT, Fit, Regression
from vllm_opt.optimizer.fitting.latency.replay import METRICS, Replay, log_errors, predict_all
from vllm_opt.profiles.nouns.latency_constants import LatencyBasis, LatencyConstants, Spread

LONGEST_STEP = 0.7
COVERAGE_ROOM = 0.04
POOLED_ROOM = 0.05
"""What one spread of two bases may be off in each: the whole of what is promised, 85 to 95 %."""
LEAST_OWN_ROWS = 20
"""With fewer, the measured basis is neither shown as better known than the fitted one nor as worse."""
METRIC_NAMES: tuple[Metric, ...] = ("tpot", "ttft", "throughput")
Scales = dict[LatencyBasis, dict[Metric, float]]
"""What multiplies the spreads of a basis."""


@dataclass(frozen=True)
class Held:
    """Predictions of every observation by fits that had not seen it: ln errors, and the basis that each claims."""

    label: str
    replay: Replay
    errors: dict[str, Numbers]
    basis: Numbers

    def of(self, metric: str, rows: Numbers | slice = slice(None)) -> Numbers:
        """Finite ln errors of one metric."""
        values = self.errors[metric][rows]
        return values[np.isfinite(values)]


def relative(errors: Numbers) -> Numbers:
    """|predicted / measured - 1| from ln(measured / predicted)."""
    return np.abs(np.expm1(-errors))


@dataclass(frozen=True)
class Refits:
    """Fits without some of the rows, all from one Jacobian at the full fit."""

    base: LatencyConstants
    replay: Replay
    full: Fit

    @cached_property
    def problem(self) -> Regression:
        """The least-squares problem over all rows."""
        return Regression(self.base, self.replay, self.full.constants)

    @cached_property
    def point(self) -> tuple[Numbers, Numbers, Numbers]:
        """(values, data residuals, data Jacobian) at the full fit."""
        values = np.array([self.full.values[parameter.path] for parameter in self.problem.chosen])
        data = self.problem.data_residuals(values)
        return values, data, self.problem.jacobian(values)[: data.size]

    def without(self, hidden: Mask) -> LatencyConstants:
        """The constants that the other rows give."""
        values, data, slope = self.point
        kept = ~hidden[self.problem.rows]
        widths = PRIOR_WEIGHT / self.problem.spreads
        matrix = slope[kept].T @ slope[kept] + np.diag(widths * widths)
        move = -np.linalg.solve(matrix, slope[kept].T @ data[kept] + widths * widths * values)
        moved = values + np.clip(move, -LONGEST_STEP, LONGEST_STEP)
        constants = apply(self.problem.table, self.problem.chosen, moved)
        return known_only(constants, self.replay, ~hidden)

    def predictions(self, hidden: Mask, *, cells: bool) -> tuple[LatencyCoefficients, dict[str, Numbers]]:
        """Coefficients and ln errors of all rows by a fit without the hidden ones."""
        constants = self.without(hidden)
        if cells:
            constants = constants.model_copy(update={"cells": cells_of(self.replay, constants, ~hidden)})
        c = self.replay.coefficients(constants, calibrated=cells)
        return c, log_errors(self.replay, predict_all(c, self.replay))

    def held(self, label: str, groups: Iterable[Mask], *, cells: bool) -> Held:
        """Every row by the fit that left out its group; rows of no group are NaN."""
        size = len(self.replay.observations)
        errors = {metric: np.full(size, np.nan) for metric in METRICS}
        basis = np.full(size, np.nan)
        for hidden in groups:
            c, found = self.predictions(hidden, cells=cells)
            for metric in METRICS:
                errors[metric][hidden] = found[metric][hidden]
            basis[hidden] = np.broadcast_to(np.asarray(c.basis_rank), (size,))[hidden]
        return Held(label, self.replay, errors, basis)


def masks_of(names: Iterable[str], least: int = 1) -> list[Mask]:
    """One mask per name with at least so many rows."""
    table = np.array(list(names))
    return [table == name for name in sorted(set(table.tolist())) if (table == name).sum() >= least]


def spreads_of(
    held: Held, counted: Mask | None = None, scales: Scales | None = None, *, ordered: bool = True
) -> dict[LatencyBasis, Spread]:
    """Spread by basis, from rows of left-out sources; a basis without rows takes that of the next weaker one.

    `scales` multiply them; `ordered`: the datasheet basis is nowhere narrower than the fitted one.
    """
    counted = np.ones(len(held.basis), dtype=bool) if counted is None else counted
    found: dict[LatencyBasis, Spread] = {}
    wider = None
    for rank in (2, 1, 0):
        rows = counted & (held.basis == rank)
        wider = spread_of_rows(held.replay, held.errors, rows if rows.any() else counted, wider if rank == 0 else None)
        found[BASES[rank]] = wider
    found = {basis: scaled(one, (scales or {}).get(basis, {})) for basis, one in found.items()}
    if ordered:
        found["fitted"], found["datasheet"] = in_order(held, counted, found["fitted"], found["datasheet"])
        found["measured"] = with_enough_rows(held, counted, found["measured"], found["fitted"])
    return found


def with_enough_rows(held: Held, counted: Mask, own: Spread, other: Spread) -> Spread:
    """`own`, but every metric with fewer than LEAST_OWN_ROWS rows of the measured basis as in `other`."""
    rows = counted & (held.basis == 0)
    few = {metric for metric in METRIC_NAMES if (rows & np.isfinite(held.errors[metric])).sum() < LEAST_OWN_ROWS}
    taken = {name: value for name, value in other.model_dump().items() if metric_of(name) in few}
    return own.model_copy(update=taken)


def scaled(spread: Spread, scale: dict[Metric, float]) -> Spread:
    """Every metric times its scale; TTFT of every pattern alike."""
    values = {
        name: None if value is None else round(value * scale.get(metric_of(name), 1.0), 4)
        for name, value in spread.model_dump().items()
    }
    return Spread.model_validate(values)


def metric_of(name: str) -> Metric:
    """The metric that a field of `Spread` belongs to."""
    return next(metric for metric in METRIC_NAMES if name.startswith(metric))


def scales_of(held: Held, confidence: float = 0.9) -> Scales:
    """Per basis and metric: what to multiply spreads by so that `confidence` of the rows lie inside, give or take 4 %.

    Each row is compared with the spread that other sources than its own give. Where too few or too many lie inside,
    the spread moves as far as the nearer end, n rows n / (n + 12) of the way: few rows of few sources move little.
    """
    off, found, most = inside_of(held, {}), Scales(), quantile_of((1 + confidence) / 2)
    for rank, basis in enumerate(BASES):
        for metric in METRIC_NAMES:
            sizes = off[metric][(shared_basis(held, metric) == rank) & np.isfinite(off[metric])]
            if not sizes.size:
                continue
            share = float((sizes <= most).mean())
            wanted = min(max(share, confidence - COVERAGE_ROOM), confidence + COVERAGE_ROOM)
            if wanted != share:
                whole = float(np.log(np.quantile(sizes, wanted) / most))
                kept = sizes.size / (sizes.size + FEW_POINTS)
                found.setdefault(basis, {})[metric] = float(np.exp(kept * whole))
    return found


def inside_of(held: Held, scales: Scales) -> dict[Metric, Numbers]:
    """|ln error| of each row in standard deviations, by the spreads that the other sources give."""
    sources = np.array([one.source for one in held.replay.observations])
    patterns = [one.pattern for one in held.replay.observations]
    found: dict[Metric, Numbers] = {metric: np.full(len(sources), np.nan) for metric in METRIC_NAMES}
    for source in sorted(set(sources.tolist())):
        here = sources == source
        spreads = spreads_of(held, ~here, scales, ordered=bool(scales))
        for row in np.flatnonzero(here & np.isfinite(held.basis)):
            spread = spreads[BASES[int(held.basis[row])]]
            for metric in METRIC_NAMES:
                found[metric][row] = abs(held.errors[metric][row]) / sigma_of(spread, metric, patterns[row])
    return found


def in_order(held: Held, counted: Mask, fitted: Spread, datasheet: Spread) -> tuple[Spread, Spread]:
    """Both spreads, with what is known less never shown as known better.

    Where left-out rows say the opposite neither basis is known better than the other: both get one spread, the mean of
    their logarithms by rows (pool adjacent violators), moved to where either holds 85 to 95 % of its rows if it can.
    """
    first, second = fitted.model_dump(), datasheet.model_dump()
    for name, value in first.items():
        if value is not None and second[name] is not None and second[name] < value:
            finite = counted & np.isfinite(held.errors[metric_of(name)])
            rows = [float((finite & (held.basis == rank)).sum()) for rank in (1, 2)]
            logs = np.log([value, second[name]])
            pooled = float(np.exp(np.average(logs, weights=rows))) if sum(rows) else value
            if name in ("tpot", "throughput") and min(rows) >= LEAST_OWN_ROWS:
                pooled = fitting_both(pooled, [held.of(name, finite & (held.basis == rank)) for rank in (1, 2)])
            first[name] = second[name] = round(pooled, 4)
    return Spread.model_validate(first), Spread.model_validate(second)


def fitting_both(spread: float, errors: Sequence[Numbers], confidence: float = 0.9) -> float:
    """The nearest spread that holds `confidence`, give or take 5 %, of each; as it is where none does."""
    shares = confidence - POOLED_ROOM, confidence + POOLED_ROOM
    ends = np.array([np.quantile(np.abs(one), shares) for one in errors])
    least, most = ends.max(axis=0)[0] / NORMAL_90, ends.min(axis=0)[1] / NORMAL_90
    return max(LEAST_SPREAD, min(max(spread, float(least)), float(most))) if least <= most else spread


def shared_basis(held: Held, metric: Metric) -> Numbers:
    """The basis of each row for one metric: that of the fitted one where the measured one has too few of its own."""
    few = ((held.basis == 0) & np.isfinite(held.errors[metric])).sum() < LEAST_OWN_ROWS
    return np.where(held.basis == 0, 1.0, held.basis) if few else held.basis


def coverage(held: Held, scales: Scales, confidence: float = 0.9) -> dict[str, dict[str, tuple[float, int]]]:
    """Share of rows inside the interval that other sources than theirs give: by basis and metric, with counts."""
    off, most = inside_of(held, scales), quantile_of((1 + confidence) / 2)
    table: dict[str, dict[str, tuple[float, int]]] = {}
    for rank, name in enumerate(BASES):
        found = {
            metric: off[metric][(shared_basis(held, metric) == rank) & np.isfinite(off[metric])]
            for metric in METRIC_NAMES
        }
        table[name] = {
            metric: (float((sizes <= most).mean()), int(sizes.size)) for metric, sizes in found.items() if sizes.size
        }
    return table


def regimes(held: Held, scales: Scales, confidence: float = 0.9) -> dict[str, dict[str, tuple[float, int]]]:
    """The same by the clients' pattern."""
    off, most = inside_of(held, scales), quantile_of((1 + confidence) / 2)
    kinds = np.array([
        "offline batch" if one.kind == "offline" else one.pattern for one in held.replay.observations
    ])  # fmt: skip
    table: dict[str, dict[str, tuple[float, int]]] = {}
    for kind in sorted(set(kinds.tolist())):
        found = {metric: off[metric][(kinds == kind) & np.isfinite(off[metric])] for metric in METRIC_NAMES}
        table[kind] = {
            metric: (float((sizes <= most).mean()), int(sizes.size)) for metric, sizes in found.items() if sizes.size
        }
    return table


def sigma_of(spread: Spread, metric: Metric, pattern: str) -> float:
    """Sigma of one metric under one pattern of clients."""
    if metric == "ttft" and pattern != "closed":
        own = getattr(spread, f"ttft_{pattern}")
        return float(spread.ttft if own is None else own)
    return float(getattr(spread, metric))
