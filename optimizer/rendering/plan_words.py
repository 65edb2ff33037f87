"""Plans in words: what the GPU count means, how sure an answer is, how a speed is known."""

from typing import Any

from vllm_opt.optimizer.contract.answer import Answer, Cost, Plan
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.quantities import count, dollars, milliseconds, percent, rate
from vllm_opt.profiles.reading.quantities import counted

BASIS_WORDS = {
    "measured": "measured on this SKU with this kernel path",
    "fitted": "fitted to measurements of this SKU or its family",
    "datasheet": "from the datasheet, biased to the slow side: no measurement of this SKU or kernel path",
    "derived": "derived from other figures",
}


PUBLISHER_WORDS = {
    "native": "as published",
    "official": "by the model's maker",
    "vendor": "by a vendor",
    "online": "quantised while loading",
    "community": "by the community",
}


def parallelism(plan: Plan) -> str:
    """Say how the GPUs of one server are used: 'TP 2 x PP 2, EP'."""
    sizes = [
        f"{name} {size}"
        for name, size in (
            ("DP", plan.data_parallel_size),
            ("TP", plan.tensor_parallel_size),
            ("PP", plan.pipeline_parallel_size),
        )
        if size > 1 or name == "TP"
    ]
    extras = [f"DCP {plan.decode_context_parallel_size}"] if plan.decode_context_parallel_size > 1 else []
    return ", ".join([" x ".join(sizes), *extras, *(["EP"] if plan.expert_parallel else [])])


def gpus_in_words(plan: Plan, concurrency: int | None) -> str:
    """Say what '40 x H200' means: replicas x parallelism, and how many sequences each replica takes."""
    per_server = plan.gpu_count // plan.replicas
    words = f"{plan.gpu_count} x {plan.gpu} = {plan.replicas} "
    words += "server" if plan.replicas == 1 else "separate servers (replicas)"
    words += f" x {counted(per_server, 'GPU')} ({parallelism(plan)})"
    if concurrency and plan.replicas > 1:
        share = -(-concurrency // plan.replicas)
        words += f"; each takes {share:,} of the {concurrency:,} sequences"
    return words


def weights_in_words(plan: Plan) -> str:
    """Say how weights and KV cache are stored and which checkpoint holds them."""
    checkpoint = f"{plan.checkpoint}, {PUBLISHER_WORDS.get(plan.checkpoint_publisher, plan.checkpoint_publisher)}"
    if plan.checkpoint is None:
        checkpoint = "hypothetical: make it first"
    return f"{plan.quantization} weights ({checkpoint}){quality_in_words(plan)}; KV cache {plan.kv_cache_dtype}"


def quality_in_words(plan: Plan) -> str:
    """Say what weights and KV cache keep of the scores, with the interval of the mean."""
    quality = plan.quality
    if quality is None or quality.recovery is None or quality.interval is None:
        return ", quality not published"
    if quality.interval[0] == 1.0:
        return ""
    low, high = quality.interval
    return f", keeps {percent(quality.recovery)} of the scores ({percent(low)} to {percent(high)})"


def cost_in_words(cost: Cost | None, unit: str = "output tokens") -> str:
    """Say what is bought and what it costs, also per million of a unit; where the price was read stands in JSON."""
    if cost is None:
        return "no price known for this SKU; --price SKU=USD gives one"
    words = f"{dollars(cost.usd_per_hour)} per hour"
    if cost.usd_per_million_output_tokens is not None:
        words += f", {dollars(cost.usd_per_million_output_tokens)} per million {unit}"
    machines = f"{count(cost.instances)} x {cost.instance_type}" if cost.instances > 1 else cost.instance_type
    parts = [] if cost.billing == "owned" else [cost.provider]
    parts += [machines, cost.billing]
    if cost.gpus_bought != cost.gpus_used:
        parts.append(f"buys {count(cost.gpus_bought)}, uses {count(cost.gpus_used)}")
    return f"{words} ({', '.join((*parts, cost.price_date))})"


NO_BOUND = 100.0
"""A bound so many times the value is none that says something."""


def status_in_words(answer: Answer) -> str:
    """Say how sure the answer is."""
    bounded = [objective for objective in answer.objectives if objective.gap <= NO_BOUND]
    far = f"at most {percent(max((objective.gap for objective in bounded), default=0.0))} from optimal"
    if not bounded:
        far = "nothing yet bounds how much better one may be"
    elif len(bounded) < len(answer.objectives):
        far += f" in {' and '.join(objective.name for objective in bounded)}"
    if answer.pareto:
        far = "not the whole front"
    return {
        "optimal": "proven optimal",
        "feasible": f"best found in the time limit, {far}",
        "infeasible": "no plan can meet this request (proven)",
        "unknown": "the time limit passed without an answer; raise --time-limit",
    }[answer.status]


SHOWN_PERCENTILES = ("p50", "p90", "p95", "p99")
SLOW_TTFT_MS, SLOW_TPOT_MS = 10_000, 250
"""Beyond these nobody waits or reads on: never shown without a word."""
SLOW_MARK = "!"
SLOW_WORDS = f"{SLOW_MARK} beyond {SLOW_TTFT_MS // 1000} s to the first token, or {SLOW_TPOT_MS} ms per token"


def slow(performance: Performance) -> bool:
    """Whether somebody who waits would give up."""
    return performance.ttft_ms > SLOW_TTFT_MS or (performance.tpot_ms or 0) > SLOW_TPOT_MS


def slow_in_words(performance: Performance) -> str:
    """Say what is slow and which option limits it; empty when nothing is."""
    found = []
    if performance.ttft_ms > SLOW_TTFT_MS:
        found.append(f"the first token takes {milliseconds(performance.ttft_ms)} on average (--max-ttft-ms limits it)")
    if performance.tpot_ms is not None and performance.tpot_ms > SLOW_TPOT_MS:
        found.append(f"each further token takes {milliseconds(performance.tpot_ms)} (--max-tpot-ms limits it)")
    return f"Slow: {'; '.join(found)}." if found else ""


def marked(time_ms: float, limit_ms: float, shown: str) -> str:
    """A time with a mark when it is beyond what anybody waits for."""
    return f"{shown}{SLOW_MARK}" if time_ms > limit_ms else shown


def speed_rows(performance: Performance) -> list[list[str]]:
    """Return name, value and interval of each speed."""
    rows = [["TTFT", milliseconds(performance.ttft_ms), _span(performance, "ttft_ms")]]
    if performance.tpot_ms is not None:
        rows.append(["TPOT", milliseconds(performance.tpot_ms), _span(performance, "tpot_ms")])
    rows.append(["end to end", milliseconds(performance.e2e_ms), _span(performance, "e2e_ms")])
    if only_prompts(performance):
        rows.append(["inputs", f"{rate(performance.requests_per_s)} per s", _span(performance, "output_tokens_per_s")])
        tokens = performance.total_tokens_per_s - performance.output_tokens_per_s
        return [*rows, ["input tokens", f"{rate(tokens)} tokens/s", ""]]
    output = f"{rate(performance.output_tokens_per_s)} tokens/s"
    rows.append(["output", output, _span(performance, "output_tokens_per_s")])
    rows.append(["input and output", f"{rate(performance.total_tokens_per_s)} tokens/s", ""])
    rows.append(["requests", f"{rate(performance.requests_per_s)} per s", ""])
    return rows


def percentile_rows(performance: Performance) -> list[list[str]]:
    """Percentiles over requests: name, then one cell each."""
    names = {"ttft_ms": "TTFT", "tpot_ms": "TPOT", "e2e_ms": "end to end"}
    return [
        [words, *(milliseconds(performance.percentiles[name][percent]) for percent in SHOWN_PERCENTILES)]
        for name, words in names.items()
        if name in performance.percentiles
    ]


def load_in_words(performance: Performance) -> str:
    """Say for which traffic figures hold."""
    load = performance.load
    users = counted(load.users, "user")
    if load.pattern == "poisson" and load.requests_per_s is not None:
        return f"{rate(load.requests_per_s)} requests/s at random, {counted(load.users, 'request')} in flight"
    return {"burst": f"{users} who send at once", "offline": f"a batch of {counted(load.users, 'prompt')}"}.get(
        load.pattern, f"{users} at once"
    )


def asked_in_words(asked: dict[str, Any]) -> str:
    """The load as it was asked: a rate, a number of sequences or as many as there is room for, and their length."""
    rate_asked, users, context = asked.get("requests_per_s"), asked.get("concurrency"), asked.get("target_context")
    full = "of" if asked.get("kv_sizing", "full") == "full" and rate_asked is None else "of up to"
    length = f" {full} {counted(context, 'token')}" if isinstance(context, int) else ""
    if rate_asked is not None:
        return f"{rate(rate_asked)} requests/s{length}"
    if isinstance(users, int):
        return f"{counted(users, 'sequence')}{length}"
    return f"as many sequences{length} as there is room for"


def capacity_in_words(performance: Performance) -> str:
    """Say how much of the capacity the load takes, and up to which rate limits hold."""
    parts = []
    if performance.utilization is not None and performance.load.pattern in ("closed", "poisson"):
        parts.append(f"the load takes {percent(performance.utilization)} of the capacity")
    if performance.most_requests_per_s is not None and performance.load.pattern == "poisson":
        parts.append(f"which is {rate(performance.most_requests_per_s)} requests/s")
    if performance.requests_per_s_within_limits is not None:
        parts.append(f"the limits hold up to {rate(performance.requests_per_s_within_limits)} requests/s")
    return f"Percentiles run over requests; {', '.join(parts)}." if parts else ""


def only_prompts(performance: Performance) -> bool:
    """Whether requests are prompts whose answer is one step: embeddings, scores, or a single token."""
    return performance.tpot_ms is None


def unit_of(performance: Performance | None) -> str:
    """What a server makes, as it is counted and paid for: output tokens, or inputs where a prompt is the request."""
    return "inputs" if performance is not None and only_prompts(performance) else "output tokens"


def _span(performance: Performance, name: str) -> str:
    if name not in performance.interval:
        return ""
    shown = milliseconds if name.endswith("_ms") else rate
    low, high = performance.interval[name]
    return f"{shown(low)} to {shown(high)}"


def basis_in_words(performance: Performance) -> str:
    """Say how the speed is known, and whether users wait."""
    words = f"How it is known: {(performance.basis_note or BASIS_WORDS[performance.basis]).rstrip('.')}."
    if performance.saturated and performance.load.pattern == "poisson":
        return f"{words} More arrives than is served: the queue grows without end, and times are those at capacity."
    if performance.saturated:
        words += f" With {counted(performance.concurrency, 'user')} some wait for a place; the wait is part of TTFT."
    return words


def start_sentences(plan: Plan) -> tuple[str, ...]:
    """What a command alone does not say where several servers start."""
    if plan.replicas == 1:
        return ()
    return (
        f"Each of the {plan.replicas} servers needs GPUs and a port of its own, and clients one address: --save-dir "
        "DIR writes scripts, compose files and manifests that say so.",
    )
