"""How far a feasible deployment is from breaking each rule that has a number."""

from collections.abc import Iterator

from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.startup_errors import format_gib
from vllm_opt.constraints.money.bill import MICRO
from vllm_opt.constraints.rules.concurrency import blocks_for_sequences
from vllm_opt.optimizer.contract.answer import Binding
from vllm_opt.profiles.reading.quantities import counted


def binding_rules(deployment: Deployment) -> tuple[Binding, ...]:
    """Slack of every rule with a number, tightest (relative to its limit) first."""
    found = sorted(_slacks(deployment), key=lambda item: item[0])
    return tuple(binding for _, binding in found)


def _slacks(deployment: Deployment) -> Iterator[tuple[float, Binding]]:
    yield from _memory(deployment)
    yield from _latency(deployment)
    targets = deployment.targets
    admitted = deployment.flags.max_num_seqs * deployment.engines
    slack: float = admitted - targets.concurrency
    if targets.requests_per_s is None or targets.concurrency > 1:  # a rate asks for no number of sequences
        yield slack / targets.concurrency, Binding(
            rule="concurrency", slack=slack, unit="sequences",
            message=f"{counted(admitted, 'sequence')} admitted, {targets.concurrency:,} asked",
        )  # fmt: skip
    limit = targets.max_hourly_cost
    if limit is not None and deployment.bill is not None:
        cost = deployment.bill.microusd_per_hour / MICRO
        yield (limit - cost) / limit, Binding(
            rule="budget", slack=limit - cost, unit="USD/hour",
            message=f"{cost:.2f} of {limit:g} USD per hour are spent",
        )  # fmt: skip
    if targets.gpus is None:
        spare = targets.max_gpus - deployment.gpu_count
        yield spare / targets.max_gpus, Binding(
            rule="gpu_count", slack=spare, unit="GPUs",
            message=f"{deployment.gpu_count} of at most {counted(targets.max_gpus, 'GPU')} used",
        )  # fmt: skip


def _memory(deployment: Deployment) -> Iterator[tuple[float, Binding]]:
    flags, terms = deployment.flags, deployment.terms
    available = deployment.num_gpu_blocks
    needed = blocks_for_sequences(deployment, flags.max_num_seqs)
    block_bytes = max(terms.kv.block_bytes, default=0)
    yield (available - needed) / max(1, available), Binding(
        rule="memory_budget", slack=(available - needed) * block_bytes, unit="bytes",
        message=f"{needed:,} of {counted(available, 'KV block')} hold {counted(flags.max_num_seqs, 'sequence')} per "
        f"engine {deployment.certainty}",
    )  # fmt: skip
    headroom = terms.headroom_bytes(flags.gpu_memory_utilization)
    wanted = terms.headroom_needed_bytes(flags.max_num_batched_tokens, flags.max_num_seqs, deployment.confidence)
    yield (headroom - wanted) / max(1, headroom), Binding(
        rule="startup_headroom", slack=headroom - wanted, unit="bytes",
        message=f"{format_gib(wanted)} of {format_gib(headroom)} GiB outside the budget are needed",
    )  # fmt: skip


def _latency(deployment: Deployment) -> Iterator[tuple[float, Binding]]:
    targets, performance = deployment.targets, deployment.performance
    if performance is None:
        return
    upper = (
        ("ttft", targets.max_ttft_ms, performance.ttft_ms),
        ("tpot", targets.max_tpot_ms, performance.tpot_ms),
    )
    for rule, limit, value in upper:
        if limit is not None and value is not None:
            yield (limit - value) / limit, Binding(
                rule=rule, slack=limit - value, unit="ms",
                message=f"{rule.upper()} is {value:.1f} ms {deployment.certainty}, of at most {limit:g} ms",
            )  # fmt: skip
    floor = targets.min_output_tokens_per_s
    if floor is not None and targets.requests_per_s is None:  # at a rate what is made is what comes: never to spare
        reached = performance.output_tokens_per_s
        yield (reached - floor) / floor, Binding(
            rule="throughput", slack=reached - floor, unit="tokens/s",
            message=f"{reached:.0f} output tokens/s {deployment.certainty}, of at least {floor:g}",
        )  # fmt: skip
