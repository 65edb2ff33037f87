"""TTFT and TPOT of published measurements under random arrivals, by source.

    python benchmarks/open_loop.py MEASUREMENTS.jsonl …

One JSON object per line, as `optimizer/fitting/latency` reads them. A row counts where its notes give a request rate
and the server kept up. Columns: the queueing of `constraints/queueing` with the burstiness and lengths that a row
states, and the smooth formula of means of `constraints/speed`; each source weighs the same in the last line.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path

import numpy as np

from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.replay import Nouns, Replay, predict_all, usable
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants


def predicted(replay: Replay) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """(queueing, the smooth formula): TTFT and TPOT in ms; medians of the former where medians were measured."""
    c = replay.coefficients(default_latency_constants(), calibrated=True)
    return predict_all(c, replay), predict_all(c, replay, queued=False)


def main() -> None:
    """Print one line per source."""
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=Path)
    rows = [row for path in parser.parse_args().files for row in read_rows(path)]
    found, _ = observations(rows)
    opened = [one for one in found if one.kind == "open"]
    replay, unfit = usable(opened, Nouns(Catalog()))
    print(f"{len(replay.observations)} rows under random arrivals of {len(rows)}; left out: {json.dumps(dict(unfit))}")
    ours, own = predicted(replay)
    by_source: dict[str, list[int]] = defaultdict(list)
    for index, one in enumerate(replay.observations):
        by_source[one.source].append(index)
    print("\n| source | rows | TTFT | bias | TTFT, speed | TPOT |\n|---|---|---|---|---|---|")
    medians = []
    everything = {"ttft": [], "tpot": []}
    for source, index in sorted(by_source.items()):
        line, errors = [], {}
        for name, values in (("ttft", ours["ttft"]), ("own", own["ttft"]), ("tpot", ours["tpot"])):
            measured = replay.measured("tpot" if name == "tpot" else "ttft")[index]
            errors[name] = np.log(values[index] / measured)
        for name in everything:
            everything[name] += [value for value in errors[name].tolist() if np.isfinite(value)]
        line = [_error(errors["ttft"]), _bias(errors["ttft"]), _error(errors["own"]), _error(errors["tpot"])]
        if np.isfinite(errors["ttft"]).any():
            medians.append(float(np.nanmedian(np.abs(np.expm1(errors["ttft"])))))
        print(f"| {source} | {len(index)} | {' | '.join(line)} |")
    overall = np.array(everything["ttft"])
    print(
        f"\nTTFT over all rows: median {_error(overall)}, bias {_bias(overall)}, {len(overall)} rows; "
        f"median of the sources {np.median(medians):.0%}; TPOT median {_error(np.array(everything['tpot']))}"
    )


def _error(errors: np.ndarray) -> str:
    known = errors[np.isfinite(errors)]
    return f"{np.median(np.abs(np.expm1(known))):.0%}" if len(known) else "-"


def _bias(errors: np.ndarray) -> str:
    known = errors[np.isfinite(errors)]
    return f"{np.expm1(np.median(known)):+.0%}" if len(known) else "-"


if __name__ == "__main__":
    main()
