"""Weight formats, KV-cache dtypes and whatever else refers to models, GPUs and formats by id."""

from typing import Any

from vllm_opt.profiles.catalogues.quantizations import load_containers, load_kv_cache_dtypes, load_quantizations
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, repeats, unknown_names
from vllm_opt.profiles.checking.sources import source_faults
from vllm_opt.profiles.reading.data_files import read_data_file
from vllm_opt.profiles.reading.name_index import whole_key


def check_formats() -> list[FileReport]:
    """Check the weight formats and the KV-cache dtypes.

    Raises:
        InvalidRequest: a row breaks the schema.
    """
    weights, caches = load_quantizations(), load_kv_cache_dtypes()
    ids = {row.id: row for row in weights}
    file = "quantizations.json"
    inside = [(name, f"containers.{key}") for key, names in load_containers().items() for name in names]
    faults = _rows(file, weights) + unknown_names(file, inside, ids, "weight format")
    return [
        FileReport(file=file, rows=len(weights), faults=tuple(faults)),
        FileReport(file="kv_cache_dtypes.json", rows=len(caches), faults=tuple(_rows("kv_cache_dtypes.json", caches))),
    ]


def check_references(gpus: dict[str, Any], models: dict[str, Any]) -> list[FileReport]:
    """Check the files whose rows refer to others: checkpoints, platforms, measured names, presets, recovery rows."""
    formats = {row.id: row for row in load_quantizations()}
    return [
        _checkpoints(formats),
        _platforms(gpus, formats),
        _measured(gpus, models),
        _sourced("workloads.json", "workloads", "id"),
        _sourced("quality_evidence.json", "rows", "model"),
        _sourced("kv_cache_quality.json", "rows", "model"),
    ]


def _rows(file: str, rows: Any) -> list[Fault]:
    found = [one for row in rows for one in source_faults(file, row.id, row.sources)]
    names = [(key, row.id) for row in rows for key in {whole_key(name) for name in (row.id, *row.names)}]
    return found + repeats(file, names, "name")


def _checkpoints(formats: dict[str, Any]) -> FileReport:
    file, rows = "checkpoints.json", read_data_file("checkpoints.json")["checkpoints"]
    faults = unknown_names(file, [(row["quantization"], row["id"]) for row in rows], formats, "weight format")
    faults += [one for row in rows for one in source_faults(file, row["id"], [row.get("source")])]
    faults += repeats(file, [(row["id"].lower(), row["id"]) for row in rows], "checkpoint")
    faults += [
        fault(file, row["id"], "stored_bytes has no size_source; say where it was read")
        for row in rows
        if row.get("stored_bytes") and not (row.get("size_source") or row.get("source"))
    ]
    return FileReport(file=file, rows=len(rows), faults=tuple(faults))


def _platforms(gpus: dict[str, Any], formats: dict[str, Any]) -> FileReport:
    file, rows = "platforms.json", read_data_file("platforms.json")["platforms"]
    faults = unknown_names(file, [(gpu, row["id"]) for row in rows for gpu in row["gpus"]], gpus, "GPU")
    gaps = [(gap, row["id"]) for row in rows for gap in (*row.get("gaps", ()), *row.get("format_gaps", ()))]
    named = [(name, place) for gap, place in gaps for name in gap.get("quantizations", ())]
    faults += unknown_names(file, named, formats, "weight format")
    faults += [one for gap, place in gaps for one in source_faults(file, place, [gap.get("source")])]
    faults += repeats(file, [(gpu, row["id"]) for row in rows for gpu in row["gpus"]], "GPU")
    return FileReport(file=file, rows=len(rows), faults=tuple(faults))


def _measured(gpus: dict[str, Any], models: dict[str, Any]) -> FileReport:
    file, content = "measured_models.json", read_data_file("measured_models.json")
    faults = unknown_names(file, [(gpu, name) for name, gpu in content["gpus"].items() if gpu], gpus, "GPU")
    faults += unknown_names(
        file, [(model, name) for name, model in content["models"].items() if model], models, "model"
    )
    return FileReport(file=file, rows=len(content["gpus"]) + len(content["models"]), faults=tuple(faults))


def _sourced(file: str, key: str, place: str) -> FileReport:
    """Rows that need a source each, one row or one field at a time."""
    rows, faults = read_data_file(file)[key], []
    for row in rows:
        given = row["sources"] if "sources" in row else [row.get("source")]
        named = given.items() if isinstance(given, dict) else ((str(row.get(place)), given) for _ in (0,))
        for where, sources in named:
            faults += source_faults(file, where, sources if isinstance(sources, list) else [sources])
    return FileReport(file=file, rows=len(rows), faults=tuple(faults))
