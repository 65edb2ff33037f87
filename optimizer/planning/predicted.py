"""What one full point would do: the speed of a choice under the traffic asked, with its drafts."""

from collections.abc import Sequence
from dataclasses import dataclass

from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.estimation.drafted import acceptance_of, draft_cost, draft_note, with_drafts
from vllm_opt.optimizer.estimation.performance import Engines, following, predict, predict_together
from vllm_opt.optimizer.space.points import Unit
from vllm_opt.optimizer.space.setting import SolveSetting


@dataclass(frozen=True)
class Choice:
    """One full point: what the solver decided."""

    unit: Unit
    max_num_batched_tokens: int
    max_num_seqs: int
    gpu_memory_utilization: float


def served_by(setting: SolveSetting, choice: Choice) -> Engines:
    """The engines of a choice."""
    facts = choice.unit.facts
    return Engines(
        facts.coefficients,
        engines=choice.unit.engines,
        max_num_seqs=choice.max_num_seqs,
        max_num_batched_tokens=choice.max_num_batched_tokens,
        lengths=setting.lengths,
        chunked_prefill=facts.layout.enable_chunked_prefill,
        prefix_hit_share=setting.request.hit_share if facts.layout.enable_prefix_caching else 0.0,
    )


Speeds = tuple[Performance, Performance]
"""Speed under the traffic asked, and at the most that the flags admit: max_num_seqs users in every engine."""


def predicted(setting: SolveSetting, choice: Choice) -> Speeds:
    """The speeds of one choice."""
    (found,) = predicted_together(setting, (choice,))
    return found


def predicted_together(setting: SolveSetting, choices: Sequence[Choice]) -> list[Speeds]:
    """The speeds of several choices, for little more than the time of one."""
    demand, percentiles = setting.demand, setting.request.asked_percentiles
    each = [served_by(setting, choice) for choice in choices]
    most = [choice.max_num_seqs * choice.unit.engines for choice in choices]
    users = most if setting.targets.load_free else [setting.targets.concurrency] * len(each)
    if demand.arrivals == "closed" and not demand.think_s:
        both = predict_together(
            list(zip(each, zip(users, most, strict=True), strict=True)), demand.lengths, percentiles
        )
        return [(asked, full) for asked, full in both]
    full = predict_together([(served, (load,)) for served, load in zip(each, most, strict=True)], demand.lengths)
    asked = [predict(served, load, demand, percentiles) for served, load in zip(each, users, strict=True)]
    return [(one, at_most) for one, (at_most,) in zip(asked, full, strict=True)]


def _drafted(setting: SolveSetting, choice: Choice, plain: Performance) -> tuple[Performance, tuple[str, ...]]:
    """What drafts make of the speed of a plan. Limits are judged without it."""
    layout, facts = choice.unit.facts.layout, choice.unit.facts
    rate = acceptance_of(layout, setting.request.acceptance)
    if rate is None:
        return plain, ()
    cost = draft_cost(facts.weights.model, facts.weights.quantization, layout, facts.sku.gpu, setting.engine.version)
    drafted = with_drafts(
        plain, facts.coefficients, layout, cost, rate, engines=choice.unit.engines, lengths=setting.lengths,
        max_num_seqs=choice.max_num_seqs, prefix_hit_share=setting.request.hit_share,
    )  # fmt: skip
    note = draft_note(facts.coefficients, layout, cost, rate, setting.lengths[0] + setting.lengths[1] / 2)
    return drafted, (note, "limits and objectives are judged by the speed without drafts")


def with_what_is_drafted(
    setting: SolveSetting, choice: Choice, plain: Performance
) -> tuple[Performance, tuple[str, ...]]:
    """What drafts make of a speed, percentiles included."""
    drafted, notes = _drafted(setting, choice, plain)
    return following(plain, drafted), notes


def draft_gain(setting: SolveSetting, choice: Choice) -> float | None:
    """Tokens per second with drafts over those without, at the low end of the acceptance; None without drafts."""
    facts = choice.unit.facts
    rate = acceptance_of(facts.layout, setting.request.acceptance)
    if rate is None:
        return None
    plain, _ = predicted(setting, choice)
    sure = rate.low if setting.request.confidence > 0.5 else rate.acceptance
    cost = draft_cost(
        facts.weights.model, facts.weights.quantization, facts.layout, facts.sku.gpu, setting.engine.version
    )
    pinned = rate.model_copy(update={"acceptance": sure, "low": sure, "high": sure})
    drafted = with_drafts(
        plain, facts.coefficients, facts.layout, cost, pinned, engines=choice.unit.engines, lengths=setting.lengths,
        max_num_seqs=choice.max_num_seqs, prefix_hit_share=setting.request.hit_share,
    )  # fmt: skip
    return drafted.output_tokens_per_s / plain.output_tokens_per_s
