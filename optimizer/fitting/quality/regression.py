"""A linear model with partial pooling, solved by weighted least squares and its own variances.

    ln(recovery) = level + slope * x + format + checkpoint + noise,   x = (billions of parameters)^-0.75,
    format ~ N(0, tau_f^2),  checkpoint ~ N(0, tau_c^2)

Level and slope are shared by formats of one width (4 or 8 bits; MXFP4 with 4-bit activations has a level of its own).
Larger models lose less: of the exponents 0.25, 0.5, 0.75, 1, 1.5 and 2 the restricted likelihood of the 4-bit and 8-bit
rows is highest at 0.5 and 0.75, equal within 0.01. A format with few rows is drawn to the level of its width, a
checkpoint with few rows to its format at its size. The variances are found by expectation maximisation; rows far from
the fit count less (Huber). The noise of a row grows where a benchmark has few questions or a low score:
(1 - p) / (p N) against the same at p = 0.7, N = 1000.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIZE_EXPONENT = -0.75
ROUNDS = 60
HUBER = 1.345
"""Residuals up to so many standard deviations count whole: 95 % efficient for normal noise (Huber 1964)."""

QUESTIONS = {
    "aime24": 30, "aime25": 30, "gpqa_diamond": 198, "gpqa": 448, "humaneval": 164, "humaneval+": 164, "mbpp": 500,
    "mbpp+": 378, "math500": 500, "ifeval": 541, "arena_hard": 500, "livecodebench": 400, "musr": 756, "mmmu": 900,
    "gsm8k": 1319, "gsm8k_platinum": 1209, "math_lvl5": 1324, "truthfulqa": 817, "arc": 1172, "winogrande": 1267,
}  # fmt: skip
"""Questions of a benchmark, as its own page on https://huggingface.co/datasets says; any other has thousands."""
MANY_QUESTIONS = 5000
REFERENCE_NOISE = 0.3 / (0.7 * 1000)

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """One benchmark of one checkpoint."""

    checkpoint: str
    format: str
    level: str
    width: str
    billions: float
    log_recovery: float
    noise: float


@dataclass(frozen=True)
class Fit:
    """Coefficients in the order of `names`, their covariance, and the standard deviations of the three levels."""

    names: tuple[str, ...]
    mean: Matrix
    covariance: Matrix
    format_spread: float
    checkpoint_spread: float
    noise_spread: float

    def of(self, weights: dict[str, float]) -> tuple[float, float]:
        """Mean and standard deviation of a weighted sum of coefficients."""
        vector = np.zeros(len(self.names))
        for name, weight in weights.items():
            vector[self.names.index(name)] = weight
        return float(vector @ self.mean), math.sqrt(max(0.0, float(vector @ self.covariance @ vector)))


def size_of(billions: float) -> float:
    """x of the model: 1 at one billion parameters, 0.2 at 8 billion, and towards 0 from there."""
    return float(billions**SIZE_EXPONENT)


def noise_of(benchmark: str, baseline: float | None) -> float:
    """Variance of one row against that of 1,000 questions at 70 %; never below 1, as prompts and seeds differ too."""
    share = min(0.97, max(0.05, (70.0 if baseline is None else baseline) / 100))
    questions = QUESTIONS.get(benchmark, MANY_QUESTIONS)
    return max(1.0, (1 - share) / (share * questions) / REFERENCE_NOISE)


def fit(rows: Sequence[Row]) -> Fit:
    """Fit all coefficients and variances."""
    names = _names(rows)
    design = _design(rows, names)
    y = np.array([row.log_recovery for row in rows])
    noise = np.array([row.noise for row in rows])
    formats = np.array([name.startswith("format ") for name in names])
    checkpoints = np.array([name.startswith("checkpoint ") for name in names])
    spreads, trust = np.array([0.005, 0.01, 0.02]), np.ones(len(rows))
    mean, covariance = np.zeros(len(names)), np.eye(len(names))
    for _ in range(ROUNDS):
        prior = np.where(formats, spreads[0] ** -2, np.where(checkpoints, spreads[1] ** -2, 0.0))
        weight = trust / (noise * spreads[2] ** 2)
        covariance = np.linalg.inv(design.T @ (design * weight[:, None]) + np.diag(prior))
        mean = covariance @ (design.T @ (weight * y))
        residual = y - design @ mean
        explained = np.einsum("ij,jk,ik->i", design, covariance, design)
        spreads = np.array([
            math.sqrt(float(np.mean(mean[formats] ** 2 + np.diag(covariance)[formats]))),
            math.sqrt(float(np.mean(mean[checkpoints] ** 2 + np.diag(covariance)[checkpoints]))),
            math.sqrt(float(np.sum(trust * (residual**2 + explained) / noise) / np.sum(trust))),
        ])  # fmt: skip
        scaled = np.abs(residual) / (spreads[2] * np.sqrt(noise))
        trust = np.minimum(1.0, HUBER / np.maximum(scaled, 1e-12))
    return Fit(names, mean, covariance, *(float(spread) for spread in spreads))


def _names(rows: Sequence[Row]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for row in rows:
        for name in (f"level {row.level}", f"slope {row.width}", f"format {row.format}"):
            found[name] = None
    for row in rows:
        found[f"checkpoint {row.checkpoint}"] = None
    return tuple(found)


def _design(rows: Sequence[Row], names: tuple[str, ...]) -> Matrix:
    design = np.zeros((len(rows), len(names)))
    for index, row in enumerate(rows):
        design[index, names.index(f"level {row.level}")] = 1.0
        design[index, names.index(f"slope {row.width}")] = size_of(row.billions)
        design[index, names.index(f"format {row.format}")] = 1.0
        design[index, names.index(f"checkpoint {row.checkpoint}")] = 1.0
    return design
