"""The catalogue as rows: one dictionary per model, GPU and price, as `--format json` prints them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from vllm_opt.profiles.errors import UnknownProfile, VllmOptError, did_you_mean

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
    """Return every SKU with the price that `solve` would take by default."""
    rows = []
    for gpu in catalog.gpus:
        price = catalog.price_of(gpu.id)
        rows.append({**gpu.model_dump(mode="json"), "usd_per_gpu_hour": price.usd_per_gpu_hour if price else None})
    return rows


def price_rows(catalog: "Catalog", providers: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the hourly prices, cheapest first within each SKU.

    Raises:
        UnknownProfile: no price is by any of the providers.
    """
    wanted = {provider.lower() for provider in providers}
    known = {price.provider for price in catalog.hourly_prices}
    for provider in providers:
        if provider.lower() not in {name.lower() for name in known}:
            raise UnknownProfile(f"no price by provider '{provider[:80]}'{did_you_mean(provider, known)}")
    kept = [price for price in catalog.hourly_prices if not wanted or price.provider.lower() in wanted]
    kept.sort(key=lambda price: (price.gpu, price.usd_per_gpu_hour, price.provider, price.billing))
    return [price.model_dump(mode="json") for price in kept]
