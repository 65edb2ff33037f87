"""The GPUs of the catalogue, and those that a user's file adds or changes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vllm_opt.profiles.catalogues.platforms import platform_rows
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.reading.data_files import parse_rows, raise_faults, read_data_file
from vllm_opt.profiles.reading.name_index import index_names, resolve
from vllm_opt.profiles.reading.quantities import gib_to_bytes, parse_amount
from vllm_opt.profiles.reading.user_files import read_user_file, shown_name

_LIST_COMMAND = "`vllm-opt gpus`"


def load_gpus(gpu_file: Path | None = None) -> tuple[GpuProfile, ...]:
    """Return every SKU: the package's own, with the rows of `gpu_file` changing or following them.

    A row of `gpu_file` whose id is known changes the keys that it names. Any other row describes a new SKU; `base`
    names one to copy the missing keys from. `memory_gib` may stand for `memory_bytes`.

    Raises:
        InvalidRequest: the file cannot be read or a row is wrong; every fault is named.
    """
    listed: list[Any] = read_data_file("gpus.json")["gpus"]
    platforms = platform_rows()
    rows: list[Any] = [{**row, "platform": platforms.get(row["id"])} for row in listed]
    own = parse_rows(GpuProfile, rows, "gpus.json", "gpus")
    if gpu_file is None:
        return own
    file = shown_name(gpu_file)
    by_id = {row["id"]: row for row in rows}
    index = index_gpus(own)
    merged = [_completed(row, position, by_id, index, file) for position, row in enumerate(_user_rows(gpu_file, file))]
    _refuse_repeats(merged, file)
    changed = {gpu.id: gpu for gpu in parse_rows(GpuProfile, merged, file, "gpus")}
    raise_faults(
        file,
        [
            f"{gpu.id}: memory_bytes_high is below memory_bytes"
            for gpu in changed.values()
            if gpu.memory_bytes_high < gpu.memory_bytes
        ],
    )
    kept = tuple(changed.pop(gpu.id, gpu) for gpu in own)
    return kept + tuple(changed.values())


def index_gpus(gpus: tuple[GpuProfile, ...]) -> dict[str, str]:
    """Return lookup key -> id; where a user's SKU claims another's alias, the user's wins."""
    return index_names((gpu.id, (*gpu.aliases, gpu.name, *gpu.vllm_device_names)) for gpu in reversed(gpus))


def find_gpu(name: str, gpus: Mapping[str, GpuProfile], index: Mapping[str, str]) -> GpuProfile:
    """Return the SKU that an id, alias, vendor's name or CUDA device name means.

    Raises:
        UnknownProfile: no SKU has this name.
    """
    if name in gpus:
        return gpus[name]
    known = [*gpus, *(alias for gpu in gpus.values() for alias in gpu.aliases)]
    return gpus[resolve(name, index, known, "GPU", _LIST_COMMAND)]


def _user_rows(gpu_file: Path, file: str) -> list[object]:
    content = read_user_file(gpu_file)
    if isinstance(content, dict) and "gpus" in content:
        unknown = [key for key in content if key not in ("gpus", "schema", "notes")]
        if unknown:
            raise InvalidRequest(f"{file}: unknown key {str(unknown[0])[:60]!r}; GPUs belong under 'gpus'")
        content = content["gpus"]
    if isinstance(content, dict) and "id" in content:
        content = [content]
    if not isinstance(content, list) or not content:
        raise InvalidRequest(f"{file} must hold a list of GPUs, or a mapping with the key 'gpus'")
    return content


def _completed(
    row: object, position: int, by_id: Mapping[str, dict[str, Any]], index: Mapping[str, str], file: str
) -> dict[str, Any]:
    if not isinstance(row, dict) or not isinstance(row.get("id"), str):
        raise InvalidRequest(f"{file}: gpus[{position}] must be a mapping with an 'id'")
    given = dict(row)
    base_name = given.pop("base", None)
    base: dict[str, Any] = {}
    if base_name is not None:
        if not isinstance(base_name, str):
            raise InvalidRequest(f"{file}: gpus[{position}].base must be the name of a GPU")
        base = by_id[resolve(base_name, index, list(by_id), f"{file}: gpus[{position}].base: GPU", _LIST_COMMAND)]
        base = {key: value for key, value in base.items() if key not in ("aliases", "vllm_device_names")}
    elif given["id"] in by_id:
        base = by_id[given["id"]]
    return {"sources": [f"user file {file}"], **base, **_with_memory(given, file, position)}


def _with_memory(given: dict[str, Any], file: str, position: int) -> dict[str, Any]:
    if "memory_gib" in given:
        gib = parse_amount(given.pop("memory_gib"), f"{file}: gpus[{position}].memory_gib", 0, 1e6, above=True)
        given.setdefault("memory_bytes", gib_to_bytes(gib))
    if "memory_bytes" in given:
        given.setdefault("memory_bytes_high", given["memory_bytes"])
        given.setdefault("memory_basis", "measured")
        given.setdefault("memory_note", f"given in {file}")
        if isinstance(given["memory_bytes"], int) and given["id"]:
            given.setdefault("memory_gb_nominal", given["memory_bytes"] / 1e9)
    return given


def _refuse_repeats(rows: list[dict[str, Any]], file: str) -> None:
    seen: set[str] = set()
    for row in rows:
        if row["id"] in seen:
            raise InvalidRequest(f"{file}: the GPU {row['id'][:60]!r} is given twice; keep one")
        seen.add(row["id"])
