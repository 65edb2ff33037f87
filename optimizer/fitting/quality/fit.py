"""Fit what weight formats keep of a model's scores, from the published rows of the catalogue.

    python -m vllm_opt.optimizer.fitting.quality.fit [--write]

Reads `profiles/data/quality_evidence.json`, prints the fit, and with `--write` replaces `profiles/data/quality.json`:
per format the pooled level and its dependence on size, per checkpoint with rows of its own where it lies, all as
ln(recovery) with standard deviations. The model is in `regression.py`.
"""

import argparse
import json
import math
import sys
from typing import Any

from vllm_opt.optimizer.fitting.quality.regression import (
    SIZE_EXPONENT,
    Fit,
    Row,
    fit,
    noise_of,
    size_of,
)
from vllm_opt.profiles.reading.data_files import DATA, read_data_file

EIGHT_BITS = frozenset(("fp8", "fp8_per_tensor", "fp8_block", "mxfp8", "int8", "int8_w8a16", "gptq_int8"))
LOWEST_BASELINE = 25.0
"""Below it the ratio of two scores says little."""
DIGITS = 6


def rows_of(content: dict[str, Any]) -> list[Row]:
    """The rows that take part: scores of a text model above a quarter of the scale, on a stable baseline."""
    found = []
    for row in content["rows"]:
        baseline = row.get("baseline")
        if "note" in row or row["class"] == "vision" or (baseline is not None and baseline < LOWEST_BASELINE):
            continue
        width = "8" if row["quantization"] in EIGHT_BITS else "4"
        found.append(
            Row(
                checkpoint=key_of(row), format=row["quantization"],
                level="mxfp4" if row["quantization"] == "mxfp4" else width, width=width,
                billions=content["billions"][row["model"]],
                log_recovery=math.log(row["recovery"]), noise=noise_of(row["benchmark"], baseline),
            )
        )  # fmt: skip
    return found


def key_of(row: dict[str, Any]) -> str:
    """What one posterior is about: a checkpoint, or a model in a format that nobody named a checkpoint of."""
    return str(row.get("checkpoint") or f"{row['model']} {row['quantization']}")


def summary(rows: list[Row], content: dict[str, Any], found: Fit) -> dict[str, Any]:
    """The data file: what the product reads."""
    formats: dict[str, Any] = {}
    for name in sorted({row.format for row in rows}):
        mine = [row for row in rows if row.format == name]
        one = mine[0]
        level, slope = {f"level {one.level}": 1.0, f"format {name}": 1.0}, {f"slope {one.width}": 1.0}
        both = found.of(level | slope)[1] ** 2 - found.of(level)[1] ** 2 - found.of(slope)[1] ** 2
        formats[name] = {
            "level": _round(found.of(level)[0]), "slope": _round(found.of(slope)[0]),
            "level_variance": float(f"{found.of(level)[1] ** 2:.6g}"),
            "slope_variance": float(f"{found.of(slope)[1] ** 2:.6g}"), "covariance": float(f"{both / 2:.6g}"),
            "rows": len(mine), "checkpoints": len({row.checkpoint for row in mine}),
        }  # fmt: skip
    published = {key_of(row): row["model"] for row in content["rows"]}
    checkpoints = []
    for name in dict.fromkeys(row.checkpoint for row in rows):
        mine = [row for row in rows if row.checkpoint == name]
        one = mine[0]
        mean, deviation = found.of(
            {
                f"level {one.level}": 1.0, f"slope {one.width}": size_of(one.billions), f"format {one.format}": 1.0,
                f"checkpoint {name}": 1.0,
            }
        )  # fmt: skip
        checkpoints.append(
            {
                "id": name, "model": published[name], "quantization": one.format, "mean": _round(mean),
                "deviation": _round(deviation), "rows": len(mine),
            }
        )  # fmt: skip
    return {
        "schema": "vllm-opt/quality-fit/1",
        "note": (
            "Written by optimizer/fitting/quality/fit.py from quality_evidence.json. ln(recovery) = level + "
            "slope * (billions of parameters) ** size_exponent, with the variances of both and their covariance."
        ),
        "size_exponent": SIZE_EXPONENT,
        "format_spread": _round(found.format_spread), "checkpoint_spread": _round(found.checkpoint_spread),
        "noise_spread": _round(found.noise_spread), "formats": formats, "checkpoints": checkpoints,
    }  # fmt: skip


def _round(value: float) -> float:
    return round(value, DIGITS)


def main(arguments: list[str] | None = None) -> int:
    """Fit, print, and write when asked."""
    parser = argparse.ArgumentParser(prog="fit", description="Fit what weight formats keep of a model's scores.")
    parser.add_argument("--write", action="store_true", help="replace profiles/data/quality.json")
    options = parser.parse_args(arguments)
    content = read_data_file("quality_evidence.json")
    rows = rows_of(content)
    result = summary(rows, content, fit(rows))
    for name, one in result["formats"].items():
        at = " ".join(
            f"{size:>5g}B {math.exp(one['level'] + one['slope'] * size_of(size)):.4f}" for size in (1, 4, 7, 8, 32, 70)
        )
        sys.stdout.write(f"{name:15s} {one['rows']:4d} rows {one['checkpoints']:3d} checkpoints  {at}\n")
    spreads = ", ".join(f"{key} {result[key]:.4f}" for key in ("format_spread", "checkpoint_spread", "noise_spread"))
    sys.stdout.write(f"standard deviations of ln(recovery): {spreads}\n")
    if options.write:
        text = json.dumps(result, indent=1)
        (DATA / "quality_evidence.json").resolve().with_name("quality.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
