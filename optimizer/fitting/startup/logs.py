"""Published start-up logs: read a measurements file and say, per log, what configuration it ran.

Every line is one JSON object: `model`, `gpu`, `gpu_total_gib`, `vllm_version`, `engine`, `tp`, `pp`, flags, and
`measured` figures in GiB per rank (null: not printed). A log whose model, GPU, release or weight format the catalogue
does not hold is left out, with the reason.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.engine_defaults import (
    chunked_prefill_default,
    default_max_num_batched_tokens,
    default_max_num_seqs,
    prefix_caching_default,
)
from vllm_opt.constraints.memory.encoder_peak import media_items
from vllm_opt.optimizer.fitting.startup.names import GIB, find_gpu, find_model, find_quantization
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.engines import OLDER_THAN_ALL
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import LatentAttention, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

_VERSION = re.compile(r"(?<![\d.])v?(0\.\d+(?:\.\d+)?)")
_FREE = re.compile(r"(?:snapshot free|free on startup) (\d+\.\d+)")
_NOT_MODELLED = r"dflash|drafter|\bmtp\b|speculative|eagle|cpu-offload|instanttensor|kv-cache-memory"
_ADAPTERS = r"\blora\b|enable_lora"
"""Adapters take memory that the product does not plan: such logs tell of the profile run alone."""
_FIGURES: dict[str, Any] = {
    "tp": int, "pp": int, "max_model_len": int, "block_size": int, "max_num_seqs": int, "max_num_batched_tokens": int,
    "gpu_total_gib": int | float, "gpu_memory_utilization": int | float,
}  # fmt: skip
_LARGEST_FIGURE = 2**31
_PROFILE_RUN = ("activation_peak_gib", "non_torch_gib", "cudagraph_gib")


@dataclass(frozen=True)
class StartupLog:
    """One log, resolved: what ran, and what it printed."""

    model: ModelProfile
    quantization: Quantization
    layout: Layout
    flags: EngineFlags
    engine: EngineProfile
    gpu: GpuProfile
    release: str
    family: str
    measured: dict[str, float]
    complete: bool
    """Every flag, the GPU's total and the model's exact checkpoint are printed in the log."""
    weight: float
    """1 / number of near-twins: logs that differ only in a term that does not matter share one vote."""


def read_logs(path: Path, catalog: Catalog) -> tuple[tuple[StartupLog, ...], Counter[str]]:
    """Return the logs that can be resolved, and how many were left out for which reason.

    Raises:
        InvalidRequest: the file is missing or a line of it is not a JSON object.
    """
    resolved: list[StartupLog] = []
    reasons: Counter[str] = Counter()
    for where, row in _rows(path):
        try:
            log = _resolve(row, catalog)
        except (TypeError, ValueError, ArithmeticError):
            raise InvalidRequest(f"{where}: a figure has a value that no configuration takes") from None
        if isinstance(log, str):
            reasons[log] += 1
        else:
            resolved.append(log)
    twins = Counter(_twin_key(log) for log in resolved)
    weighted = (_with_weight(log, 1.0 / twins[_twin_key(log)]) for log in resolved)
    return tuple(weighted), reasons


def _rows(path: Path) -> Iterable[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"measurements file {path} cannot be read: {error}") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InvalidRequest(f"{path}, line {number}: not JSON ({error}); write one object per line") from None
        if not isinstance(row, dict):
            raise InvalidRequest(f"{path}, line {number}: expected a JSON object, got {type(row).__name__}")
        where = f"{path}, line {number}"
        _check_types(row, where)
        yield where, row


def _check_types(row: dict[str, Any], where: str) -> None:
    """Refuse a figure that is none, by its name: what is computed from it later could not say where it stood."""
    for name, kinds in _FIGURES.items():
        value = row.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= _LARGEST_FIGURE:
            raise InvalidRequest(f"{where}: {name} must be a number from 0 up, not {str(value)[:40]!r}")
    measured = row.get("measured")
    if measured is not None and not isinstance(measured, dict):
        raise InvalidRequest(f"{where}: measured must be an object of figures, not {str(measured)[:40]!r}")
    for name, value in (measured or {}).items():
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InvalidRequest(f"{where}: measured.{name} must be a number, not {str(value)[:40]!r}")


def _twin_key(log: StartupLog) -> tuple[object, ...]:
    activation = log.measured.get("activation_peak_gib")
    pool = log.measured.get("available_kv_gib")
    return (log.model.id, log.quantization.id, log.release, log.gpu.id, log.layout.tensor_parallel_size,
            log.layout.pipeline_parallel_size, activation, pool)  # fmt: skip


def _with_weight(log: StartupLog, weight: float) -> StartupLog:
    return StartupLog(**{**log.__dict__, "weight": weight})


def _resolve(row: dict[str, Any], catalog: Catalog) -> StartupLog | str:
    release = _VERSION.search(str(row.get("vllm_version") or "")) or _VERSION.search(str(row.get("version_hint") or ""))
    gpu = find_gpu(row, catalog)
    model = find_model(str(row.get("model") or ""), catalog)
    quantization = find_quantization(row, model, catalog) if model else None
    engine = _find_engine(release.group(1), row, catalog) if release else None
    missing = {
        "release not printed": release,
        "GPU not named, or not in the catalogue": gpu,
        "model not in the catalogue": model,
        "weight format not in the catalogue, or 32-bit": quantization,
        "parallel sizes not printed": row.get("tp"),
        "release older than every profile": engine,
    }
    words = f"{row.get('model')} {row.get('extra_flags')} {row.get('notes')}".lower()
    if re.search(_NOT_MODELLED, words):
        return "speculative decoding, CPU offload or another loader"
    if release and gpu and model and quantization and engine and row.get("tp"):
        return _assemble(row, model, quantization, engine, gpu, release.group(1))
    return next(reason for reason, found in missing.items() if not found)


def _find_engine(release: str, row: dict[str, Any], catalog: Catalog) -> EngineProfile | None:
    wanted: Literal["v0", "v1"] | None = "v0" if row.get("engine") == "V0" else None
    try:
        engine, note = catalog.engine(release, wanted)
    except VllmOptError:
        return None
    # Another release's rules would be scored, not this one's.
    return None if note is not None and OLDER_THAN_ALL in note else engine


def _assemble(
    row: dict[str, Any],
    model: ModelProfile,
    quantization: Quantization,
    engine: EngineProfile,
    gpu: GpuProfile,
    release: str,
) -> StartupLog:
    total = row.get("gpu_total_gib")
    if total:
        gpu = gpu.model_copy(update={"memory_bytes": int(total * GIB), "memory_basis": "measured"})
    extra = str(row.get("extra_flags") or "")
    if re.search(r"language.model.only|'image': 0", extra):
        model = model.model_copy(update={"vision": None})
    length = int(row.get("max_model_len") or model.max_model_len)
    chunked = _chunked(row, engine, model, length)
    sequences = row.get("max_num_seqs")
    tokens = row.get("max_num_batched_tokens") or default_max_num_batched_tokens(
        engine, gpu, chunked_prefill=chunked, max_model_len=length, max_num_seqs=sequences
    )
    if sequences is None:
        sequences = min(default_max_num_seqs(engine, gpu, tokens), _sequences_of_tier(engine, tokens))
    layout = Layout(
        gpu=gpu.id,
        tensor_parallel_size=int(row["tp"]),
        pipeline_parallel_size=int(row.get("pp") or 1),
        expert_parallel=bool(row.get("enable_expert_parallel")),
        quantization=quantization.id,
        kv_cache_dtype=str(row.get("kv_cache_dtype") or "auto"),
        block_size=row.get("block_size"),
        enforce_eager=bool(row.get("enforce_eager")),
        enable_prefix_caching=prefix_caching_default(engine, model) and "enable_prefix_caching': False" not in extra,
        enable_chunked_prefill=chunked,
        media=media_items(model.vision, length, {}),
    )
    flags = EngineFlags(
        gpu_memory_utilization=row.get("gpu_memory_utilization") or engine.gpu_memory_utilization,
        max_model_len=length,
        max_num_seqs=sequences,
        max_num_batched_tokens=tokens,
    )
    known = (total, *(row.get(key) for key in ("gpu_memory_utilization", "max_num_batched_tokens", "max_num_seqs")))
    measured = {name: value for name, value in (row.get("measured") or {}).items() if value is not None}
    if re.search(_ADAPTERS, f"{extra} {row.get('notes')}".lower()):
        measured = {name: value for name, value in measured.items() if name in _PROFILE_RUN}
    free = _FREE.search(str(row.get("notes") or ""))
    if free and total:
        measured["context_gib"] = total - float(free.group(1))
    return StartupLog(
        model, quantization, layout, flags, engine, gpu, release, model.model_type, measured,
        complete=all(known) and bool(row.get("model_exact", True)), weight=1.0,
    )  # fmt: skip


def _chunked(row: dict[str, Any], engine: EngineProfile, model: ModelProfile, length: int) -> bool:
    """Whether prompts were cut: as the flags or the remarks say, else the release's default; V0 never cut for MLA."""
    words = f"{row.get('extra_flags') or ''} {row.get('notes') or ''}".lower()
    if re.search(r"chunked prefill off|no chunked prefill|no-enable-chunked-prefill", words):
        return False
    if re.search(r"chunked prefill (?:auto-)?on|enable-chunked-prefill|enable_chunked_prefill': true", words):
        return True
    latent = any(isinstance(kind.mixer, LatentAttention) for kind in model.layer_kinds)
    return chunked_prefill_default(engine, length) and not (latent and engine.engine == "v0")


def _sequences_of_tier(engine: EngineProfile, tokens: int) -> int:
    """A log that prints a tier's batched tokens as a default ran on that tier, and got its sequences."""
    same = [tier.max_num_seqs for tier in engine.batch_defaults if tier.max_num_batched_tokens == tokens]
    return min(same, default=tokens)
