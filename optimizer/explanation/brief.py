"""Why nothing fits in one sentence, from what the search counted: for runs of thousands of questions."""

from collections import Counter

from vllm_opt.optimizer.contract.answer import Conflict, Explanation
from vllm_opt.optimizer.contract.quantities import dollars, milliseconds, rate
from vllm_opt.optimizer.search.search import SearchResult
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.reading.quantities import counted

FURTHEST_FIRST = (
    "context_length", "throughput", "tpot", "ttft", "budget", "concurrency", "gpu_count", "startup_headroom",
    "memory_budget", "divisibility", "quality", "compatibility",
)  # fmt: skip
"""Rules by how far a layout came before it met them: the furthest one tells most."""


def explain_briefly(setting: SolveSetting, result: SearchResult) -> Explanation:
    """Name the rule that stopped the layouts which came furthest, and how many layouts each rule ruled out.

    Nothing is searched again, so no relaxation is offered and the conflict is not proven minimal.
    """
    counts: Counter[str] = Counter()
    for dropped in result.dropped.values():
        counts.update(dropped)
    ordered = [rule for rule in FURTHEST_FIRST if counts[rule]]
    ordered += sorted(rule for rule in counts if rule not in FURTHEST_FIRST)
    if not ordered and setting.request.pins:
        pins = " ".join(f"--{field.replace('_', '-')} {value}" for field, value in setting.request.pins.items())
        message = f"no server within the GPUs allowed has {pins}"
        return Explanation(conflict=(Conflict(rule=next(iter(setting.request.pins)), message=message),), relaxations=())
    if not ordered:
        message = f"none of the weight formats asked for has a checkpoint of {setting.model.id} that can be loaded"
        return Explanation(conflict=(Conflict(rule="compatibility", message=message),), relaxations=())
    tally = ", ".join(f"{rule} {counts[rule]:,}" for rule in sorted(counts))
    message = f"{_sentence(setting, ordered[0])} (layouts ruled out: {tally})"
    return Explanation(conflict=(Conflict(rule=ordered[0], message=message),), relaxations=())


def _sentence(setting: SolveSetting, rule: str) -> str:
    targets, model = setting.targets, setting.model.id
    skus = " or ".join(item.gpu.id for item in setting.gpus[:4]) + (" or others" if len(setting.gpus) > 4 else "")
    most = counted(targets.gpus or targets.max_gpus, "GPU")
    where = f"on at most {most} ({skus})"
    up_to = "up to " if targets.kv_sizing == "typical" else ""
    holds = f"{counted(targets.concurrency, 'sequence')} of {up_to}{counted(targets.mean_context, 'token')}"
    longest = counted(targets.target_context, "token")
    limits = {
        "ttft": f"a TTFT of {milliseconds(targets.max_ttft_ms or 0)}",
        "tpot": f"a TPOT of {milliseconds(targets.max_tpot_ms or 0)}",
        "throughput": f"{rate(targets.min_output_tokens_per_s or 0)} output tokens per second",
    }
    sentences = {
        "context_length": f"{model} takes at most {counted(setting.model.max_model_len, 'token')}",
        "budget": f"no layout that serves {holds} costs at most {dollars(targets.max_hourly_cost or 0)} per hour",
        "concurrency": f"no layout {where} holds {holds}",
        "gpu_count": f"every layout needs more than {most}",
        "startup_headroom": f"no layout {where} leaves room outside the budget to start",
        "memory_budget": f"{model} with one sequence of {longest} fits no layout {where}",
        "divisibility": f"no layout {where} divides {model} evenly",
        "quality": f"no weight format of {model} with known quality of at least {targets.min_quality:g} runs {where}",
        "compatibility": f"vLLM {setting.engine.version} runs no weight format of {model} on {skus}",
    }
    if rule in limits:
        return f"no layout {where} that holds {holds} reaches {limits[rule]}"
    return sentences.get(rule, f"{rule} rules out every layout {where}")
