"""Which SKUs take part by what their platform documents, and what a request asks for by name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_opt.constraints.kv.pages import is_quantized
from vllm_opt.constraints.layouts.platforms import release_gap
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.platform import Feature

if TYPE_CHECKING:
    from vllm_opt.optimizer.space.setting import PricedGpu


def asked_features(request: SolveRequest) -> frozenset[Feature]:
    """What the request pins: a feature that is named is taken, whatever is documented."""
    named: dict[Feature, bool] = {
        "pipeline_parallel": request.pipeline_parallel_size is not None,
        "data_parallel": request.data_parallel_size is not None,
        "several_nodes": request.internode_gbps is not None,
        "quantized_kv_cache": request.kv_cache_dtype != "any" and is_quantized(request.kv_cache_dtype),
    }
    return frozenset(feature for feature, asked in named.items() if asked)


def is_named(gpu: GpuProfile, request: SolveRequest) -> bool:
    """Whether the request, not the price list, brought the SKU in."""
    names = {name.lower() for name in (gpu.id, gpu.name, *gpu.aliases)}
    return bool(request.gpu) or any(sku.lower() in names for sku, _ in request.owned)


def platform_notes(gpus: Sequence["PricedGpu"], request: SolveRequest, engine: EngineProfile) -> tuple[str, ...]:
    """What to say of SKUs whose platform follows no such release, and of the others with a platform of their own."""
    left_out: dict[str, list[str]] = {}
    kept: dict[str, list[str]] = {}
    said: dict[str, None] = {}
    for gpu in (item.gpu for item in gpus):
        gap, named = release_gap(gpu, engine), is_named(gpu, request) or request.undocumented_layouts
        if gap:
            (kept if named else left_out).setdefault(gap, []).append(gpu.id)
        if gpu.platform is not None and gpu.platform.note and (named or not gap):
            said[f"{gpu.platform.name}: {gpu.platform.note}"] = None
    return (
        *(
            f"left out: {', '.join(ids)}; {gap}; name it with --gpu to have it all the same"
            for gap, ids in left_out.items()
        ),
        *(f"{gap}; {', '.join(ids)} is sized as that release would run it" for gap, ids in kept.items()),
        *said,
    )
