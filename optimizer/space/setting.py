"""From a `SolveRequest` to everything the search needs: SKUs with prices, weight formats with evidence, targets."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.constraints.money.bill import Bill, cheapest_bill, most_replicas
from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.optimizer.contract.assumptions import LENGTHS, Assumption
from vllm_opt.optimizer.contract.request import SolveRequest, clip_lengths, typical_lengths
from vllm_opt.optimizer.contract.traffic import floor_of_traffic
from vllm_opt.optimizer.estimation.hourly_cost import offer_terms, price_notes
from vllm_opt.optimizer.estimation.media import lengths_with_images
from vllm_opt.optimizer.estimation.own_calibration import calibration_notes, with_own_calibration
from vllm_opt.optimizer.estimation.releases import release_of, v0_reason
from vllm_opt.optimizer.estimation.resolution import native_quantization_id, served_model
from vllm_opt.optimizer.estimation.speculation import speculation_of
from vllm_opt.optimizer.space.default_limits import NOTHING_BENT, Bends, assumptions, is_stated, limits_ms
from vllm_opt.optimizer.space.local_machine import in_use, machine_gpus, on_this_machine, only_local, within_machine
from vllm_opt.optimizer.space.offload_tier import reaches_host
from vllm_opt.optimizer.space.platforms import platform_notes
from vllm_opt.optimizer.space.queue_memory import QueueMemory
from vllm_opt.optimizer.space.weights import WeightFormat, weight_formats
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.normal import normal_quantile
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.nouns.workload import ContextsInFlight, Targets

DEFAULT_MAX_GPUS, LARGEST_BATCH = 16, 1024
WIDEST_STEP = 32768
"""The largest max_num_batched_tokens that is tried, so no more sequences fit a step."""
LENGTH_VARIATION = 1.0
"""Coefficient of variation of lengths whose spread nobody stated: exponential, our choice on the safe side."""
LARGEST_WEIGHTS_BYTES = 1 << 50


@dataclass(frozen=True)
class PricedGpu:
    """One SKU that takes part, and the machines on offer; none for a SKU without a price."""

    gpu: GpuProfile
    offers: tuple[Offer, ...] = ()
    _bills: dict[tuple[int, int, int], Bill | None] = field(default_factory=dict, compare=False, repr=False)

    def bill(self, replicas: int, server_gpus: int, nodes: int = 1) -> Bill | None:
        """The cheapest whole machines for so many servers; None without a price, or when no offer holds them."""
        key = replicas, server_gpus, nodes
        if key not in self._bills:
            self._bills[key] = cheapest_bill(self.offers, *key)
        return self._bills[key]

    def most_replicas(self, server_gpus: int, nodes: int, most: int) -> int:
        """The servers that the offers hold, at most `most`; a SKU without a price is not limited."""
        found = 0 if self.offers else most
        for offer in self.offers:
            held = most_replicas(offer, server_gpus, nodes)
            found = most if held is None else max(found, min(held, most))
        return found


@dataclass(frozen=True)
class SolveSetting:
    """A resolved request."""

    request: SolveRequest
    model: ModelProfile
    engine: EngineProfile
    gpus: tuple[PricedGpu, ...]
    formats: tuple[WeightFormat, ...]
    targets: Targets
    lengths: tuple[int, int]
    notes: tuple[str, ...]
    bends: Bends = NOTHING_BENT
    assumed: tuple[dict[str, object], ...] = field(default=(), compare=False)
    machine_gpus: int | None = None
    """GPUs of this machine, where a plan may use no others."""
    speculation: Speculation | None = None
    remembered: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What every layout of the request has in common (`layouts.py`); a copy with other values starts anew."""
    queue_memory: QueueMemory = field(default_factory=QueueMemory, compare=False, repr=False)

    @property
    def largest_batch(self) -> int:
        """The largest max_num_seqs that is tried: what is pinned, else as many as a step is wide."""
        return self.request.max_num_seqs or WIDEST_STEP

    def load_is_asked(self, active: frozenset[str]) -> bool:
        """Whether speed is that of the load asked; otherwise it is that of whatever the flags admit."""
        return not self.targets.load_free and "concurrency" in active and self.demand.arrivals != "poisson"

    @property
    def users_asked(self) -> int | str | None:
        """The users asked; None where requests arrive at a rate and nobody said how many are held."""
        if self.targets.load_free:
            return "max"
        given = is_stated(self.request, "concurrency") or self.request.pattern != "poisson"
        return self.targets.concurrency if given else None

    @cached_property
    def demand(self) -> Demand:
        """How requests come."""
        return self.request.demand

    @cached_property
    def priced(self) -> bool:
        """Whether any SKU has a price; otherwise cost counts GPUs."""
        return any(candidate.offers for candidate in self.gpus)


def resolve_solve(request: SolveRequest, catalog: Catalog, bends: Bends = NOTHING_BENT) -> SolveSetting:
    """Look everything up; `bends` says which defaults have given way.

    Raises:
        UnknownProfile: a name that the catalogue does not hold.
        InvalidRequest: a request that leaves nothing to choose from.
    """
    named = catalog.model(request.model)
    gpus = priced_gpus(request, catalog)
    engine, note, older = release_of(named, catalog, request.vllm_version, request.engine)
    left = tuple(item for item in gpus if request.engine or v0_reason(named, engine, item.gpu) is None)
    if not left and gpus:
        engine, note, older = release_of(named, catalog, request.vllm_version, request.engine, gpus[0].gpu)
    elif len(left) < len(gpus):
        gpus, names = left, ", ".join(item.gpu.id for item in gpus if item not in left)
        gone = f"left out: vLLM {engine.version} runs {names} on its V0 engine; --gpu with no other SKU plans for that"
        note = f"{note}; {gone}" if note else gone
    model, model_notes = served_model(named, request, engine)
    request = _as_the_model_runs(request, model)
    _check_size(model, catalog)
    if request.kv_cache_dtype not in ("any", "auto"):
        catalog.kv_cache_dtype(request.kv_cache_dtype)
    kinds_note = ""
    if only_local(request):
        kept, kinds_note = on_this_machine(item.gpu for item in gpus)
        gpus = tuple(item for item in gpus if item.gpu.id in kept)
    reached, link_note = reaches_host(request, engine, tuple(item.gpu for item in gpus))
    gpus = tuple(item for item in gpus if item.gpu.id in reached)
    machine = machine_gpus((item.gpu for item in gpus), request)
    speculation, draft_notes = speculation_of(request, model, catalog)
    said = (
        note,
        *model.assumptions,
        *model_notes,
        *draft_notes,
        kinds_note,
        link_note,
        *platform_notes(gpus, request, engine),
        *in_use(item.gpu for item in gpus),
        *price_notes(catalog),
        *calibration_notes((item.gpu for item in gpus), request),
    )
    if not is_stated(request, "target_context") and request.target_context > model.max_model_len:
        bends = replace(bends, target_context=model.max_model_len)
    lengths = with_images(lengths_of(request, bends), bends.target_context or request.target_context, model, request)
    setting = SolveSetting(
        request=request,
        model=model,
        engine=engine,
        gpus=gpus,
        formats=weight_formats(request, model, engine, catalog),
        targets=within_machine(targets_of(request, bends, lengths), request, machine),
        lengths=lengths,
        notes=tuple(text for text in said if text),
        bends=bends,
        assumed=(*assumptions(request, lengths, bends), *((_older_release(engine, note),) if older else ())),
        machine_gpus=machine,
        speculation=speculation,
    )
    unpriced = ", ".join(item.gpu.id for item in gpus if not item.offers)
    if not unpriced:
        return setting
    after = "it comes after every SKU with a price and is compared by its GPUs"
    effect = after if setting.priced else "cost counts GPUs"
    text = f"no price is known for {unpriced}, so {effect}; give prices with --price SKU=USD"
    return replace(setting, notes=(*setting.notes, text))


def _as_the_model_runs(request: SolveRequest, model: ModelProfile) -> SolveRequest:
    """The request with what the model's runner means for it: prompts alone, or clips of speech."""
    if model.runner == "pooling" and not request.is_pooling:
        return request.replaced(runner="pooling")
    if model.runner != "transcription" or (request.input_tokens and request.output_tokens):
        return request
    context = min(request.target_context, model.max_model_len)
    lengths = dict(zip(LENGTHS, clip_lengths(context, request.input_tokens, request.output_tokens), strict=True))
    filled = {name: value for name, value in lengths.items() if getattr(request, name) is None}
    why = "a clip of speech: a few tokens that say what to do, and a quarter of the context written down"
    assumed = tuple(Assumption(field=name, value=value, why=why) for name, value in filled.items())
    return request.replaced(**filled, assumed=(*request.assumed, *assumed))


def _older_release(engine: EngineProfile, note: str | None) -> dict[str, Any]:
    return Assumption(field="vllm_version", value=engine.version, why=note or "").row()


def _check_size(model: ModelProfile, catalog: Catalog) -> None:
    """Refuse what no fleet holds: beyond a PiB of weights the sums of many layouts leave 64 bits."""
    native = catalog.quantization(native_quantization_id(model))
    total = sum(weight_bytes(model, native, Layout(gpu="", quantization=native.id)))
    if total > LARGEST_WEIGHTS_BYTES:
        raise InvalidRequest(
            f"the config of {model.id[:200]} describes {total >> 40:,} TiB of weights, more than "
            f"{LARGEST_WEIGHTS_BYTES >> 40:,}, which no deployment holds; check its sizes"
        )


def with_images(lengths: tuple[int, int], context: int, model: ModelProfile, request: SolveRequest) -> tuple[int, int]:
    """The typical request with its images.

    Raises:
        InvalidRequest: with its images it is longer than the target context.
    """
    longer = lengths_with_images(lengths, model, request, request.input_tokens)
    if longer != lengths and sum(longer) > context:
        raise InvalidRequest(
            f"images_per_request: with its images and videos the typical request has {sum(longer)} tokens, more than "
            f"target_context {context}; raise target_context or shorten the request"
        )
    return longer


def lengths_of(request: SolveRequest, bends: Bends = NOTHING_BENT) -> tuple[int, int]:
    """Input and output tokens of the typical request."""
    if bends.target_context is None:
        return request.typical_request
    given = (request.input_tokens, request.output_tokens)
    if sum(length or 1 for length in given) > bends.target_context:
        given = (None, None)
    return typical_lengths(bends.target_context, *given)


def targets_of(request: SolveRequest, bends: Bends, lengths: tuple[int, int]) -> Targets:
    """The limits of a request whose typical lengths, images included, are these; defaults filled in."""
    context, free = bends.target_context or request.target_context, request.concurrency == "max"
    limits = limits_ms(request, lengths[0], bends)
    return Targets(
        target_context=context,
        concurrency=bends.concurrency or _least_concurrency(request),
        mean_context=min(context, request.mean_context or context),
        contexts_in_flight=_contexts_in_flight(request, lengths),
        load_free=free,
        admission_reserve=not (free or bends.reserve or request.max_num_seqs or request.pattern == "poisson"),
        max_ttft_ms=limits[0],
        max_tpot_ms=limits[1],
        ttft_percentile=request.ttft_percentile,
        tpot_percentile=request.tpot_percentile,
        requests_per_s=request.requests_per_s,
        min_output_tokens_per_s=floor_of_traffic(request, lengths[1]),
        max_hourly_cost=request.max_hourly_cost,
        min_quality=request.min_quality,
        gpus=request.gpus,
        max_gpus=request.max_gpus or request.gpus or DEFAULT_MAX_GPUS,
    )


def _least_concurrency(request: SolveRequest) -> int:
    """Sequences that must be held at once; what requests at a rate need follows from their speed."""
    stated = is_stated(request, "concurrency")
    return request.least_concurrency if stated or request.pattern != "poisson" else 1


def _contexts_in_flight(request: SolveRequest, lengths: tuple[int, int]) -> ContextsInFlight | None:
    """By typical lengths where they are stated, unless the request sizes the pool another way."""
    stated = request.input_tokens is not None or request.output_tokens is not None
    sizing = request.kv_sizing or ("typical" if stated and request.mean_context is None else "full")
    if sizing == "full" or request.mean_context not in (None, request.target_context):
        return None
    return ContextsInFlight.of_lengths(
        *lengths, input_variation=LENGTH_VARIATION, output_variation=LENGTH_VARIATION,
        quantile=normal_quantile(request.confidence),
    )  # fmt: skip


def priced_gpus(request: SolveRequest, catalog: Catalog) -> tuple[PricedGpu, ...]:
    """The SKUs that take part: those named and those owned, else every SKU with a price."""
    terms = offer_terms(request, catalog)
    named = _named_gpus(request, catalog)
    owned = tuple(catalog.gpu(sku) for sku in terms.stock_gpus or ())
    pool = {gpu.id: gpu for gpu in (*named, *owned)}.values() if named else catalog.gpus
    calibrated = (with_own_calibration(gpu, request, catalog) for gpu in pool)
    candidates = [PricedGpu(gpu, catalog.offers_of(gpu, terms)) for gpu in calibrated]
    if not named:
        candidates = [candidate for candidate in candidates if candidate.offers]
    if not candidates:
        where = f" at {', '.join(request.provider)}" if request.provider else ""
        raise InvalidRequest(f"no GPU has a price{where}; name GPUs with --gpu or give prices with --price SKU=USD")
    return tuple(candidates)


def _named_gpus(request: SolveRequest, catalog: Catalog) -> tuple[GpuProfile, ...]:
    each = (catalog.local_gpus if name.lower() == "local" else (catalog.gpu(name),) for name in request.gpu)
    return tuple({profile.id: profile for profiles in each for profile in profiles}.values())
