"""Hashes of what an answer depends on, each under the name of the cause that a reader would give."""

import hashlib
import json
from functools import cache
from pathlib import Path

import vllm_opt.constraints
import vllm_opt.optimizer
import vllm_opt.profiles
from vllm_opt.profiles.catalogues.own_calibration import own_calibration_path
from vllm_opt.profiles.reading.data_files import DATA
from vllm_opt.profiles.version import installed_version

HASHED_ROW_BY_ROW = {"gpus.json", "prices.json", "workloads.json", "model_names.json", "quality_evidence.json"}
"""Data files of which a cell uses one row, which has a fingerprint of its own, or none."""
WEIGHT_FORMATS = {
    "quantizations.json", "kv_cache_dtypes.json", "checkpoints.json", "quality.json", "kv_cache_quality.json",
}  # fmt: skip


def fingerprint(content: object, *, length: int = 16) -> str:
    """The first hexadecimal digits of the SHA-256 of some JSON content, keys in order."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:length]


@cache
def common_fingerprints() -> dict[str, str]:
    """Fingerprints that all cells of a run share: weight formats, fitted constants, the program itself."""
    formats = [DATA / name for name in sorted(WEIGHT_FORMATS)]
    left_out = HASHED_ROW_BY_ROW | WEIGHT_FORMATS
    own = [file for file in (own_calibration_path(),) if file.is_file()]
    fitted = sorted(file for file in DATA.glob("*.json") if file.name not in left_out)
    return {
        "weight_formats": _of_files(formats),
        "calibration": _of_files([*fitted, *own]),
        "tool": fingerprint([installed_version(), _of_files(_program_files())]),
    }


def _program_files() -> list[Path]:
    packages = (vllm_opt.profiles, vllm_opt.constraints, vllm_opt.optimizer)
    return [file for package in packages for folder in package.__path__ for file in sorted(Path(folder).rglob("*.py"))]


def _of_files(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]
