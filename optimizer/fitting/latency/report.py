"""The accuracy tables of the latency model, as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from vllm_opt.constraints.speed.step_time import Numbers
from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Observation
from vllm_opt.optimizer.fitting.latency.validation import Choices, Held, relative

METRICS = (("tpot", "TPOT"), ("ttft", "TTFT"), ("throughput", "throughput"), ("e2e", "end to end"))
INTRODUCTION = """# How accurate the latency predictions are

`python -m vllm_opt.optimizer.fitting.latency.fit MEASUREMENTS.jsonl --write` fits the constants of
`constraints/speed/step_time.py` to published measurements and writes this page. Errors are |predicted / measured -
1|, as median / 90th percentile in percent; bias is the median of measured / predicted - 1 (above 0: reality was
slower than predicted for times, faster for throughput). Controlled sources are InferenceX and NVIDIA's AIConfigurator
measurements: closed loops with published images and flags. The others are model cards, blogs and repositories of many
stacks, some from 2024; their notes say how far to trust them. A third of the configurations, chosen by a hash of the
configuration, was not fitted in the first tables; in the leave-one-out tables the model or SKU was absent altogether.
TTFT is left out where the load nearly fills the KV pool: it is the client's queue there. InferenceX draws lengths
from [0.8, 1] of the nominal ones: 0.9 is used.
"""


def row_of(label: str, held: Held, rows: Numbers | slice) -> str:
    """One line of a table: points, error and bias of each metric."""
    cells = []
    for metric, _ in METRICS:
        errors = held.of(metric, rows)
        if errors.size == 0:
            cells.append("")
            continue
        off = relative(errors)
        bias = float(np.expm1(np.median(errors)))
        cells.append(f"{np.median(off):.1%} / {np.quantile(off, 0.9):.0%} ({errors.size}, {bias:+.0%})")
    return f"| {label} | " + " | ".join(cells) + " |"


def table(title: str, lines: Iterable[str]) -> str:
    """A Markdown table: median / p90 (points, bias) per metric."""
    head = "| | " + " | ".join(f"{name}: median / p90 (points, bias)" for _, name in METRICS) + " |"
    return f"\n## {title}\n\n{head}\n|---|" + "---|" * len(METRICS) + "\n" + "\n".join(lines) + "\n"


def grouped(held: Held, key: Callable[[Observation], str], *, controlled: bool | None = None) -> list[str]:
    """One line per group of observations."""
    groups = defaultdict(list)
    for index, one in enumerate(held.replay.observations):
        if controlled is None or controlled == (one.source in CONTROLLED_SOURCES):
            groups[key(one)].append(index)
    return [row_of(name, held, np.array(rows)) for name, rows in sorted(groups.items())]


def concurrency_band(one: Observation) -> str:
    """Users per engine in powers of four."""
    if one.kind == "open":
        return "open loop"
    low = 4 ** int(np.log(max(one.load, 1.0)) / np.log(4) + 1e-9)
    return f"{low:4d} to {low * 4 - 1} users"


def unseen_tables(calibrated: Held, plain: Held) -> str:
    """Errors on configurations that were not fitted, by everything that may matter."""

    def kind(one: Observation) -> str:
        work = calibrated.replay.catalog.model(one.model)
        experts = any(getattr(layer.feed_forward, "feed_forward", "") == "experts" for layer in work.layer_kinds)
        return "mixture of experts" if experts else "dense"

    everything = [
        *grouped(calibrated, lambda one: source_class(one) + ", with calibration cells"),
        *grouped(plain, lambda one: source_class(one) + ", without"),
    ]
    parts = [table("Unseen configurations", everything)]
    by_key: tuple[tuple[str, Callable[[Observation], str]], ...] = (
        ("by SKU", lambda one: one.gpu),
        ("by model class", kind),
        ("by weight format", lambda one: one.quantization),
        ("by concurrency", concurrency_band),
    )
    for name, key in by_key:
        parts.append(table(f"Unseen configurations {name}: controlled", grouped(calibrated, key, controlled=True)))
    parts.append(
        table("Unseen configurations by SKU: other sources", grouped(calibrated, lambda one: one.gpu, controlled=False))
    )
    return "".join(parts)


def source_class(one: Observation) -> str:
    """Controlled or other."""
    return "controlled sources" if one.source in CONTROLLED_SOURCES else "other sources"


def left_out_tables(models: Sequence[Held], gpus: Sequence[Held], biased: Sequence[Held]) -> str:
    """Errors on models and SKUs that were absent from the fit."""

    def lines(helds: Sequence[Held], suffix: str = "") -> list[str]:
        return [
            row_of(f"{held.label}, {name}{suffix}", held, rows)
            for held in helds
            for name, rows in by_source(held)
            if rows.any()
        ]

    return (
        table("Unseen models (each left out in turn, no calibration)", lines(models))
        + table("Unseen SKUs (each left out in turn): mean of its class", lines(gpus))
        + table("Unseen SKUs as the product predicts them: one standard deviation to the slow side", lines(biased))
    )


def by_source(held: Held) -> list[tuple[str, Numbers]]:
    """Row masks of controlled and other sources."""
    controlled = np.array([one.source in CONTROLLED_SOURCES for one in held.replay.observations])
    return [("controlled", controlled), ("other sources", ~controlled)]


def closing(
    coverages: dict[str, dict[str, float]], choices: dict[str, Choices], skipped: Counter[str], points: int
) -> str:
    """Coverage of intervals, quality of choices, and what was left out."""
    lines = ["\n## Intervals\n", "Share of unseen points inside the 90 % interval:\n"]
    lines += [
        f"- {name}: " + ", ".join(f"{metric} {share:.0%}" for metric, share in found.items())
        for name, found in coverages.items()
    ]
    lines += ["\n## Choices\n", "Most throughput per GPU under a TPOT limit, by the model against the measured best:\n"]
    lines += [
        f"- {name}: {found.count} choices, mean regret {found.mean_regret:.1%}, "
        f"limit broken by more than 10 % in {found.broken:.1%}"
        for name, found in choices.items()
    ]
    lines += ["\n## Rows that were left out\n", f"{points} rows were used; not used were:\n"]
    lines += [f"- {count} x {reason}" for reason, count in sorted(skipped.items(), key=lambda item: -item[1])]
    return "\n".join(lines) + "\n"
