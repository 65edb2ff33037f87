"""What one more unit buys a feasible plan: computed by asking again with a nudged limit, never guessed.

- the smallest change of each number that makes the plan cheaper (or saves a GPU, where cost counts GPUs);
- what more GPUs and looser latency limits would add to the throughput;
- how many more sequences one GiB of KV cache per GPU holds.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from vllm_opt.optimizer.contract.answer import Plan, Sensitivity
from vllm_opt.optimizer.contract.quantities import count, dollars, rate
from vllm_opt.optimizer.explanation.relaxation import number_changes
from vllm_opt.optimizer.explanation.wording import relaxation_words
from vllm_opt.optimizer.questions.points import extreme
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.questions.thresholds import changed
from vllm_opt.optimizer.questions.witness import witness
from vllm_opt.profiles.reading.quantities import counted

GIB = 1 << 30
NUDGE = 1.1
LEAST_GAIN = 1.01
CENT = 0.01


def sensitivities(atlas: Atlas, question: Question, plan: Plan) -> tuple[Sensitivity, ...]:
    """Everything that a small change of the request would buy."""
    return (*_pool(plan), *_cheaper(atlas, question, plan), *_faster(atlas, question, plan))


def _pool(plan: Plan) -> Iterator[Sensitivity]:
    """Sequences of max_model_len that one more GiB of KV cache on every GPU would hold."""
    memory = plan.memory
    if not memory.kv_block_bytes or memory.running_concurrency <= 0:
        return
    per_sequence = memory.num_gpu_blocks / memory.running_concurrency * memory.kv_block_bytes
    more = GIB / per_sequence * plan.replicas * plan.data_parallel_size
    shown = f"{more:.2g}" if more < 10 else count(more)
    yield Sensitivity(
        change="kv_cache_bytes", from_value=memory.kv_cache_bytes, to=memory.kv_cache_bytes + GIB, gain=more,
        unit="sequences",
        message=f"+1 GiB of KV cache on every GPU holds {shown} more sequences of "
        f"{counted(int(plan.flags.get('max-model-len') or 0), 'token')}",
    )  # fmt: skip


def _cheaper(atlas: Atlas, question: Question, plan: Plan) -> Iterator[Sensitivity]:
    """The smallest change of each number with which something cheaper, or with fewer GPUs, would do."""
    targets = question.setting.targets
    if question.setting.priced and plan.cost is not None:
        if plan.cost.usd_per_hour <= 2 * CENT:
            return
        limit = math.ceil(plan.cost.usd_per_hour / CENT - 1) * CENT
        tighter, skipped = changed(question, max_hourly_cost=round(limit, 2)), "max_hourly_cost"
    else:
        if plan.gpu_count <= 1 or targets.gpus is not None:
            return
        tighter, skipped = changed(question, max_gpus=plan.gpu_count - 1), "max_gpus"
    for change in number_changes(atlas, tighter, without=(skipped,)):
        (field, to), *_ = change.fields.items()
        other = witness(atlas, changed(tighter, **change.fields))
        if other is None:
            continue
        gain, words, unit = _saving(plan, other)
        start = getattr(question.setting.request, field)
        yield Sensitivity(
            change=field, from_value=getattr(targets, field, None) if start is None else start, to=to, gain=gain,
            unit=unit, message=f"{relaxation_words(question, change.fields)} {words}",
        )  # fmt: skip


def _saving(plan: Plan, other: Plan) -> tuple[float, str, str]:
    gpus = f"{other.gpu_count} x {other.gpu} instead of {plan.gpu_count} x {plan.gpu}"
    if plan.cost is None or other.cost is None:
        return plan.gpu_count - other.gpu_count, f"needs {gpus}", "GPUs"
    saved = plan.cost.usd_per_hour - other.cost.usd_per_hour
    return saved, f"saves {dollars(saved)} per hour ({gpus})", "USD/hour"


def _faster(atlas: Atlas, question: Question, plan: Plan) -> Iterator[Sensitivity]:
    """What one more server, or a limit on latency looser by a tenth, would add on the plan's own SKU."""
    targets = question.setting.targets
    same = replace(changed(question, gpus=None, max_gpus=plan.gpu_count), skus=frozenset((plan.gpu,)))
    now = extreme(atlas, same, "throughput")
    if now is None:
        return
    limits = {field: getattr(targets, field) for field in ("max_ttft_ms", "max_tpot_ms")}
    nudges: list[tuple[str, float | int]] = [
        (field, round(limit * NUDGE, 3)) for field, limit in limits.items() if limit is not None
    ]
    if targets.gpus is None:
        nudges.append(("max_gpus", plan.gpu_count + plan.gpu_count // plan.replicas))
    for field, to in nudges:
        then = extreme(atlas, changed(same, **{field: to}), "throughput")
        if then is None or then[0] < now[0] * LEAST_GAIN:
            continue
        what = (
            f"{counted(int(to), 'GPU')} instead of {plan.gpu_count}"
            if field == "max_gpus"
            else relaxation_words(same, {field: to})
        )
        start = plan.gpu_count if field == "max_gpus" else limits[field]
        yield Sensitivity(
            change=field, from_value=start, to=to, gain=then[0] - now[0], unit="tokens/s",
            message=f"{what} raises what {plan.gpu} can reach from {rate(now[0])} to {rate(then[0])} output tokens/s "
            f"at {question.setting.request.confidence * 100:.3g} % confidence",
        )  # fmt: skip
