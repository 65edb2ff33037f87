"""Fit the start-up constants of every release era to published logs, and print how far predictions are off.

    python -m vllm_opt.optimizer.fitting.startup.fit MEASUREMENTS.jsonl [--write] [--table docs/memory-accuracy.md]

`--write` fits anew and replaces `profiles/data/startup_memory.json`; without it the shipped constants are scored. Needs
scipy (the `dev` extra); the product reads only the data file. What is fitted: sampler bytes per logit, activation base, per-token bytes and forward factor (non-negative robust
least squares, relative residuals); non-torch and context memory (weighted medians per topology); CUDA graphs
(non-negative least squares). Spreads are standard deviations of what is left, then scaled together until plans at
confidence 0.9 are overfull in at most one log in ten. Near-twins share one vote.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from vllm_opt.optimizer.fitting.startup.fit_terms import fit_activation, fit_graphs, fit_topology
from vllm_opt.optimizer.fitting.startup.logs import StartupLog, read_logs
from vllm_opt.optimizer.fitting.startup.scoring import Scored, overfull_share, score_all
from vllm_opt.optimizer.fitting.startup.table import accuracy_table
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.startup_constants import (
    StartupConstants,
    StartupMemory,
    load_startup_memory,
    scaled_spreads,
)
from vllm_opt.profiles.reading.data_files import DATA

OVERFULL_GOAL = 0.10
SPREAD_SCALES = (1.0, 1.4, 2.0, 2.8, 4.0)


def fit(logs: Sequence[StartupLog], start: StartupMemory) -> StartupMemory:
    """Return the constants fitted to the logs; what no log tells keeps its starting value."""
    return fit_graphs(logs, fit_topology(logs, fit_activation(logs, start)))


def calibrate(logs: Sequence[StartupLog], memory: StartupMemory) -> StartupMemory:
    """Scale each engine's spreads until plans at confidence 0.9 start in nine logs of ten, or more does not help."""
    eras: list[StartupConstants] = []
    for engine in ("v0", "v1"):
        known = [log for log in logs if log.engine.engine == engine and log.measured.get("available_kv_gib")]
        mine = [era for era in memory.eras if era.engine == engine]
        shares = {scale: _overfull(known, _scaled_memory(memory, scale)) for scale in SPREAD_SCALES}
        goal = max(OVERFULL_GOAL, min(shares.values()))
        chosen = next(scale for scale in SPREAD_SCALES if shares[scale] <= goal)
        eras += [scaled_spreads(era, chosen) for era in mine]
    return StartupMemory(about=memory.about, eras=tuple(eras))


def _scaled_memory(memory: StartupMemory, scale: float) -> StartupMemory:
    return StartupMemory(about=memory.about, eras=tuple(scaled_spreads(era, scale) for era in memory.eras))


def _overfull(logs: Sequence[StartupLog], memory: StartupMemory) -> float:
    return overfull_share(score_all(logs, constants_of(memory)))


def constants_of(memory: StartupMemory) -> Callable[[StartupLog], StartupConstants]:
    """Return the function that gives a log the constants of its release."""
    return lambda log: memory.of(log.engine.engine, log.engine.version)


def cross_validate(logs: Sequence[StartupLog], start: StartupMemory) -> tuple[Scored, ...]:
    """Score every model's logs with constants fitted without that model."""
    scored: list[Scored] = []
    for model_id in sorted({log.model.id for log in logs}):
        fitted = fit([log for log in logs if log.model.id != model_id], start)
        scored += score_all([log for log in logs if log.model.id == model_id], constants_of(fitted))
    return tuple(scored)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the module's command line; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m vllm_opt.optimizer.fitting.startup.fit", description=__doc__)
    parser.add_argument("measurements", type=Path, help="published logs, one JSON object per line")
    parser.add_argument("--write", action="store_true", help="replace the package's data/startup_memory.json")
    parser.add_argument("--table", type=Path, help="write the error table to this Markdown file")
    options = parser.parse_args(arguments)
    try:
        logs, left_out = read_logs(options.measurements, Catalog())
    except VllmOptError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    start = load_startup_memory()
    shipped = calibrate(logs, fit(logs, start)) if options.write else start
    table = accuracy_table(score_all(logs, constants_of(shipped)), cross_validate(logs, start), left_out)
    sys.stdout.write(table)
    if options.table:
        options.table.write_text(table, encoding="utf-8")
    if options.write:
        (DATA / "startup_memory.json").write_text(shipped.model_dump_json(indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
