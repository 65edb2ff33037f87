"""From a `SolveRequest` to everything the search needs: SKUs with prices, weight formats with evidence, targets."""

from dataclasses import dataclass, replace
from functools import cached_property

from vllm_opt.constraints.decisions.speculation import Speculation
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.media import lengths_with_images
from vllm_opt.optimizer.estimation.resolution import (
    FP8_FAMILY,
    checkpoint_of,
    native_quantization_id,
    resolve_quantization,
    served_model,
)
from vllm_opt.optimizer.estimation.speculation import speculation_of
from vllm_opt.optimizer.serve_lines.command_line import load_flag_value
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.price import HourlyPrice
from vllm_opt.profiles.nouns.quality import quality_of
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.nouns.workload import Targets

DEFAULT_MAX_GPUS = 16
LARGEST_BATCH = 1024
CHECKPOINT_KNOWN, QUANTISED_AT_LOAD, HYPOTHETICAL = 0, 1, 2


@dataclass(frozen=True)
class PricedGpu:
    """One SKU that takes part, and what it costs."""

    gpu: GpuProfile
    price: HourlyPrice | None


@dataclass(frozen=True)
class WeightFormat:
    """One way to store the weights. `origin`: a known checkpoint, made at load, or still to be made."""

    quantization: Quantization
    checkpoint: str | None
    origin: int
    quality: float | None
    evidence: str
    accepted: bool


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
    speculation: Speculation | None = None

    @property
    def largest_batch(self) -> int:
        """The largest max_num_seqs that is tried: what the request says, but never below the concurrency asked.

        The same for any number of replicas, so that more replicas never rule a batch out.
        """
        return max(self.request.max_num_seqs or LARGEST_BATCH, self.targets.concurrency)

    @cached_property
    def priced(self) -> bool:
        """Whether every SKU has a price; otherwise cost counts GPUs."""
        return all(candidate.price is not None for candidate in self.gpus)


def resolve_solve(request: SolveRequest, catalog: Catalog) -> SolveSetting:
    """Look everything up.

    Raises:
        UnknownProfile: a name that the catalogue does not hold.
        InvalidRequest: a request that leaves nothing to choose from.
    """
    engine, note = catalog.engine(request.vllm_version, request.engine)
    model, model_notes = served_model(catalog.model(request.model), request, engine)
    if request.kv_cache_dtype not in ("any", "auto"):
        catalog.kv_cache_dtype(request.kv_cache_dtype)
    gpus = priced_gpus(request, catalog)
    speculation, draft_notes = speculation_of(request, model, catalog)
    setting = SolveSetting(
        request=request,
        model=model,
        engine=engine,
        gpus=gpus,
        formats=weight_formats(request, model, engine, catalog),
        targets=_within_this_machine(targets_of(request), request, catalog),
        lengths=_within_context(request, model),
        notes=tuple(text for text in (note, *model.assumptions, *model_notes, *draft_notes) if text),
        speculation=speculation,
    )
    if not setting.priced:
        unpriced = ", ".join(item.gpu.id for item in gpus if item.price is None)
        text = f"no price is known for {unpriced}, so cost counts GPUs; give prices with --price SKU=USD"
        return replace(setting, notes=(*setting.notes, text))
    return setting


def _within_context(request: SolveRequest, model: ModelProfile) -> tuple[int, int]:
    """The typical request with its images.

    Raises:
        InvalidRequest: with its images it is longer than the target context.
    """
    lengths = lengths_with_images(request.lengths, model, request, request.input_tokens)
    if request.images_per_request and sum(lengths) > request.target_context:
        raise InvalidRequest(
            f"images_per_request: with its images the typical request has {sum(lengths)} tokens, more than "
            f"target_context {request.target_context}; raise target_context or shorten the request"
        )
    return lengths


def _within_this_machine(targets: Targets, request: SolveRequest, catalog: Catalog) -> Targets:
    """Where only 'local' is named and no number of GPUs, a plan uses at most the GPUs that are there."""
    if {name.lower() for name in request.gpu} != {"local"} or request.gpus or request.max_gpus:
        return targets
    return targets.model_copy(update={"max_gpus": len(catalog.local_gpus)})


def targets_of(request: SolveRequest) -> Targets:
    """The limits of a request, defaults filled in."""
    return Targets(
        target_context=request.target_context,
        concurrency=request.concurrency,
        mean_context=request.mean_context or request.target_context,
        max_ttft_ms=request.max_ttft_ms,
        max_tpot_ms=request.max_tpot_ms,
        min_output_tokens_per_s=request.min_output_tokens_per_s,
        max_hourly_cost=request.max_hourly_cost,
        min_quality=request.min_quality,
        gpus=request.gpus,
        max_gpus=request.max_gpus or request.gpus or DEFAULT_MAX_GPUS,
    )


def priced_gpus(request: SolveRequest, catalog: Catalog) -> tuple[PricedGpu, ...]:
    """The SKUs that take part: those named, else every SKU with a price."""
    overrides = {catalog.gpu(sku).id: usd for sku, usd in request.price}
    named = _named_gpus(request, catalog)
    pool = named or catalog.gpus
    candidates = [PricedGpu(gpu, catalog.price_of(gpu.id, request.provider, overrides)) for gpu in pool]
    if not named:
        candidates = [candidate for candidate in candidates if candidate.price is not None]
    if not candidates:
        where = f" at {', '.join(request.provider)}" if request.provider else ""
        raise InvalidRequest(f"no GPU has a price{where}; name GPUs with --gpu or give prices with --price SKU=USD")
    return tuple(candidates)


def _named_gpus(request: SolveRequest, catalog: Catalog) -> tuple[GpuProfile, ...]:
    found: dict[str, GpuProfile] = {}
    for name in request.gpu:
        profiles = catalog.local_gpus if name.lower() == "local" else (catalog.gpu(name),)
        found.update((profile.id, profile) for profile in profiles)
    return tuple(found.values())


def weight_formats(
    request: SolveRequest, model: ModelProfile, engine: EngineProfile, catalog: Catalog
) -> tuple[WeightFormat, ...]:
    """The weight formats that take part.

    Named formats are taken whatever the default quality floor says; an explicit `min_quality` holds for them too.
    A model published in a quantised format is not dequantised to 16 bits unless that is asked.
    """
    native = native_quantization_id(model)
    named = {resolve_quantization(catalog, model, name).id for name in request.quantization}
    if "fp8" in named:
        named |= {known.quantization for known in model.checkpoints if known.quantization in FP8_FAMILY}
    floor_is_explicit = "min_quality" in request.model_fields_set
    formats = []
    for quantization in catalog.quantizations:
        if named and quantization.id not in named:
            continue
        if not named and quantization.id == "bf16" and native != "bf16":
            continue
        quality, evidence = (1.0, "the checkpoint's own format") if quantization.id == native else quality_of(
            model, quantization
        )  # fmt: skip
        above = quality is not None and quality >= request.min_quality
        by_name = quantization.id in named and (quality is None or not floor_is_explicit)
        checkpoint = checkpoint_of(model, quantization)
        origin = CHECKPOINT_KNOWN if checkpoint else HYPOTHETICAL
        if checkpoint is None and native == "bf16" and load_flag_value(quantization, engine):
            origin, checkpoint = QUANTISED_AT_LOAD, model.id
        if origin == HYPOTHETICAL and not request.hypothetical_checkpoints:
            continue
        formats.append(
            WeightFormat(
                quantization, checkpoint, origin, quality, evidence, quantization.id == native or above or by_name
            )
        )
    return tuple(formats)
