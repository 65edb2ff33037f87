"""From one operating point to a Plan: recomputed with exact integers, re-checked by every rule, and made runnable."""

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.kv.held_blocks import tokens_held
from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.constraints.rules import violations
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.notes import speed_notes
from vllm_opt.optimizer.contract.answer import Equation, Memory, Plan, PlanQuality
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.estimation.features import feature_flags
from vllm_opt.optimizer.estimation.hourly_cost import age_note, cost_of
from vllm_opt.optimizer.estimation.memory import memory_report
from vllm_opt.optimizer.estimation.performance import bound_at
from vllm_opt.optimizer.estimation.rate_within_limits import queueing_notes, with_rate_within_limits
from vllm_opt.optimizer.planning.binding import binding_rules
from vllm_opt.optimizer.planning.bounded_queue import queue_flags, queue_notes
from vllm_opt.optimizer.planning.predicted import Choice, Speeds, predicted, served_by, with_what_is_drafted
from vllm_opt.optimizer.serve_lines.command_line import command_of, flags_of
from vllm_opt.optimizer.space.layout_facts import fed
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.weights import HYPOTHETICAL
from vllm_opt.profiles.catalogues.engines import engine_environment
from vllm_opt.profiles.configs.model_paths import short_name
from vllm_opt.profiles.nouns.quality import Quality
from vllm_opt.profiles.reading.quantities import counted


class PlanRejected(Exception):  # noqa: N818 - states what happened to the plan
    """A rule does not hold for a plan that the solver returned: a fault of this program, never of the request."""

    def __init__(self, found: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(f"{violation.rule}: {violation.message}" for violation in found))
        self.violations = found


SIZE_WORTH_A_NOTE = 0.05
"""Share that is added to a checkpoint of unknown size, from which on the plan says so."""


def engine_flags(setting: SolveSetting, choice: Choice) -> EngineFlags:
    """The integer flags of a choice; max_model_len is the target context."""
    return EngineFlags(
        gpu_memory_utilization=choice.gpu_memory_utilization,
        max_model_len=setting.targets.target_context,
        max_num_seqs=choice.max_num_seqs,
        max_num_batched_tokens=choice.max_num_batched_tokens,
        swap_space_gib=setting.engine.default_swap_space_gib,
        kv_offloading_size_gib=setting.request.kv_offloading_size or None,
    )


def deployment_of(setting: SolveSetting, choice: Choice, performance: Performance) -> Deployment:
    """The point as the rules see it, at the confidence asked.

    Memory and speed are computed anew: what the search remembered of other layouts must not vouch for this one.

    Raises:
        PlanRejected: the search took this layout for a faster or slower one.
        LayoutRefused: vLLM would refuse the layout before any memory is counted.
    """
    facts, confidence = choice.unit.facts, setting.request.confidence
    context = setting.targets.target_context
    terms = memory_terms(facts.weights.model, facts.weights.quantization, facts.layout, setting.engine, facts.sku.gpu)
    _check_speed(setting, choice)
    return Deployment(
        model=facts.weights.model,
        quantization=facts.weights.quantization,
        layout=facts.layout,
        gpu=facts.sku.gpu,
        engine=setting.engine,
        flags=engine_flags(setting, choice),
        replicas=choice.unit.replicas,
        targets=setting.targets,
        terms=terms,
        performance=bound_at(
            facts.coefficients,
            performance,
            confidence,
            (setting.targets.ttft_percentile, setting.targets.tpot_percentile),
            served_by(setting, choice).doubt(setting.demand, performance),
        ),
        offers=facts.sku.offers,
        quality=facts.weights.plan_quality(facts.layout.kv_cache_dtype, facts.sku.gpu, context),
        quality_accepted=facts.weights.accepts(facts.layout.kv_cache_dtype, facts.sku.gpu, context),
        confidence=confidence,
    )


def _check_speed(setting: SolveSetting, choice: Choice) -> None:
    """Refuse a layout whose speed the search remembered wrongly."""
    facts = choice.unit.facts
    anew = latency_coefficients(
        facts.weights.model, facts.weights.quantization, facts.layout, facts.sku.gpu, facts.constants,
        calibrated=setting.request.calibration, release=setting.engine.version,
    )  # fmt: skip
    anew = fed(setting, anew, facts.layout, lambda: facts.terms.kv, facts.sku.gpu)
    if anew != facts.coefficients:
        raise PlanRejected(
            (
                Violation(
                    rule="throughput", message="the search counted with the speed of another layout", unit="tokens/s"
                ),
            )
        )


def make_plan(setting: SolveSetting, choice: Choice, speeds: Speeds | None = None) -> Plan:
    """Build and re-check one plan. `speeds`: its own, where they were predicted together with those of others.

    Raises:
        PlanRejected: some rule does not hold; the solver and the physics disagree.
    """
    performance, at_most = speeds or predicted(setting, choice)
    try:
        deployment = deployment_of(setting, choice, performance)
    except LayoutRefused as refusal:
        raise PlanRejected((refusal.violation,)) from refusal
    found = violations(deployment)
    if found:
        raise PlanRejected(found)
    layout, weights, flags = deployment.layout, choice.unit.facts.weights, deployment.flags
    shown = flags_of(weights.model, weights.quantization, layout, flags, setting.engine)
    shown |= feature_flags(setting.request, setting.model, layout, setting.engine)
    queue = queue_flags(setting, choice)
    shown |= queue
    limits = setting.targets.max_ttft_ms, setting.targets.max_tpot_ms
    performance = with_rate_within_limits(performance, served_by(setting, choice), setting.request, limits)
    performance, draft_notes = with_what_is_drafted(setting, choice, performance)
    performance_full, _ = with_what_is_drafted(setting, choice, at_most)
    said = (*queue_notes(queue), *queueing_notes(setting.request, performance))
    cost = cost_of(deployment.bill, performance)
    memory = memory_report(
        setting.model, weights.quantization, deployment.gpu, deployment.terms, flags, setting.request.confidence
    )
    return Plan(
        model=setting.model.id,
        checkpoint=weights.checkpoint,
        checkpoint_publisher=weights.publisher,
        gpu=layout.gpu,
        gpu_count=deployment.gpu_count,
        replicas=choice.unit.replicas,
        tensor_parallel_size=layout.tensor_parallel_size,
        pipeline_parallel_size=layout.pipeline_parallel_size,
        data_parallel_size=layout.data_parallel_size,
        decode_context_parallel_size=layout.decode_context_parallel_size,
        expert_parallel=layout.expert_parallel,
        quantization=layout.quantization,
        quality=quality_report(deployment.quality, setting.request.confidence),
        kv_cache_dtype=layout.kv_cache_dtype,
        flags=shown,
        env=engine_environment(setting.engine),
        command=command_of(weights.checkpoint or folder_to_make(setting, layout.quantization), shown, setting.engine),
        vllm_version=setting.engine.version,
        memory=memory,
        performance=performance,
        performance_full=performance_full,
        preemption_risk=_preemption_risk(deployment, memory),
        cost=cost,
        binding=binding_rules(deployment),
        notes=(*plan_notes(setting, choice), *draft_notes, *said, *age_note(deployment.bill)),
        equations=_equations(setting, deployment, memory, performance),
    )


def quality_report(quality: Quality | None, confidence: float) -> PlanQuality | None:
    """Recovery of weights and KV cache, its two-sided interval, and what it rests on."""
    if quality is None:
        return None
    return PlanQuality(recovery=quality.recovery, interval=quality.interval(confidence), evidence=quality.evidence)


def _preemption_risk(deployment: Deployment, memory: Memory) -> float | None:
    """The chance that the sequences of the load asked hold more than the pool at a moment."""
    targets = deployment.targets
    typical = targets.contexts_in_flight
    if typical is None:
        return None
    free = targets.load_free or targets.requests_per_s is not None
    running = deployment.flags.max_num_seqs if free else targets.share_of(deployment.engines)
    if memory.running_concurrency >= running:
        return 0.0
    pool_tokens = memory.running_concurrency * deployment.flags.max_model_len
    return typical.overflow_probability(running, pool_tokens)


def _equations(
    setting: SolveSetting, deployment: Deployment, memory: Memory, performance: Performance
) -> tuple[Equation, ...]:
    """The formulas with their numbers in, when they are asked for."""
    if not setting.request.equations:
        return ()
    from vllm_opt.optimizer.estimation.equations import equations_of

    return equations_of(deployment, deployment.flags, deployment.terms, memory, performance)


def folder_to_make(setting: SolveSetting, quantization: str) -> str:
    """Where the command expects a checkpoint that nobody has published: the notes say how to make it."""
    return f"./{short_name(setting.model.id)}-{quantization}"


def host_memory_note(setting: SolveSetting, choice: Choice) -> str:
    """What host memory is good for: blocks of finished prompts, which a later request with the same beginning loads.

    vLLM 0.33 (`v1/kv_offload`, `v1/core/kv_cache_utils.py`): pool, blocks per request and running sequences are those
    without the tier; so is V0's swap space, which only takes sequences that were preempted.
    """
    facts, engine = choice.unit.facts, setting.engine
    host, gpu = setting.request.host_memory_gib or 0.0, facts.sku.gpu
    if not engine.kv_offloading:
        return "host memory runs no further sequences: it is not part of the plan"
    share = int(host * min(facts.layout.gpus_per_server, gpu.gpus_per_node) / gpu.gpus_per_node)
    flags = engine_flags(setting, choice).model_copy(update={"kv_offloading_size_gib": float(share)})
    tokens = facts.terms.host_tier_tokens(flags)
    return (
        f"host memory runs no further sequences and is not part of the plan; --kv-offloading-size {share} would keep "
        f"{tokens} tokens of finished prompts for later requests that begin alike"
    )


def tier_note(setting: SolveSetting, choice: Choice) -> str:
    """What the KV offload tiers of a plan take of a node's host memory: every engine has one of its own."""
    layout, gpu, size = choice.unit.facts.layout, choice.unit.facts.sku.gpu, setting.request.kv_offloading_size or 0.0
    tokens = choice.unit.facts.terms.host_tier_tokens(engine_flags(setting, choice))
    engines = min(choice.unit.engines, max(1, gpu.gpus_per_node // layout.gpus_per_engine))
    said = f"the KV offload tier of each engine keeps {counted(tokens, 'token')} of finished prompts"
    said += f"; it takes {engines * size:g} GiB of a node's host memory ({counted(engines, 'engine')} on one)"
    room = setting.request.host_memory_gib
    if room is not None and engines * size > room:
        said += f", more than the {room:g} GiB that are there: lower --kv-offloading-size to {room / engines:g}"
    return said


def plan_notes(setting: SolveSetting, choice: Choice) -> tuple[str, ...]:
    """What a reader must know before relying on the plan."""
    weights, targets = choice.unit.facts.weights, setting.targets
    notes = list(setting.notes)
    if weights.publisher_rank == HYPOTHETICAL:
        how = weights.quantization.checkpoint_note or "quantise the 16-bit checkpoint"
        folder = folder_to_make(setting, weights.quantization.id)
        notes.append(
            f"make it first: no {weights.quantization.id} checkpoint of {setting.model.id} is published; the command "
            f"expects one in {folder}: {how}"
        )
    if targets.mean_context < targets.target_context:
        notes.append(
            f"sequences are counted at {counted(targets.mean_context, 'token')} on average; preemption is possible "
            f"when many reach {targets.target_context:,}"
        )
        held_at_least = setting.lengths[0] * (1 - setting.request.hit_share) + setting.lengths[1] / 2
        if targets.mean_context < held_at_least:
            notes.append(
                f"a typical request holds {held_at_least:,.0f} tokens of its own, more than the "
                f"{targets.mean_context:,} that sequences are counted at: users will wait longer than this speed says; "
                "state --input-tokens and --output-tokens, or a larger --mean-context"
            )
    pool = choice.unit.facts.terms.kv
    held = tokens_held(pool, targets, choice.max_num_seqs)
    if targets.contexts_in_flight is not None and any(pool.block_bytes) and held < targets.target_context:
        notes.append(
            f"the KV pool is sized for the lengths that are typical: {counted(held, 'token')} in each of "
            f"{counted(choice.max_num_seqs, 'sequence')} and one full context of {targets.target_context:,} beside "
            "them (--kv-sizing full sizes it for full contexts)"
        )
    stored = weights.model.native_quantization
    if stored is not None and stored.size_margin >= SIZE_WORTH_A_NOTE:
        notes.append(
            f"the size of {weights.checkpoint} is not known: {stored.size_margin:.0%} is added for layers that may be "
            "left in 16 bits"
        )
    if setting.request.kv_offloading_size:
        notes.append(tier_note(setting, choice))
    elif setting.request.host_memory_gib is not None:
        notes.append(host_memory_note(setting, choice))
    if setting.model.verification and not setting.model.verification.startswith("exact"):
        notes.append(setting.model.verification)
    facts = choice.unit.facts
    notes += speed_notes(
        facts.constants, facts.sku.gpu, setting.engine.version, facts.layout, setting.request.hit_share
    )
    return tuple(dict.fromkeys(notes))
