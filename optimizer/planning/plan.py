"""From one operating point to a Plan: recomputed with exact integers, re-checked by every rule, and made runnable."""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.rules import violations
from vllm_opt.optimizer.contract.answer import Equation, Memory, Performance, Plan
from vllm_opt.optimizer.estimation.drafted import acceptance_of, draft_cost, draft_note, with_drafts
from vllm_opt.optimizer.estimation.features import feature_flags
from vllm_opt.optimizer.estimation.hourly_cost import cost_of
from vllm_opt.optimizer.estimation.media import encoder_seconds, with_images
from vllm_opt.optimizer.estimation.memory import memory_report
from vllm_opt.optimizer.estimation.performance import bound_at, predict
from vllm_opt.optimizer.planning.binding import binding_rules
from vllm_opt.optimizer.serve_lines.command_line import command_of, flags_of
from vllm_opt.optimizer.space.points import Unit
from vllm_opt.optimizer.space.setting import HYPOTHETICAL, SolveSetting


@dataclass(frozen=True)
class Choice:
    """One full point: what the solver decided."""

    unit: Unit
    max_num_batched_tokens: int
    max_num_seqs: int
    gpu_memory_utilization: float


class PlanRejected(Exception):  # noqa: N818 - states what happened to the plan
    """A rule does not hold for a plan that the solver returned: a fault of this program, never of the request."""

    def __init__(self, found: tuple[Violation, ...]) -> None:
        super().__init__("; ".join(f"{violation.rule}: {violation.message}" for violation in found))
        self.violations = found


def engine_flags(setting: SolveSetting, choice: Choice) -> EngineFlags:
    """The integer flags of a choice; max_model_len is the target context."""
    return EngineFlags(
        gpu_memory_utilization=choice.gpu_memory_utilization,
        max_model_len=setting.targets.target_context,
        max_num_seqs=choice.max_num_seqs,
        max_num_batched_tokens=choice.max_num_batched_tokens,
        swap_space_gib=choice.unit.host_tier.swap_space_gib,
        kv_offloading_size_gib=choice.unit.host_tier.kv_offloading_size_gib,
    )


def predicted(setting: SolveSetting, choice: Choice) -> Performance:
    """Speed at full admitted load: max_num_seqs users in every engine."""
    facts, engines = choice.unit.facts, choice.unit.engines
    users = choice.max_num_seqs * engines
    if choice.unit.host_tier.parked:
        users = max(users, setting.targets.concurrency)
    return predict(
        facts.coefficients,
        engines=engines,
        users=users,
        max_num_seqs=choice.max_num_seqs,
        max_num_batched_tokens=choice.max_num_batched_tokens,
        lengths=setting.lengths,
        chunked_prefill=facts.layout.enable_chunked_prefill,
        prefix_hit_share=setting.request.prefix_hit_share if facts.layout.enable_prefix_caching else 0.0,
    )


def deployment_of(setting: SolveSetting, choice: Choice, performance: Performance) -> Deployment:
    """The point as the rules see it, at the confidence asked."""
    facts, confidence = choice.unit.facts, setting.request.confidence
    return Deployment(
        model=setting.model,
        quantization=facts.weights.quantization,
        layout=facts.layout,
        gpu=facts.sku.gpu,
        engine=setting.engine,
        flags=engine_flags(setting, choice),
        replicas=choice.unit.replicas,
        targets=setting.targets,
        terms=facts.terms,
        performance=bound_at(facts.coefficients, performance, confidence),
        usd_per_gpu_hour=facts.sku.price.usd_per_gpu_hour if facts.sku.price else None,
        quality=facts.weights.quality,
        quality_accepted=facts.weights.accepted,
        confidence=confidence,
    )


def _drafted(setting: SolveSetting, choice: Choice, plain: Performance) -> tuple[Performance, tuple[str, ...]]:
    """What drafts make of the speed of a plan. Limits are judged without it."""
    layout, facts = choice.unit.facts.layout, choice.unit.facts
    rate = acceptance_of(layout, setting.request.acceptance)
    if rate is None:
        return plain, ()
    cost = draft_cost(setting.model, facts.weights.quantization, layout, facts.sku.gpu)
    drafted = with_drafts(
        plain, facts.coefficients, layout, cost, rate, engines=choice.unit.engines, lengths=setting.lengths,
        max_num_seqs=choice.max_num_seqs, prefix_hit_share=setting.request.prefix_hit_share,
    )  # fmt: skip
    note = draft_note(facts.coefficients, layout, cost, rate, setting.lengths[0] + setting.lengths[1] / 2)
    return drafted, (note, "limits and objectives are judged by the speed without drafts")


def draft_gain(setting: SolveSetting, choice: Choice) -> float | None:
    """Tokens per second with drafts over those without, at the low end of the acceptance; None without drafts."""
    facts = choice.unit.facts
    rate = acceptance_of(facts.layout, setting.request.acceptance)
    if rate is None:
        return None
    plain = predicted(setting, choice)
    sure = rate.low if setting.request.confidence > 0.5 else rate.acceptance
    cost = draft_cost(setting.model, facts.weights.quantization, facts.layout, facts.sku.gpu)
    pinned = rate.model_copy(update={"acceptance": sure, "low": sure, "high": sure})
    drafted = with_drafts(
        plain, facts.coefficients, facts.layout, cost, pinned, engines=choice.unit.engines, lengths=setting.lengths,
        max_num_seqs=choice.max_num_seqs, prefix_hit_share=setting.request.prefix_hit_share,
    )  # fmt: skip
    return drafted.output_tokens_per_s / plain.output_tokens_per_s


def make_plan(setting: SolveSetting, choice: Choice) -> Plan:
    """Build and re-check one plan.

    Raises:
        PlanRejected: some rule does not hold; the solver and the physics disagree.
    """
    performance = predicted(setting, choice)
    deployment = deployment_of(setting, choice, performance)
    found = violations(deployment)
    if found:
        raise PlanRejected(found)
    layout, weights, flags = deployment.layout, choice.unit.facts.weights, deployment.flags
    shown = flags_of(setting.model, weights.quantization, layout, flags, setting.engine)
    shown |= feature_flags(setting.request, layout, setting.engine)
    facts = choice.unit.facts
    seconds = encoder_seconds(setting.model, setting.request, facts.sku.gpu, facts.layout.tensor_parallel_size)
    performance, draft_notes = _drafted(setting, choice, with_images(performance, seconds))
    cost = cost_of(choice.unit.facts.sku.price, choice.unit.gpu_count, performance)
    memory = memory_report(
        setting.model, weights.quantization, deployment.gpu, deployment.terms, flags, setting.request.confidence
    )
    return Plan(
        model=setting.model.id,
        checkpoint=weights.checkpoint,
        gpu=layout.gpu,
        gpu_count=deployment.gpu_count,
        replicas=choice.unit.replicas,
        tensor_parallel_size=layout.tensor_parallel_size,
        pipeline_parallel_size=layout.pipeline_parallel_size,
        data_parallel_size=layout.data_parallel_size,
        decode_context_parallel_size=layout.decode_context_parallel_size,
        expert_parallel=layout.expert_parallel,
        quantization=layout.quantization,
        quality=weights.quality,
        quality_evidence=weights.evidence,
        kv_cache_dtype=layout.kv_cache_dtype,
        flags=shown,
        env={},
        command=command_of(weights.checkpoint or folder_to_make(setting, layout.quantization), shown),
        vllm_version=setting.engine.version,
        memory=memory,
        performance=performance,
        cost=cost,
        binding=binding_rules(deployment),
        notes=(*plan_notes(setting, choice), *draft_notes),
        equations=_equations(setting, deployment, memory, performance),
    )


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
    return f"./{setting.model.id.split('/')[-1]}-{quantization}"


def plan_notes(setting: SolveSetting, choice: Choice) -> tuple[str, ...]:
    """What a reader must know before relying on the plan."""
    weights, targets = choice.unit.facts.weights, setting.targets
    notes = list(setting.notes)
    if weights.origin == HYPOTHETICAL:
        how = weights.quantization.checkpoint_note or "quantise the 16-bit checkpoint"
        folder = folder_to_make(setting, weights.quantization.id)
        notes.append(
            f"no {weights.quantization.id} checkpoint of {setting.model.id} is known; make one in {folder}: {how}"
        )
    if targets.mean_context < targets.target_context:
        notes.append(
            f"sequences are counted at {targets.mean_context} tokens on average; preemption is possible when many "
            f"reach {targets.target_context}"
        )
    if setting.model.verification:
        notes.append(setting.model.verification)
    return tuple(dict.fromkeys(notes))
