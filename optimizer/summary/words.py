"""What a summary says in words: times, contexts, money, what was assumed, what to be warned of."""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Cost, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import dollars, percent
from vllm_opt.optimizer.rendering.plan_words import slow, slow_in_words
from vllm_opt.profiles.catalogues.engines import ANOTHER_RELEASE
from vllm_opt.profiles.reading.quantities import counted

TELLING = (ANOTHER_RELEASE, "override max_position_embeddings too", "with the same flags plays it")
"""What marks notes that change what an answer means, wherever they stand."""

OPTIONS = {
    "model": "MODEL", "target_context": "--target-context", "concurrency": "--concurrency",
    "input_tokens": "--input-tokens", "output_tokens": "--output-tokens", "max_ttft_ms": "--max-ttft-ms",
    "max_tpot_ms": "--max-tpot-ms", "mean_context": "--mean-context", "prefix_hit_share": "--prefix-hit-share",
    "kv_offloading_size": "--kv-offloading-size", "offload_hit_share": "--offload-hit-share",
    "objective": "--objective", "min_output_tokens_per_s": "--min-output-tokens-per-s",
}  # fmt: skip


def duration(time_ms: float) -> str:
    """A time with three digits at most: '41 ms', '812 ms', '1.35 s', '13.7 s'."""
    if time_ms < 10:
        return f"{time_ms:.1f} ms"
    if time_ms < 1000:
        return f"{time_ms:.0f} ms"
    return f"{time_ms / 1000:.2f} s" if time_ms < 10_000 else f"{time_ms / 1000:,.1f} s"


def tokens(number: Any) -> str:
    """A context as it is typed: 8192 is '8K', 12,000 stays."""
    if not isinstance(number, int):
        return str(number)
    return f"{number // 1024}K" if number >= 1024 and number % 1024 == 0 else f"{number:,}"


def context_in_words(plan: Plan, request: Mapping[str, Any]) -> str:
    """How long contexts may be: '8K context each' where the pool holds that for all, else 'contexts of up to 8K'."""
    context = tokens(request.get("target_context"))
    return f"{context} context each" if _holds_full_contexts(plan) else f"contexts of up to {context}"


def _holds_full_contexts(plan: Plan) -> bool:
    engines = plan.replicas * plan.data_parallel_size
    return users_of(plan.performance) <= int(plan.memory.running_concurrency) * engines


def load_in_words(request: Mapping[str, Any]) -> str:
    """The workload and the typical request: 'chat (1,155 tokens in, 211 out)'."""
    lengths = f"{_number(request.get('input_tokens'))} tokens per input"
    if request.get("runner") != "pooling":
        lengths = f"{_number(request.get('input_tokens'))} tokens in, {_number(request.get('output_tokens'))} out"
    workload = request.get("workload")
    return f"{workload} ({lengths})" if workload else lengths


def users_of(performance: Performance) -> int:
    """Users that a prediction holds for."""
    return performance.load.users if performance.load is not None else performance.concurrency


def bill_in_words(cost: Cost | None) -> str:
    """What it costs and where: amount, provider, instance, date."""
    if cost is None:
        return "no price is known for this card (--price SKU=USD gives one)"
    billing, machine = getattr(cost, "billing", None), getattr(cost, "instance_type", None)
    if billing == "owned":
        return "owned: no hourly cost"
    instances = getattr(cost, "instances", None)
    machines = f"{instances} x {machine}" if machine and instances else machine
    bought, used = getattr(cost, "gpus_bought", None), getattr(cost, "gpus_used", None)
    surplus = f"buys {bought} GPUs, uses {used}" if bought != used else None
    together = f"{bought} GPUs" if bought and bought > 1 and not surplus else None
    parts = (cost.provider, machines, together, billing, surplus, cost.price_date)
    return f"{dollars(cost.usd_per_hour)} per hour ({', '.join(part for part in parts if part)})"


def weights_in_brief(plan: Plan) -> str:
    """Weights, their quality and the cache: 'w4a16 weights, 99.1 % of 16-bit quality; fp8 KV cache'."""
    recovery = plan.quality.recovery if plan.quality else None
    words = f"{plan.quantization} weights"
    if recovery is not None and plan.quantization != "bf16":
        words += f", {percent(recovery)} of 16-bit quality"
    return words + (f"; {plan.kv_cache_dtype} KV cache" if plan.kv_cache_dtype != "auto" else "")


def assumptions(request: Mapping[str, Any]) -> list[str]:
    """What was taken where nothing was given, with the option that states it: one sentence per source."""
    rows = [row for row in request.get("assumed", ()) if isinstance(row, dict)]
    from_workload = [row for row in rows if str(row.get("why", "")).startswith("workload ")]
    from_file = [row for row in rows if str(row.get("why", "")).startswith("from ")]
    others = [row for row in rows if row not in from_workload and row not in from_file]
    found = []
    for why in dict.fromkeys(row["why"] for row in from_file):
        listed = ", ".join(_assumed(row, named=False) for row in from_file if row["why"] == why)
        found.append(f"{why[:1].upper()}{why[1:]}: {listed}.")
    if from_workload:
        listed = ", ".join(_assumed(row, named=False) for row in from_workload)
        found.append(f"From workload {request.get('workload')}: {listed}.")
    if others:
        found.append(f"Assumed because not given: {', '.join(_assumed(row) for row in others)}.")
    return found


def _assumed(row: Mapping[str, Any], *, named: bool = True) -> str:
    field, value = str(row.get("field")), row.get("value")
    words = {
        "target_context": f"context {tokens(value)}",
        "concurrency": counted(value, "user") if isinstance(value, int) else f"{value} users",
        "input_tokens": f"{_number(value)} tokens in",
        "output_tokens": f"{_number(value)} tokens out",
        "internode_gbps": f"nodes joined by {value:g} Gbit/s" if isinstance(value, float) else "",
        "max_gpus": f"up to {value} GPUs",
        "vllm_version": f"vLLM {value}, the newest that loads the model",
        "mean_context": f"{_number(value)} tokens held on average",
        "max_ttft_ms": f"TTFT limit {_time(value)}",
        "max_tpot_ms": f"TPOT limit {_time(value)}",
        "objective": f"best by {' then '.join(value) if isinstance(value, list | tuple) else value}",
    }.get(field, f"{field.replace('_', ' ')} {value}")
    if "bent_from" in row and field in {"max_ttft_ms", "max_tpot_ms"}:
        words = f"{words[:4]} limit of {_time(row['bent_from'])} " + (
            "left out, since nothing meets it" if value is None else f"raised to {_time(value)}"
        )
    elif "bent_from" in row:
        words += f" instead of {tokens(row['bent_from'])}"
    option = OPTIONS.get(field, f"--{field.replace('_', '-')}")
    return f"{words} ({option})" if named else words


def warnings(plan: Plan, request: Mapping[str, Any]) -> list[str]:
    """What nobody should overlook in a plan."""
    speed = plan.performance
    found = [slow_in_words(speed)] if slow(speed) else []
    asked, users = request.get("concurrency"), users_of(speed)
    if isinstance(asked, int) and users > asked:
        found.append(f"The speed is that of {counted(users, 'user')}, which these flags admit; {asked:,} are asked.")
    if speed.saturated:
        found.append("Some users wait for a place; the wait is part of TTFT.")
    if speed.basis == "datasheet":
        words = f"{plan.gpu} was never measured with such kernels: its speed is from the datasheet"
        found.append(f"{words}; `vllm bench serve` tells.")
    if plan.checkpoint is None:
        found.append(f"No {plan.quantization} checkpoint of {plan.model} is published: it has to be made first.")
    return found


def notes_worth_a_line(answer: Answer) -> list[str]:
    """Notes that a short answer repeats; the rest stands behind --full."""
    every = dict.fromkeys((*answer.notes, *(answer.plan.notes if answer.plan else ())))
    wanted = (
        *(() if answer.plan is None or _holds_full_contexts(answer.plan) else ("the KV pool is sized for",)),
        "settings used",
        "sequences are counted at",
        "a typical request holds",
        "a context extended by",
        "the newest release of",
        "each server refuses requests",
        "prices are from",
        "the GPUs that are owned",
        "old prices",
        *(("no price is known",) if _priced(answer) else ()),
    )
    return [
        sentence(note)
        for note in every
        if note.startswith(wanted) or note.startswith("the time limit") or any(part in note for part in TELLING)
    ]


def _priced(answer: Answer) -> bool:
    return answer.plan is not None and answer.plan.cost is not None


def sentence(words: str) -> str:
    """Begin with a capital, unless with an id, and end with a full stop."""
    words = words.rstrip(".")
    first = words.partition(" ")[0]
    if not first.isalpha() or not first.islower():
        return f"{words}."
    return f"{words[:1].upper()}{words[1:]}."


def listed(parts: Sequence[str]) -> str:
    """Join as in a sentence: 'a, b and c'."""
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _time(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value / 1000:g} s" if value >= 1000 else f"{value:g} ms"
