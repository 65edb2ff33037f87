"""`estimate`: one given configuration, its memory to the block, its speed, and everything that is not met."""

import math
from dataclasses import replace

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.constraints.judging.deployment import Deployment, PerformanceBound
from vllm_opt.constraints.layouts import compatibility, divisibility
from vllm_opt.constraints.layouts.platforms import release_gap, undocumented
from vllm_opt.constraints.memory.ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.money.bill import Bill, cheapest_bill
from vllm_opt.constraints.rules import violations
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.notes import speed_notes
from vllm_opt.optimizer.contract.answer import Equation, Estimate, Memory, Starts
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.contract.traffic import floor_of_traffic
from vllm_opt.optimizer.estimation.drafted import acceptance_of, draft_cost, draft_note, with_drafts
from vllm_opt.optimizer.estimation.hourly_cost import age_note, cost_of, offer_terms, price_notes
from vllm_opt.optimizer.estimation.kv_tiers.connectors import feature_refusals, offload_notes, sleep_notes
from vllm_opt.optimizer.estimation.kv_tiers.host_loads import check_loads, load_notes, with_loads
from vllm_opt.optimizer.estimation.media import lengths_with_images, with_encoder
from vllm_opt.optimizer.estimation.memory import memory_report, memory_without_plan
from vllm_opt.optimizer.estimation.performance import Engines, bound_at, following, predict
from vllm_opt.optimizer.estimation.rate_within_limits import queueing_notes, with_rate_within_limits
from vllm_opt.optimizer.estimation.releases import between_releases, next_release
from vllm_opt.optimizer.estimation.resolution import Setting, resolve
from vllm_opt.optimizer.estimation.resolved_request import resolved_request, typical_request, unheld_users
from vllm_opt.optimizer.estimation.starts import REFUSED, cold_starts, starts_of, unsure_starts
from vllm_opt.optimizer.estimation.startup_log import startup_log
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.nouns.workload import Targets

STARTUP_RULES = frozenset(
    ("divisibility", "compatibility", "context_length", "memory_budget", "startup_headroom", "state_blocks", "batching")
)
"""Rules without which vLLM does not start; the others are targets."""
ASKED_OTHERWISE = frozenset(("concurrency", "quality", "gpu_count", "budget"))
"""Rules that need a solve request; concurrency is judged by what the flags run at once (`unheld_users`)."""


def estimate(request: EstimateRequest, catalog: Catalog | None = None) -> Estimate:
    """Predict what one configuration would do.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    setting = resolve(request, catalog)
    offers = catalog.offers_of(setting.gpu, offer_terms(request, catalog))
    following = next_release(request.vllm_version, setting.engine, catalog)
    found = between_releases(
        estimate_setting(setting, request), request, following, lambda one: estimate_setting(resolve(one, catalog), one)
    )
    speed = found.performance if found.fits else None
    bill = _bill(setting, offers)
    notes = (*found.notes, *_platform_notes(setting), *(price_notes(catalog) if bill else ()), *age_note(bill))
    return found.model_copy(update={"cost": cost_of(bill, speed), "notes": notes})


def _platform_notes(setting: Setting) -> tuple[str, ...]:
    """What the SKU's platform does not document of this configuration, and the releases that it follows."""
    said = (violation.message.rstrip(".") for violation in undocumented(setting.layout, setting.gpu))
    gap = release_gap(setting.gpu, setting.engine)
    return (*said, gap) if gap else tuple(said)


def _bill(setting: Setting, offers: tuple[Offer, ...]) -> Bill | None:
    """The cheapest whole machines; data-parallel ranks may stand on several where one node does not hold them all."""
    layout, ranks = setting.layout, setting.layout.data_parallel_size
    if layout.gpus_per_server > setting.gpu.gpus_per_node and ranks > 1:
        return cheapest_bill(offers, setting.replicas * ranks, layout.gpus_per_server // ranks, layout.nodes)
    return cheapest_bill(offers, setting.replicas, layout.gpus_per_server, layout.nodes)


def estimate_setting(setting: Setting, request: EstimateRequest, *, expected: bool = False) -> Estimate:
    """Predict for a configuration that is already resolved.

    Whether it starts is judged at the confidence asked; `expected` judges the central estimate instead.
    """
    refused = (*_refusals(setting), *feature_refusals(request))
    if setting.layout.pipeline_parallel_size > setting.model.num_hidden_layers:
        return _refused_estimate(setting, request, refused)
    try:
        terms = memory_terms(setting.model, setting.quantization, setting.layout, setting.engine, setting.gpu)
    except LayoutRefused as refusal:
        if refusal.violation.rule not in {violation.rule for violation in refused}:
            refused = (*refused, refusal.violation)
        return _refused_estimate(setting, request, refused)
    flags = _with_fitted_length(setting, terms) if setting.auto_model_len else setting.flags
    memory = memory_report(
        setting.model, setting.quantization, setting.gpu, terms, flags, request.confidence, expected=expected
    )
    performance, bound, notes = _performance(setting, request, flags, terms, memory)
    deployment = _deployment(setting, request, flags, terms, bound)
    central = (*violations(deployment, without=ASKED_OTHERWISE), *feature_refusals(request, terms.kv))
    starts = starts_of(setting, terms, flags, central)
    unsure = () if expected else unsure_starts(setting, replace(deployment, confidence=request.confidence), central)
    found = (
        *central,
        *unsure,
        *(() if expected or central or unsure else cold_starts(setting, terms, flags, request.confidence)),
        *unheld_users(setting, request, terms, flags, memory),
        *_typical_request(_lengths(setting, request, flags), flags),
    )
    log = startup_log(setting, flags, memory, central, terms)
    notes += offload_notes(terms.kv, setting.layout, flags)
    notes += sleep_notes(request, terms, setting.gpu.gpus_per_node)
    answer = _answer(setting, request, flags, memory, performance, found, terms, starts, log)
    return answer.model_copy(update={"notes": (*answer.notes, *notes)}) if notes else answer


def _refusals(setting: Setting) -> tuple[Violation, ...]:
    arguments = (setting.model, setting.quantization, setting.layout, setting.engine, setting.gpu)
    return (*divisibility.violations(*arguments), *compatibility.violations(*arguments))


def _refused_estimate(setting: Setting, request: EstimateRequest, found: tuple[Violation, ...]) -> Estimate:
    memory = memory_without_plan(setting)
    log = startup_log(setting, setting.flags, memory, found, None)
    return _answer(setting, request, setting.flags, memory, None, found, None, REFUSED, log)


def _with_fitted_length(setting: Setting, terms: MemoryTerms) -> EngineFlags:
    """`--max-model-len auto`: the largest context that starts; batch defaults keep the unreduced length (0.33)."""
    flags = setting.flags
    fitted = terms.kv.max_supported_model_len(
        terms.num_gpu_blocks(flags), flags.max_num_batched_tokens, setting.model.max_model_len
    )
    return flags.model_copy(update={"max_model_len": max(1, fitted)})


def _users(setting: Setting, request: EstimateRequest, flags: EngineFlags, memory: Memory) -> int:
    """Closed-loop users: what was asked, else what the flags admit and the pool holds (contract, Load)."""
    if request.concurrency is not None:
        return request.concurrency
    per_engine = max(1, min(flags.max_num_seqs, int(memory.running_concurrency)))
    return per_engine * setting.layout.data_parallel_size * setting.replicas


def _performance(
    setting: Setting, request: EstimateRequest, flags: EngineFlags, terms: MemoryTerms, memory: Memory
) -> tuple[Performance | None, PerformanceBound | None, tuple[str, ...]]:
    """Speed at the load asked; None when not even one typical request is accepted and held.

    The engine runs what the pool holds at the mean length, prompt + half of the answer: lives are spread evenly.
    """
    check_loads(request, setting.layout, flags)
    lengths = _lengths(setting, request, flags)
    tokens = flags.max_num_batched_tokens
    held = _sequences(terms, memory, sum(lengths), tokens)
    if sum(lengths) > flags.max_model_len or not held:
        return None, None, ()
    pooled = max(1, _sequences(terms, memory, lengths[0] + -(-lengths[1] // 2), tokens))
    coefficients = latency_coefficients(
        setting.model, setting.quantization, setting.layout, setting.gpu, default_latency_constants(),
        calibrated=request.calibration, release=setting.engine.version,
    )  # fmt: skip
    coefficients = with_encoder(coefficients, setting.model, request, setting.gpu, setting.layout.tensor_parallel_size)
    coefficients = with_loads(
        coefficients, request.offload_hit_share, lengths[0], terms.kv_bytes_per_token, setting.gpu
    )
    hits = request.hit_share if setting.layout.enable_prefix_caching else 0.0
    engines = Engines(
        coefficients, engines=setting.layout.data_parallel_size * setting.replicas,
        max_num_seqs=min(flags.max_num_seqs, pooled), max_num_batched_tokens=tokens, lengths=lengths,
        chunked_prefill=setting.layout.enable_chunked_prefill, prefix_hit_share=hits,
        pool_sequences=pooled if pooled < flags.max_num_seqs else math.inf,
    )  # fmt: skip
    performance = predict(engines, _users(setting, request, flags, memory), request.demand, request.asked_percentiles)
    performance = with_rate_within_limits(performance, engines, request)
    notes = load_notes(coefficients, request, lengths, terms, flags, setting.gpu)
    notes += queueing_notes(request, performance, beyond_pool=engines.beyond_pool(performance.load.users))
    asked = request.confidence, (request.ttft_percentile, request.tpot_percentile)
    doubt = engines.doubt(request.demand, performance)
    rate = acceptance_of(setting.layout, request.acceptance)
    if rate is None:
        return performance, bound_at(coefficients, performance, *asked, doubt), notes
    cost = draft_cost(setting.model, setting.quantization, setting.layout, setting.gpu, setting.engine.version)
    drafted = with_drafts(
        performance, coefficients, setting.layout, cost, rate, lengths=lengths,
        engines=setting.layout.data_parallel_size * setting.replicas, max_num_seqs=min(flags.max_num_seqs, pooled),
        prefix_hit_share=hits,
    )  # fmt: skip
    note = draft_note(coefficients, setting.layout, cost, rate, lengths[0] + lengths[1] / 2)
    drafted = following(performance, drafted)
    return drafted, bound_at(coefficients, drafted, *asked, doubt), (*notes, note)


def _sequences(terms: MemoryTerms, memory: Memory, context: int, tokens: int) -> int:
    """Sequences of `context` tokens that the pool holds; as many as anybody asks where nothing is cached."""
    if not terms.kv.keeps_cache:
        return terms.UNLIMITED_BLOCKS if memory.max_supported_model_len else 0
    return terms.kv.sequence_blocks(context, tokens).sequences(memory.num_gpu_blocks)


def _deployment(
    setting: Setting, request: EstimateRequest, flags: EngineFlags, terms: MemoryTerms, bound: PerformanceBound | None
) -> Deployment:
    """The point as the rules see it: only the limits that were asked, and central memory estimates."""
    targets = Targets(
        target_context=1,
        concurrency=1,
        mean_context=1,
        max_ttft_ms=request.max_ttft_ms,
        max_tpot_ms=request.max_tpot_ms,
        ttft_percentile=request.ttft_percentile,
        tpot_percentile=request.tpot_percentile,
        requests_per_s=request.requests_per_s,
        min_output_tokens_per_s=floor_of_traffic(request, _lengths(setting, request, flags)[1]),
        max_gpus=2**31 - 1,
    )
    return Deployment(
        model=setting.model, quantization=setting.quantization, layout=setting.layout, gpu=setting.gpu,
        engine=setting.engine, flags=flags, replicas=setting.replicas, targets=targets, terms=terms, performance=bound,
    )  # fmt: skip


def _lengths(setting: Setting, request: EstimateRequest, flags: EngineFlags) -> tuple[int, int]:
    """The typical request with its images."""
    lengths = typical_request(setting.model, request, flags.max_model_len)
    return lengths_with_images(lengths, setting.model, request, request.input_tokens)


def _typical_request(lengths: tuple[int, int], flags: EngineFlags) -> tuple[Violation, ...]:
    """vLLM answers a request longer than max_model_len with an error; the server starts all the same."""
    tokens = sum(lengths)
    if tokens <= flags.max_model_len:
        return ()
    return (
        Violation(
            rule="typical_request",
            message="the typical request, input_tokens + output_tokens, is longer than max_model_len, so vLLM refuses "
            "it; raise max_model_len or shorten the request",
            needed=tokens,
            available=flags.max_model_len,
            unit="tokens",
        ),
    )


def _answer(
    setting: Setting, request: EstimateRequest, flags: EngineFlags, memory: Memory, performance: Performance | None,
    found: tuple[Violation, ...], terms: MemoryTerms | None, starts: Starts,
    log: tuple[str, ...],
) -> Estimate:  # fmt: skip
    fits = not any(violation.rule in STARTUP_RULES for violation in found)
    equations: tuple[Equation, ...] = ()
    if request.equations and terms is not None:
        from vllm_opt.optimizer.estimation.equations import equations_of

        equations = equations_of(setting, flags, terms, memory, performance)
    return Estimate(
        request=resolved_request(setting, request, flags, memory, performance),
        fits=fits,
        starts=starts,
        memory=memory,
        performance=performance,
        violations=found,
        startup_log=log,
        notes=(*setting.notes, *(speed_notes_of(setting, request) if performance is not None else ())),
        equations=equations,
    )


def speed_notes_of(setting: Setting, request: EstimateRequest) -> tuple[str, ...]:
    """What a reader must know about the predicted speed."""
    return speed_notes(
        default_latency_constants(), setting.gpu, setting.engine.version, setting.layout, request.prefix_hit_share
    )
