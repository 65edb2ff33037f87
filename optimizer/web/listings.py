"""The catalogue over HTTP: the rows that the command line prints, and the short lists that the page chooses from."""

from functools import cache
from typing import Any

from vllm_opt.optimizer.web.verbs import verb_named, verbs
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import UnknownProfile, did_you_mean

KINDS = ("models", "gpus", "quantizations", "engines", "prices")
SEARCHED = {
    "models": ("id",), "gpus": ("id", "name", "aliases"), "quantizations": ("id", "names"), "engines": ("version",),
    "prices": ("gpu",),
}  # fmt: skip


def document(kind: str, filters: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """One list of the catalogue, as `vllm-opt KIND --format json` prints it.

    Raises:
        UnknownProfile: nothing matches.
        InvalidRequest: a filter that cannot be understood.
    """
    if kind == "choices":
        return choices(catalog)
    rows = _rows(kind, filters, catalog)
    name = filters.get("name")
    if name is not None:
        rows = _matching(rows, name, SEARCHED[kind], kind)
    return {"schema": f"vllm-opt/{kind}/1", kind: rows}


def _rows(kind: str, filters: dict[str, Any], catalog: Catalog) -> list[dict[str, Any]]:
    from vllm_opt.optimizer.rendering.catalogue_rows import gpu_rows, price_rows, quantization_rows

    if kind == "models":
        return list(_all_models(catalog))
    if kind == "gpus":
        return gpu_rows(catalog)
    if kind == "quantizations":
        return quantization_rows(catalog)
    if kind == "engines":
        return [engine.model_dump(mode="json") for engine in catalog.engines]
    wanted = {key: tuple(filters.get(key) or ()) for key in ("provider", "billing", "region")}
    return price_rows(catalog, wanted["provider"], wanted["billing"], wanted["region"])


@cache
def _all_models(catalog: Catalog) -> tuple[dict[str, Any], ...]:
    """Every model, sized once per process."""
    from vllm_opt.optimizer.rendering.catalogue_rows import model_rows

    return tuple(model_rows(catalog, sorted(catalog.model_ids, key=str.lower)))


def _matching(rows: list[dict[str, Any]], name: str, keys: tuple[str, ...], kind: str) -> list[dict[str, Any]]:
    def spellings(row: dict[str, Any]) -> list[str]:
        values = [row.get(key) for key in keys]
        return [str(item) for value in values for item in (value if isinstance(value, list | tuple) else [value])]

    kept = [row for row in rows if any(name.lower() in spelling.lower() for spelling in spellings(row))]
    if not kept:
        known = {spelling for row in rows for spelling in spellings(row)}
        raise UnknownProfile(f"none of the {kind} matches '{name[:80]}'{did_you_mean(name, known)}")
    return kept


def choices(catalog: Catalog) -> dict[str, Any]:
    """What the page offers to choose from: names, and presets with their numbers."""
    from vllm_opt.profiles.nouns.workload_preset import load_workload_presets
    from vllm_opt.profiles.version import installed_version

    prices = {offer.gpu for offer in catalog.offers}
    return {
        "schema": "vllm-opt/choices/1",
        "version": installed_version(),
        "verbs": [verb.name for verb in verbs()],
        "solve_fields": list(verb_named("solve").request_type.model_fields),
        "models": sorted(catalog.model_ids, key=str.lower),
        "gpus": [{"id": gpu.id, "name": gpu.name, "priced": gpu.id in prices} for gpu in catalog.gpus],
        "workloads": [
            {key: value for key, value in preset.model_dump(mode="json").items() if key != "sources"}
            for preset in load_workload_presets()
        ],
        "quantizations": [each.id for each in catalog.quantizations],
        "engines": [engine.version for engine in reversed(catalog.engines)],
        "providers": sorted({offer.provider for offer in catalog.offers}, key=str.lower),
    }
