"""From a BatchRequest to cells: one question each, with the hash of everything its answer depends on."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from vllm_opt.optimizer.batches.fingerprint import common_fingerprints, fingerprint
from vllm_opt.optimizer.batches.request import BatchRequest, objectives_of, read_models_file
from vllm_opt.optimizer.estimation.hourly_cost import offer_terms
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import CannotBeSized, InvalidRequest, UnknownProfile, VllmOptError, did_you_mean
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.price import Offer
from vllm_opt.profiles.nouns.workload_preset import WorkloadPreset, find_workload_preset, load_workload_presets
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted

MOST_CELLS = 1_000_000
SEEN_IN_THEIR_EFFECT = ("price", "prices", "provider", "billing", "region", "owned", "gpu_file")
"""Options that reach an answer through the offers and the GPU alone, which have fingerprints of their own."""
_GLOB = re.compile(r"[*?\[]")
_PATH_START = ("/", "./", "../", "~")


@dataclass(frozen=True)
class Cell:
    """One question. `request` is what `solve` is asked; None when `refusal` already answers it.

    `inputs`: cause -> hash of what the answer depends on; `key` is the hash of them all. `path`: where its file goes,
    relative to the output folder.
    """

    model: str
    workload: WorkloadPreset
    gpu: str
    objective: tuple[str, ...]
    vllm_version: str
    offers: tuple[Offer, ...]
    path: str
    request: dict[str, Any] | None
    refusal: tuple[str, str] | None
    notes: tuple[str, ...]
    inputs: dict[str, str]
    key: str


def plan_cells(request: BatchRequest, catalog: Catalog) -> tuple[Cell, ...]:
    """Return every cell, in the order of its path.

    Raises:
        UnknownProfile: a model, SKU, workload or release that the catalogue does not hold, or a glob without a match.
        InvalidRequest: a file cannot be read, or more than a million cells are asked.
    """
    names = chosen_models(request, catalog)
    gpus = tuple({gpu.id: gpu for gpu in (catalog.gpu(name) for name in request.gpu)}.values())
    presets = chosen_workloads(request)
    objectives = tuple(dict.fromkeys(objectives_of(text) for text in request.objective))
    engines = _chosen_engines(request, catalog)
    count = len(names) * len(gpus) * len(presets) * max(1, len(objectives)) * len(engines)
    if count > MOST_CELLS:
        raise InvalidRequest(
            f"{counted(count, 'cell')} are asked, more than {MOST_CELLS:,}; name fewer models or workloads"
        )
    terms = offer_terms(request, catalog)
    offers = {gpu.id: catalog.offers_of(gpu, terms) for gpu in gpus}
    owned = terms.stock_gpus or {}
    stock = {gpu.id: [(gpu.id, owned[gpu.id])] if gpu.id in owned else [] for gpu in gpus}
    skus = safe_names([gpu.id for gpu in gpus])
    planner = _Planner(request, presets, objectives, engines, gpus, offers, skus, stock)
    folders = safe_names(names)
    cells = [cell for name in names for cell in planner.cells_of(name, folders[name], catalog)]
    return tuple(sorted(cells, key=lambda cell: cell.path))


def chosen_models(request: BatchRequest, catalog: Catalog) -> tuple[str, ...]:
    """Model ids and paths, each once, in alphabetical order; without any name the whole catalogue.

    Raises:
        UnknownProfile: a name or glob that leads nowhere.
        InvalidRequest: the models file cannot be read.
    """
    asked = list(request.models)
    if request.models_file is not None:
        asked += read_models_file(request.models_file)
    by_lower = {model_id.lower(): model_id for model_id in catalog.model_ids}
    found: set[str] = set()
    for name in asked or ["*"]:
        if name.startswith(_PATH_START) or not _GLOB.search(name):
            found.add(by_lower.get(name.lower()) or _resolved(name, catalog))
        else:
            found |= _matches(name, by_lower)
    return tuple(sorted(found))


def _resolved(name: str, catalog: Catalog) -> str:
    """The id of a short name or twin; a path or Hub id stays what it is, and so does what cannot be sized."""
    try:
        model = catalog.model(name)
    except CannotBeSized:
        return name
    return name if name.startswith(_PATH_START) or "/" not in model.id else model.id


def _matches(pattern: str, by_lower: dict[str, str]) -> set[str]:
    """Catalogue ids that match a glob as a whole, or in the part after the organisation."""
    wanted = pattern.lower()
    found = {
        model_id
        for lower, model_id in by_lower.items()
        if fnmatchcase(lower, wanted) or fnmatchcase(lower.split("/")[-1], wanted)
    }
    if not found:
        hint = did_you_mean(pattern.strip("*?[]"), by_lower.values()) or "; vllm-opt models lists what is known"
        raise UnknownProfile(f"no model of the catalogue matches {printable(repr(pattern[:120]))}{hint}")
    return found


def chosen_workloads(request: BatchRequest) -> tuple[WorkloadPreset, ...]:
    """The presets that take part: those asked for, else all of the catalogue.

    Raises:
        UnknownProfile: no preset has a name that is asked.
        InvalidRequest: two different workloads have the same id.
    """
    presets = load_workload_presets()
    chosen: dict[str, WorkloadPreset] = {}
    for asked in request.workload or presets:
        preset = asked if isinstance(asked, WorkloadPreset) else find_workload_preset(asked, presets)
        if chosen.setdefault(preset.id.lower(), preset) != preset:
            raise InvalidRequest(f"two workloads are called '{preset.id}'; give them different ids")
    return tuple(chosen.values())


def _chosen_engines(request: BatchRequest, catalog: Catalog) -> tuple[EngineProfile, ...]:
    engines = [catalog.engine(version)[0] for version in request.vllm_version or (None,)]
    return tuple({engine.version: engine for engine in engines}.values())


def safe_names(names: Sequence[str]) -> dict[str, str]:
    """A file name for each model or SKU that every file system takes, different ones for different names."""
    folders: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name.strip("/").replace("/", "--"))[-120:].strip(".-") or "unnamed"
        taken = {folder.lower() for folder in folders.values()}
        folders[name] = f"{plain}-{fingerprint(name)[:8]}" if plain.lower() in taken else plain
    return folders


@dataclass(frozen=True)
class _Planner:
    """Everything that cells of different models share."""

    request: BatchRequest
    presets: tuple[WorkloadPreset, ...]
    objectives: tuple[tuple[str, ...], ...]
    engines: tuple[EngineProfile, ...]
    gpus: tuple[GpuProfile, ...]
    offers: dict[str, tuple[Offer, ...]]
    sku_names: dict[str, str]
    stock: dict[str, list[tuple[str, int]]]
    """What is owned of each SKU, and of no other: a cell is about one."""

    def cells_of(self, name: str, folder: str, catalog: Catalog) -> Iterator[Cell]:
        """Every cell of one model; a model without a rule for its architecture gets cells that say so."""
        refusal, model = None, None
        try:
            model = catalog.model(name)
        except VllmOptError as error:
            refusal = ("unsupported", str(error))
        shared = {
            **common_fingerprints(),
            "model": fingerprint(model.model_dump(mode="json") if model else refusal),
            "options": fingerprint({k: v for k, v in self.request.passed_on.items() if k not in SEEN_IN_THEIR_EFFECT}),
        }
        for preset in self.presets:
            for objective in self.objectives or (preset.objective,):
                for engine in self.engines:
                    for gpu in self.gpus:
                        yield self._cell(name, folder, model, refusal, preset, objective, engine, gpu, shared)

    def _cell(
        self,
        name: str,
        folder: str,
        model: ModelProfile | None,
        refusal: tuple[str, str] | None,
        preset: WorkloadPreset,
        objective: tuple[str, ...],
        engine: EngineProfile,
        gpu: GpuProfile,
        shared: dict[str, str],
    ) -> Cell:
        offers = self.offers[gpu.id]
        clipped = preset.within(model.max_model_len) if model else preset
        notes: tuple[str, ...] = ()
        if model is not None and clipped is None:
            length = preset.input_tokens + preset.output_tokens
            refusal = (
                "infeasible",
                f"context_length: the typical {preset.id} request has {length:,} tokens, the model allows "
                f"{model.max_model_len:,}",
            )
        elif model is not None and clipped != preset:
            notes = (
                f"the workload asks for a context of {preset.target_context:,} tokens, the model allows "
                f"{model.max_model_len:,}: that is what is planned for",
            )
        used = clipped or preset
        inputs = {
            **shared,
            "workload": fingerprint([used.model_dump(mode="json", exclude={"sources", "description"}), objective]),
            "vllm": fingerprint(engine.model_dump(mode="json")),
            "gpu": fingerprint(gpu.model_dump(mode="json")),
            "price": fingerprint([offer.model_dump(mode="json") for offer in offers]),
        }
        return Cell(
            model=name,
            workload=used,
            gpu=gpu.id,
            objective=objective,
            vllm_version=engine.version,
            offers=offers,
            path=self._path(folder, preset, objective, engine, gpu),
            request=None if refusal else self._solve_request(name, used, objective, engine, gpu),
            refusal=refusal,
            notes=notes,
            inputs=dict(sorted(inputs.items())),
            key=fingerprint([name, inputs], length=64),
        )

    def _path(
        self, folder: str, preset: WorkloadPreset, objective: tuple[str, ...], engine: EngineProfile, gpu: GpuProfile
    ) -> str:
        """Objective and release are part of the name only where there are several, so that an upgrade keeps paths."""
        several_objectives, several_engines = len(self.objectives) > 1, len(self.engines) > 1
        parts = [self.sku_names[gpu.id]]
        parts += ["+".join(objective)] if several_objectives else []
        parts += [f"vllm-{engine.version}"] if several_engines else []
        return f"configs/{folder}/{preset.id}/{'.'.join(parts)}.yaml"

    def _solve_request(
        self, name: str, preset: WorkloadPreset, objective: tuple[str, ...], engine: EngineProfile, gpu: GpuProfile
    ) -> dict[str, Any]:
        fields = (
            "input_tokens", "output_tokens", "target_context", "mean_context", "concurrency", "prefix_hit_share",
            "max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s",
        )  # fmt: skip
        wanted = {field: getattr(preset, field) for field in fields if getattr(preset, field) is not None}
        return {
            "model": name,
            "gpu": [gpu.id],
            "vllm_version": engine.version,
            "objective": list(objective),
            "explain": False,
            **wanted,
            **self.request.passed_on,
            **({"owned": self.stock[gpu.id]} if self.request.owned else {}),
        }
