"""The accuracy table of start-up memory: errors by release, SKU class and model family, beside the peer's."""

from collections import Counter
from collections.abc import Callable, Sequence

from vllm_opt.optimizer.fitting.startup.scoring import (
    PEER_KV_POOL,
    TERMS,
    Scored,
    overfull_share,
    summarise,
    unused_share,
)

FEW_LOGS = 5
TITLES = {"weights": "weights", "activation": "activation", "kv_pool": "KV pool", "concurrency": "concurrency"}


def accuracy_table(scored: Sequence[Scored], held_out: Sequence[Scored], left_out: Counter[str]) -> str:
    """Return the whole page as Markdown."""
    v0 = [item for item in scored if item.log.engine.engine == "v0"]
    v1 = [item for item in scored if item.log.engine.engine == "v1"]
    complete = [item for item in v1 if _reference(item)]
    held_out_complete = [item for item in held_out if _reference(item)]
    rows = [
        ("0.19.0 on H100, every flag known", complete),
        ("the same, each model left out of the fit", held_out_complete),
        ("all V1 logs", v1),
        ("all V1 logs, each model left out of the fit", [item for item in held_out if item.log.engine.engine == "v1"]),
        ("all V0 logs", v0),
    ]
    parts = [
        _INTRODUCTION,
        _section("Overall", rows),
        _peer(complete),
        _margins(scored, v1, v0),
        _section("By release", _groups(scored, lambda item: f"{item.log.engine.engine.upper()} {item.log.release}")),
        _section("By SKU", _groups(scored, lambda item: item.log.gpu.id)),
        _section("By model family", _groups(scored, lambda item: item.log.family)),
        _left_out(left_out, len(scored)),
    ]
    return "\n".join(parts)


_INTRODUCTION = """# How well start-up memory is predicted

Errors against published vLLM start-up logs, in percent of what the log prints: mean absolute error, median in
brackets, then the number of logs. Logs that differ only in a flag without effect share one vote. Groups of fewer than
five logs are marked with a star: they are reported, not claimed. A card that a log does not name stands under the
first SKU with the printed total. Encoders of vision-language models are counted up to their outputs only. This page is
written by `python -m vllm_opt.optimizer.fitting.startup.fit MEASUREMENTS.jsonl --table docs/memory-accuracy.md`, over
the constants that are shipped. Rows "left out of the fit" come from constants fitted without the model that is scored.
"""


def _reference(item: Scored) -> bool:
    return item.log.complete and item.log.release.startswith("0.19") and item.log.gpu.id.startswith("h100")


def _groups(scored: Sequence[Scored], key: Callable[[Scored], str]) -> list[tuple[str, list[Scored]]]:
    names = sorted({key(item) for item in scored}, key=_natural)
    return [(name, [item for item in scored if key(item) == name]) for name in names]


def _natural(name: str) -> tuple[object, ...]:
    return tuple((0, int(part)) if part.isdigit() else (1, part) for part in name.replace(".", " ").split())


def _section(title: str, rows: Sequence[tuple[str, Sequence[Scored]]]) -> str:
    lines = [
        f"## {title}\n",
        "| | " + " | ".join(TITLES[term] for term in TERMS) + " |",
        "|---" * (len(TERMS) + 1) + "|",
    ]
    for name, group in rows:
        star = "*" if len(group) < FEW_LOGS else ""
        lines.append(f"| {name}{star} | " + " | ".join(_cell(group, term) for term in TERMS) + " |")
    return "\n".join(lines) + "\n"


def _cell(group: Sequence[Scored], term: str) -> str:
    summary = summarise(group, term)
    return "-" if summary is None else f"{summary.mean:.2f} ({summary.median:.2f}), n = {summary.logs}"


def _peer(complete: Sequence[Scored]) -> str:
    summary = summarise(complete, "kv_pool")
    here = f"{summary.mean:.2f} ({summary.median:.2f})" if summary else "-"
    mean, median = PEER_KV_POOL
    return (
        "## Beside the nearest peer\n\n| KV pool | mean (median), % |\n|---|---|\n"
        f"| here, vLLM 0.19 on H100 | {here} |\n| llm-d-planner 0.3.3 | {mean:.2f} ({median:.2f}) |\n\n"
        "The peer's library was asked for 50 published logs of vLLM 0.19 on H100 with 80 GiB; its constants were\n"
        "fitted to logs of that release, as are those here. Before its recalibration of August 2026 its own table\n"
        "said 7.8 % (https://github.com/llm-d-incubation/llm-d-planner/pull/205).\n"
    )


def _margins(scored: Sequence[Scored], v1: Sequence[Scored], v0: Sequence[Scored]) -> str:
    lines = [
        "## Margins at confidence 0.9\n",
        "| logs | plans that would not start | median unused share of the budget |",
        "|---|---|---|",
    ]
    for name, group in (("all", scored), ("V1", v1), ("V0", v0)):
        lines.append(f"| {name} | {100 * overfull_share(group):.1f} % | {100 * unused_share(group):.2f} % |")
    return "\n".join(lines) + "\n"


def _left_out(reasons: Counter[str], used: int) -> str:
    lines = [f"## Logs left out\n\n{used} logs are used. Left out:\n"]
    lines += [f"- {count}: {reason}" for reason, count in reasons.most_common()]
    return "\n".join(lines) + "\n"
