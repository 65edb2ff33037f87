"""The catalogue as rows: one dictionary per model, GPU and price, as `--format json` prints them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllm_opt.profiles.errors import VllmOptError

if TYPE_CHECKING:
    from vllm_opt.profiles.catalogues.catalog import Catalog


def model_rows(catalog: "Catalog", model_ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return one row per model; a model that is refused has the reason under `refused`."""
    return [_model_row(catalog, model_id) for model_id in model_ids]


def _model_row(catalog: "Catalog", model_id: str) -> dict[str, Any]:
    from vllm_opt.constraints.weights.breakdown import active_parameter_count, parameter_count

    try:
        model = catalog.model(model_id)
        native = model.native_quantization
        return {
            "id": model_id,
            "architecture": model.architecture,
            "parameters": parameter_count(model),
            "active_parameters": active_parameter_count(model),
            "num_hidden_layers": model.num_hidden_layers,
            "hidden_size": model.hidden_size,
            "vocab_size": model.vocab_size,
            "max_model_len": model.max_model_len,
            "native_quantization": native.quantization if native else model.dtype,
            "checkpoints": [checkpoint.model_dump(mode="json") for checkpoint in model.checkpoints],
            "assumptions": list(model.assumptions),
            "verification": model.verification,
            "source": model.source,
            "refused": None,
        }
    except VllmOptError as error:
        return {"id": model_id, "refused": str(error)}


def quantization_rows(catalog: "Catalog") -> list[dict[str, Any]]:
    """Return every weight format with what it keeps of the scores of models of two sizes, pooled."""
    sizes = {"8B": 8.0, "70B": 70.0}
    return [
        {
            **quantization.model_dump(mode="json"),
            "recovery": {
                name: 1.0 if quantization.id == "bf16" else catalog.quality.pooled(quantization.id, billions).recovery
                for name, billions in sizes.items()
            },
        }
        for quantization in catalog.quantizations
    ]


def gpu_rows(catalog: "Catalog") -> list[dict[str, Any]]:
    """Return every SKU with the lowest price per GPU of a whole machine that is rented on demand."""
    rows = []
    for gpu in catalog.gpus:
        lowest = min((offer.usd_per_gpu_hour for offer in catalog.offers_of(gpu)), default=None)
        rows.append({**gpu.model_dump(mode="json"), "usd_per_gpu_hour": lowest})
    return rows


def price_rows(
    catalog: "Catalog", providers: tuple[str, ...], billing: tuple[str, ...] = (), regions: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Return the machines on offer, the cheapest by GPU first within each SKU.

    Raises:
        UnknownProfile: no machine is by any of the providers, or in any of the regions.
        InvalidRequest: a kind of billing that does not exist.
    """
    from vllm_opt.profiles.catalogues.offers import billings, check_region, known_provider, names_region

    wanted, kinds = {known_provider(name, catalog.offers) for name in providers}, billings(billing)
    for region in regions:
        check_region(region, catalog.offers)
    kept = [
        offer
        for offer in catalog.offers
        if (not wanted or offer.provider in wanted)
        and (not kinds or offer.billing in kinds)
        and (not regions or any(names_region(name, offer.region or "") for name in regions))
    ]
    kept.sort(key=lambda offer: (offer.gpu, offer.usd_per_gpu_hour, offer.gpus, offer.provider, offer.instance_type))
    return [{**offer.model_dump(mode="json"), "usd_per_gpu_hour": offer.usd_per_gpu_hour} for offer in kept]
