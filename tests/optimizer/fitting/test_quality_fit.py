"""The fit of published scores finds the levels that made them, and rows that say little take no part."""

import math
from typing import Any

import pytest

from vllm_opt.optimizer.fitting.quality.fit import rows_of, summary
from vllm_opt.optimizer.fitting.quality.regression import REFERENCE_NOISE, fit, noise_of, size_of

SIZES = (1.0, 3.0, 8.0, 14.0, 32.0, 70.0)
BENCHMARKS = ("gsm8k", "arc", "winogrande", "ifeval")


def loss(width: int, billions: float) -> float:
    """ln(recovery) that the rows are made of: 8 bits lose 0.1 % and more when small, 4 bits ten times as much."""
    return (-0.001 if width == 8 else -0.01) * (1 + 2 * size_of(billions))


def content() -> dict[str, Any]:
    rows = []
    for name, width in (("fp8", 8), ("int8", 8), ("awq", 4)):
        for size in SIZES:
            for index, benchmark in enumerate(BENCHMARKS):
                jitter = 0.0004 * (1, -1, -1, 1)[index]
                recovery = math.exp(loss(width, size) + jitter)
                rows.append(
                    {"model": f"m{size:g}", "checkpoint": f"{name}-{size:g}", "quantization": name, "class": "text",
                     "benchmark": benchmark, "baseline": 70.0, "recovery": recovery}
                )  # fmt: skip
    strange = {"model": "m8", "quantization": "awq", "benchmark": "gsm8k", "baseline": 70.0, "recovery": 0.2}
    rows += [
        {**strange, "class": "vision"}, {**strange, "class": "text", "note": "another prompt"},
        {**strange, "class": "text", "baseline": 24.9},
    ]  # fmt: skip
    return {"rows": rows, "billions": {f"m{size:g}": size for size in SIZES}}


def test_levels_and_slopes_are_found_again() -> None:
    known = content()
    rows = rows_of(known)
    assert len(rows) == 3 * len(SIZES) * len(BENCHMARKS)
    found = summary(rows, known, fit(rows))
    assert set(found["formats"]) == {"awq", "fp8", "int8"}
    for name, width in (("fp8", 8), ("int8", 8), ("awq", 4)):
        one = found["formats"][name]
        assert (one["rows"], one["checkpoints"]) == (24, 6)
        for size in SIZES:
            assert one["level"] + one["slope"] * size_of(size) == pytest.approx(loss(width, size), abs=2e-4)
        assert one["level_variance"] > 0
    assert found["noise_spread"] == pytest.approx(0.0004, rel=0.3)
    assert len(found["checkpoints"]) == 18
    small = next(row for row in found["checkpoints"] if row["id"] == "awq-1")
    assert (small["model"], small["quantization"], small["rows"]) == ("m1", "awq", 4)
    assert small["mean"] == pytest.approx(-0.03, abs=2e-4)


def test_a_checkpoint_of_its_own_lies_between_its_rows_and_its_format() -> None:
    known = content()
    for row in known["rows"]:
        if row.get("checkpoint") == "fp8-14":
            row["recovery"] *= math.exp(-0.02)
    rows = rows_of(known)
    found = summary(rows, known, fit(rows))
    mean = next(row["mean"] for row in found["checkpoints"] if row["id"] == "fp8-14")
    assert loss(8, 14.0) - 0.0201 <= mean < loss(8, 14.0) - 0.01
    assert found["checkpoint_spread"] > 0.002


def test_few_questions_and_low_scores_are_noisier() -> None:
    assert noise_of("unheard-of", 70.0) == 1.0
    assert noise_of("aime24", 70.0) == pytest.approx(0.3 / (0.7 * 30) / REFERENCE_NOISE)
    assert noise_of("aime24", 30.0) == pytest.approx(0.7 / (0.3 * 30) / REFERENCE_NOISE)
    assert noise_of("aime24", None) == noise_of("aime24", 70.0)
    assert noise_of("aime24", 100.0) == noise_of("aime24", 97.0)
