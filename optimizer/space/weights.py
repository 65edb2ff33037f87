"""The weight formats that take part: whose weights are served, how they are stored, and what they keep."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.estimation.resolution import (
    FP8_FAMILY,
    native_quantization_id,
    resolve_quantization,
    served_weights,
)
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.quality import HOPPER
from vllm_opt.profiles.nouns.checkpoint import PUBLISHERS, Publisher
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quality import Quality, published
from vllm_opt.profiles.nouns.quantization import Quantization

BILLION = 1e9
HYPOTHETICAL = PUBLISHERS.index("hypothetical")
SIXTEEN_BIT: Quality = published("")

CacheKey = tuple[str, bool, bool]
"""KV dtype, whether the card is of compute capability 9, whether the context is long."""


@dataclass(frozen=True)
class Floor:
    """What is asked of weights and KV cache together: the floor holds for the low end at the confidence asked.

    What is named is taken whatever the default floor says; an explicit floor holds for it too, where its quality is
    known.
    """

    min_quality: float
    confidence: float
    explicit: bool
    cache_named: bool
    long_context_tokens: int

    def admits(self, weights: Quality, cache: Quality, *, weights_accepted: bool) -> bool:
        """Whether the product of both recoveries is high enough."""
        if cache is not SIXTEEN_BIT and self.cache_named and (not self.explicit or cache.log_mean is None):
            cache = SIXTEEN_BIT
        if cache is SIXTEEN_BIT or cache.log_mean == 0.0 == cache.log_deviation:
            return weights_accepted
        low = weights.times(cache).low(self.confidence)
        return weights_accepted and low is not None and low >= self.min_quality


@dataclass(frozen=True)
class WeightFormat:
    """One way to store the weights, and whose they are."""

    quantization: Quantization
    checkpoint: str | None
    publisher: Publisher
    model: ModelProfile = field(compare=False)
    """The model with its weights stored so: what memory and speed are counted from."""
    quality: Quality
    accepted: bool
    """With a 16-bit KV cache, or the one that the checkpoint asks for."""
    floor: Floor
    caches: Mapping[CacheKey, Quality] = field(compare=False)

    @property
    def publisher_rank(self) -> int:
        """Whose weights they are, the first place first: native, official, vendor, online, community, hypothetical."""
        return PUBLISHERS.index(self.publisher)

    def cache_quality(self, dtype: str, gpu: GpuProfile, context: int) -> Quality:
        """What a KV dtype keeps on a card at a context."""
        hopper = gpu.compute_capability is not None and gpu.compute_capability[0] == HOPPER
        return self.caches.get((dtype, hopper, context > self.floor.long_context_tokens), SIXTEEN_BIT)

    def plan_quality(self, dtype: str, gpu: GpuProfile, context: int) -> Quality:
        """Weights and KV cache together."""
        return self.quality.times(self.cache_quality(dtype, gpu, context))

    def accepts(self, dtype: str, gpu: GpuProfile, context: int) -> bool:
        """Whether weights and KV cache together meet the floor, or are named."""
        cache = self.cache_quality(dtype, gpu, context)
        return self.floor.admits(self.quality, cache, weights_accepted=self.accepted)


def weight_formats(
    request: SolveRequest, model: ModelProfile, engine: EngineProfile, catalog: Catalog
) -> tuple[WeightFormat, ...]:
    """The weight formats that take part, one checkpoint each (`served_weights`).

    Named formats are taken whatever the default quality floor says; an explicit `min_quality` holds for them too.
    A model published in a quantised format is not dequantised to 16 bits unless that is asked.
    """
    native = native_quantization_id(model)
    named = {resolve_quantization(catalog, model, name).id for name in request.quantization}
    if "fp8" in named:
        named |= {known.quantization for known in model.checkpoints if known.quantization in FP8_FAMILY}
    floor = _floor(request, catalog)
    billions = parameter_count(model) / BILLION
    formats = []
    for quantization in catalog.quantizations:
        if named and quantization.id not in named:
            continue
        if not named and quantization.id == "bf16" and native != "bf16":
            continue
        served = served_weights(catalog, model, quantization, engine)
        if served.publisher == "hypothetical" and not request.hypothetical_checkpoints:
            continue
        quality = catalog.quality.weights(model, quantization.id, served.checkpoint, billions)
        low = quality.low(request.confidence)
        above = low is not None and low >= request.min_quality
        by_name = quantization.id in named and (quality.log_mean is None or not floor.explicit)
        formats.append(
            WeightFormat(
                quantization, served.checkpoint, served.publisher, served.model, quality,
                quantization.id == native or above or by_name, floor, _caches(request, served.model, engine, catalog),
            )
        )  # fmt: skip
    return tuple(formats)


def _floor(request: SolveRequest, catalog: Catalog) -> Floor:
    return Floor(
        min_quality=request.min_quality,
        confidence=request.confidence,
        explicit="min_quality" in request.model_fields_set,
        cache_named=request.kv_cache_dtype.lower() != "any",
        long_context_tokens=catalog.quality.long_context_tokens,
    )


def _caches(
    request: SolveRequest, model: ModelProfile, engine: EngineProfile, catalog: Catalog
) -> dict[CacheKey, Quality]:
    """What each KV dtype keeps that is not simply 16-bit."""
    asked = request.kv_cache_dtype.lower()
    dtype = "fp8" if asked == "any" else asked
    if dtype == "auto":
        return {}
    return {
        (dtype, hopper, long): catalog.quality.kv_cache(
            model, dtype, engine, (HOPPER, 0) if hopper else None, long=long
        )
        for hopper in (False, True)
        for long in (False, True)
    }
