"""The accuracy page of the latency model, as Markdown: sources that were left out whole come first."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.step_time import BASES, Numbers
from vllm_opt.optimizer.fitting.latency.choices import Choices
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.validation import Held, relative

METRICS = (("tpot", "TPOT"), ("ttft", "TTFT"), ("throughput", "throughput"), ("e2e", "end to end"))
INTRODUCTION = """# How accurate the latency predictions are

`python -m vllm_opt.optimizer.fitting.latency.fit MEASUREMENTS.jsonl … --write` writes this page and the constants of
`constraints/speed/step_time.py`. Efficiencies by format, launch floors, all-reduce times and the skew of routing start
from measured kernels (`profiles/data/kernels.json`); end-to-end measurements move them as far as they must, and tell
what kernels cannot: host, scheduling, front end, clients, releases.

**Errors are those of strangers.** In the first tables every source was predicted by a fit that had seen none of its
rows, nor a calibration cell made from them. An error is |predicted / measured - 1|, as median / 90th percentile / mean
(MAPE) in percent; bias is the median of predicted / measured - 1 (above 0: predicted too high). A fit without some
rows is one Gauss-Newton step from the full fit. Sources are weighted by the square root of their rows in the fit; each
may be faster or slower as a whole by its stack, except the controlled ones (InferenceX and NVIDIA's AIConfigurator
measurements: closed loops with published images and flags), which set the level. TTFT is left out where the load
nearly fills the KV pool: it is the client's queue there. InferenceX draws lengths from [0.8, 1] of the nominal ones:
0.9 is used; its published scripts pass flags that its rows do not state: an 8-bit KV cache, asynchronous scheduling,
wider CUDA graphs, another token budget (`optimizer/fitting/latency/scripts.py`, each from the day on which a script had
it). Where only a mean TTFT is known, the first wave of a run of few requests per user counts as the burst that it is;
a median sees it from half of the requests on. A burst whose requests were sent at a rate is none at once. Random
arrivals are predicted as `estimate` answers them, with the burstiness and the range of lengths that a row states,
medians against medians.
"""
KEPT_BACK = """A quarter of the sources, chosen by a hash of their names (`Observation.kept_back`), was not looked at
while the first formulas, priors, spreads and hyper-parameters of this edition were chosen, and was predicted by a fit
of the others: median TPOT 9.7 % (MAPE 13 %, 74 points), TTFT 25.0 % (36 %, 34), throughput 10.0 % (13 %, 54), end to
end 5.7 % (10 %, 24); of their rows 89 % (TPOT), 94 % (TTFT) and 98 % (throughput) lay inside the 90 % intervals.
Since then their table has been on the screen while old engines, cards, margins and the weight of the priors were
worked on, so it is no longer unseen evidence. It is the same question asked of the shipped fit: all of them left out
at once."""
PEERS = """
## What others publish

Every peer publishes means, so MAPE stands beside the medians above. AISimulate's daily page reports 30.1 % TPOT and
76.1 % TTFT (mean); llm-d-planner 0.3.3 reports a mean error of 2.4 % of the KV-cache size that it plans, which is a
statement about memory and not about speed; AIConfigurator's kernel database, on the controlled points here, gives
medians of 15 % TPOT, 18 % throughput and 42 % TTFT.
"""


def cell_of(errors: Numbers) -> str:
    """median / p90 / MAPE (points, bias) of one metric, or nothing."""
    known = errors[np.isfinite(errors)]
    if known.size == 0:
        return ""
    off = relative(known)
    bias = float(np.expm1(np.median(-known)))
    return f"{np.median(off):.1%} / {np.quantile(off, 0.9):.0%} / {off.mean():.0%} ({known.size}, {bias:+.0%})"


def row_of(label: str, held: Held, rows: NDArray[np.intp]) -> str:
    """One line of a table."""
    return f"| {label} | " + " | ".join(cell_of(held.errors[metric][rows]) for metric, _ in METRICS) + " |"


def table(title: str, lines: Iterable[str], note: str = "") -> str:
    """A Markdown table: median / p90 / MAPE (points, bias) per metric."""
    head = "| | " + " | ".join(f"{name}: median / p90 / MAPE (points, bias)" for _, name in METRICS) + " |"
    words = f"{note}\n\n" if note else ""
    return f"\n## {title}\n\n{words}{head}\n|---|" + "---|" * len(METRICS) + "\n" + "\n".join(lines) + "\n"


def grouped(held: Held, key: Callable[[Observation], str], least: int = 1) -> list[str]:
    """One line per group of observations that were predicted."""
    groups = defaultdict(list)
    for index, one in enumerate(held.replay.observations):
        if np.isfinite(held.basis[index]):
            groups[key(one)].append(index)
    return [row_of(name, held, np.array(rows)) for name, rows in sorted(groups.items()) if len(rows) >= least]


def equal_sources(held: Held) -> str:
    """Mean over sources of each source's median error."""
    sources, cells = np.array([one.source for one in held.replay.observations]), []
    for metric, _ in METRICS:
        errors = held.errors[metric]
        known = np.isfinite(errors)
        medians = [np.median(relative(errors[known & (sources == name)])) for name in sorted(set(sources[known]))]
        cells.append(f"{np.mean(medians):.1%} ({len(medians)} sources)")
    return "| mean of the sources' medians | " + " | ".join(cells) + " |"


def concurrency_band(one: Observation) -> str:
    """Users per engine in powers of four."""
    if one.kind == "open":
        return "open loop"
    low = 4 ** int(np.log(max(one.load, 1.0)) / np.log(4) + 1e-9)
    return f"{low:4d} to {low * 4 - 1} users"


def source_class(one: Observation) -> str:
    """Controlled, or other."""
    return "controlled sources" if one.source in CONTROLLED_SOURCES else "other sources"


def stranger_tables(held: Held) -> str:
    """Everything that may matter, on sources that were left out whole."""
    ranks = {id(one): held.basis[index] for index, one in enumerate(held.replay.observations)}
    everything = np.arange(len(held.basis))
    lines = [row_of("all rows", held, everything), equal_sources(held), *grouped(held, source_class)]
    keys: tuple[tuple[str, Callable[[Observation], str]], ...] = (
        ("by basis", lambda one: BASES[int(ranks[id(one)])]),
        ("by the clients' pattern", lambda one: one.pattern if one.kind != "offline" else "offline batch"),
        ("by weight format", lambda one: one.quantization),
        ("by concurrency", concurrency_band),
        ("by vLLM release", lambda one: one.release),
    )
    parts = [table("Sources left out whole", lines)]
    parts += [table(f"Sources left out whole, {name}", grouped(held, key)) for name, key in keys]
    by_sku = grouped(held, lambda one: one.gpu, 8)
    parts.append(table("Sources left out whole, by SKU", by_sku, "SKUs of eight rows or more."))
    parts.append(table("Sources left out whole, one by one", grouped(held, lambda one: one.source)))
    return "".join(parts)


def page(
    strangers: Held,
    unseen: Held,
    models: Held,
    gpus: Held,
    inside: Sequence[Held],
    covered: dict[str, dict[str, tuple[float, int]]],
    decided: Choices,
    skipped: Counter[str],
) -> str:
    """The whole page."""
    hidden = np.flatnonzero(np.isfinite(inside[0].basis))
    known = [
        row_of("with calibration cells", inside[0], hidden),
        row_of("without", inside[1], hidden),
    ]
    everyone = row_of("all of them", unseen, np.flatnonzero(np.isfinite(unseen.basis)))
    lines = [everyone, *grouped(unseen, lambda one: one.source)]
    parts = [INTRODUCTION, table("Sources kept back", lines, KEPT_BACK), stranger_tables(strangers), intervals(covered)]
    parts.append(table("Models left out, each in turn, without cells", grouped(models, lambda one: one.model)))
    parts.append(table("SKUs left out, each in turn, without cells", grouped(gpus, lambda one: one.gpu)))
    note = "A third of the configurations of the controlled sources, chosen by a hash, while their other rows stay."
    parts.append(table("Unseen configurations of known sources", known, note))
    parts += [PEERS, closing(decided, skipped, len(strangers.replay.observations))]
    return "".join(parts)


def intervals(covered: dict[str, dict[str, tuple[float, int]]]) -> str:
    """Coverage of the 90 % interval by basis."""
    lines = [
        "\n## Intervals\n",
        "Share of rows inside the 90 % interval, where neither the prediction nor the width of the interval had seen",
        "the row's source (rows in parentheses). Where fewer than 86 or more than 94 % lay inside, the spread of that",
        "basis and quantity was scaled to the nearer end, n rows n / (n + 12) of the way. With fewer than 20 rows of a",
        "quantity the measured basis has the spread of the fitted one and counts there. Where the datasheet basis came",
        "out narrower than the fitted one, both have one spread, so that what is known less is never shown as known",
        "better; it is moved to where both hold 85 to 95 % of their rows, if there is such a spread. By basis, then by",
        "the clients' pattern:\n",
    ]
    for basis, found in covered.items():
        shares = (f"{name} {share:.0%} ({count})" for name, (share, count) in found.items())
        lines.append(f"- {basis}: " + ", ".join(shares))
    return "\n".join(lines) + "\n"


def closing(decided: Choices, skipped: Counter[str], points: int) -> str:
    """Quality of choices, and what was left out."""
    lines = [
        "\n## Choices\n",
        "Most throughput per GPU under a TPOT limit, by the shipped constants against the measured best:",
    ]
    lines.append(
        f"\n- controlled sources: {decided.count} choices, mean regret {decided.mean_regret:.1%}, "
        f"limit broken by more than 10 % in {decided.broken:.1%}"
    )
    lines += ["\n## Rows that were left out\n", f"{points} rows were used; not used were:\n"]
    lines += [f"- {count} x {reason}" for reason, count in sorted(skipped.items(), key=lambda item: -item[1])]
    return "\n".join(lines) + "\n"
