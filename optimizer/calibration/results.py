"""Files of benchmark results as records: `vllm bench serve`, `vllm bench sweep`, GuideLLM, InferenceX rows, CSV.

Formats: `vllm bench serve --save-result` writes one object with `mean_ttft_ms` and the like; `vllm bench sweep` the
same per run, with the parameters it varied beside them, and a summary of all; GuideLLM `benchmarks[].metrics` with
means and medians per metric; InferenceX one row per run with seconds. A table has one run a row under those names.
"""

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.calibration.benchmark_words import MILLISECONDS, SECONDS, THROUGHPUT, finite, normalised
from vllm_opt.optimizer.calibration.sources import Unreadable, document_of, json_value, lines_of, opened

MOST_RECORDS = 100_000
MOST_COLUMNS = 500
RESULT_KEYS = frozenset(
    (
        *MILLISECONDS["ttft"],
        *MILLISECONDS["tpot"],
        *SECONDS["ttft"],
        *SECONDS["tpot"],
        *THROUGHPUT,
        "output_tput_per_gpu",
    )
)
GUIDELLM_METRICS = {
    "ttft_ms": "time_to_first_token_ms",
    "tpot_ms": "inter_token_latency_ms",
    "output_throughput": "output_tokens_per_second",
    "request_throughput": "requests_per_second",
    "input_tokens": "prompt_token_count",
    "output_tokens": "output_token_count",
}
SWEEP_SUMMARIES = ("summary.json", "summary.csv")
"""Repeat what the runs beside them hold."""


def records_of_json(path: Path) -> Iterator[dict[str, Any]]:
    """Every record of a JSON document; raises Unreadable."""
    yield from islice(records_in(document_of(path)), MOST_RECORDS)


def records_of_json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Every record of a file with one JSON object a line; a line that is none is passed over."""
    with opened(path) as stream:
        for line in islice(lines_of(stream), MOST_RECORDS):
            try:
                yield from records_in(json_value(line))
            except Unreadable:
                continue


def records_of_csv(path: Path) -> Iterator[dict[str, Any]]:
    """Every row of a table with a header; raises Unreadable."""
    with opened(path) as stream:
        text = (line.replace("\0", "") for line in lines_of(stream))
        try:
            for row in islice(csv.DictReader(text), MOST_RECORDS):
                if None in row or len(row) > MOST_COLUMNS:
                    continue
                yield {str(key): value for key, value in row.items() if value not in (None, "")}
        except csv.Error:
            raise Unreadable("not a table: a quote that never ends, or a field beyond all bounds") from None


def records_in(document: Any, depth: int = 0) -> Iterator[dict[str, Any]]:
    """Find the records inside a JSON value: itself, its entries, or a GuideLLM report's benchmarks."""
    if depth > 4:
        return
    if isinstance(document, list):
        for entry in document[:MOST_RECORDS]:
            yield from records_in(entry, depth + 1)
        return
    if not isinstance(document, dict):
        return
    if isinstance(document.get("benchmarks"), list):
        for benchmark in document["benchmarks"][:MOST_RECORDS]:
            if isinstance(benchmark, dict):
                yield guidellm_record(benchmark, document)
        return
    if is_result(document):
        yield document
        return
    for key in ("results", "runs", "rows", "data", "points"):
        if isinstance(document.get(key), list | dict):
            yield from records_in(document[key], depth + 1)


def is_result(document: dict[str, Any]) -> bool:
    """Whether an object holds measured figures."""
    inner = document.get("metrics", document.get("measured"))
    return bool(RESULT_KEYS & set(normalised(document))) or (
        isinstance(inner, dict) and bool(RESULT_KEYS & set(normalised(inner)))
    )


def guidellm_record(benchmark: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """One benchmark of a GuideLLM report with the names of `vllm bench serve`.

    Its inter-token latency is what vLLM calls TPOT: the time per output token after the first.
    """
    metrics = benchmark.get("metrics")
    found: dict[str, Any] = {}
    for name, theirs in GUIDELLM_METRICS.items():
        value = central(metrics.get(theirs)) if isinstance(metrics, dict) else None
        if value is not None:
            found[name] = value
    latency = central(metrics.get("request_latency")) if isinstance(metrics, dict) else None
    if latency is not None:
        found["e2e_ms"] = 1000.0 * latency
    found.update(strategy_of(benchmark))
    for place in (report.get("metadata"), report.get("args"), benchmark.get("metadata"), benchmark.get("extras")):
        if isinstance(place, dict):
            found.update({key: value for key, value in place.items() if isinstance(value, str | int | float)})
    return found


def central(metric: Any) -> float | None:
    """The median of the requests that succeeded, else their mean; a rate has a mean only."""
    if isinstance(metric, dict):
        inner = metric.get("successful", metric.get("total", metric))
        if isinstance(inner, dict):
            return finite(inner.get("median")) or finite(inner.get("mean"))
    return finite(metric)


def strategy_of(benchmark: dict[str, Any]) -> dict[str, Any]:
    """How GuideLLM sent: `streams` in flight, or a rate per second; synchronous is one user."""
    for place in ("args", "config", "scheduler", None):
        outer = benchmark if place is None else benchmark.get(place)
        strategy = outer.get("strategy") if isinstance(outer, dict) else None
        if not isinstance(strategy, dict):
            continue
        kind = str(strategy.get("type_", strategy.get("type", "")))
        if kind == "synchronous":
            return {"max_concurrency": 1}
        streams = finite(strategy.get("streams")) or finite(strategy.get("max_concurrency"))
        if kind in ("concurrent", "throughput") and streams:
            return {"max_concurrency": streams}
        rate = finite(strategy.get("rate"))
        if rate:
            return {"request_rate": rate}
    return {}
