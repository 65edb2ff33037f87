"""Which SKUs take part by what their platform documents, and what a request asks for by name."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vllm_opt.constraints.kv.pages import is_quantized
from vllm_opt.constraints.layouts.platforms import release_gap
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
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


def followed_platforms(
    gpus: Sequence["PricedGpu"], request: SolveRequest, engine: EngineProfile
) -> tuple[tuple["PricedGpu", ...], tuple[str, ...]]:
    """The SKUs whose platform follows this release, or that were named; and what to say of the others."""
    gaps = {item.gpu.id: gap for item in gpus if (gap := release_gap(item.gpu, engine))}
    named = bool(request.gpu or request.owned)
    keeps_all = named or request.undocumented_layouts or len(gaps) == len(gpus)
    kept = tuple(gpus) if keeps_all else tuple(item for item in gpus if item.gpu.id not in gaps)
    notes = []
    for gap in dict.fromkeys(gaps.values()):
        skus = ", ".join(sku for sku, found in gaps.items() if found == gap)
        if keeps_all:
            notes.append(f"{gap}; {skus} is sized as that release would run it")
        else:
            notes.append(f"left out: {skus}; {gap}; name it with --gpu to have it all the same")
    said = dict.fromkeys(
        f"{item.gpu.platform.name}: {item.gpu.platform.note}"
        for item in kept
        if item.gpu.platform is not None and item.gpu.platform.note
    )
    return kept, (*notes, *said)
