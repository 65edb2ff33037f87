"""Which model, GPU and weight format of the catalogue a published log means by the names it prints."""

import re
from typing import Any

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

GIB = 1 << 30
_TOTAL_TOLERANCE = 0.015
_SUFFIXES = re.compile(
    r"[-_.](?:awq|gptq|gguf|fp8|nvfp4|bf16|int4|int8|w4a16|w8a8|4bit|8bit|bnb|unsloth|marlin|dynamic|quantized|"
    r"quantized\.w8a8|q\d_[a-z0-9_]+|instruct|chat|base|hf|it|thinking|\d{4})$",
    re.IGNORECASE,
)
_COMPRESSED = (
    (r"nvfp4", "nvfp4"),
    (r"fp8", "fp8"),
    (r"w8a8", "int8"),
    (r"w8a16", "int8_w8a16"),
    (r"w4a16|4bit|int4|awq|gptq", "w4a16"),
)
_FORMATS = (
    (r"bitsandbytes|bnb", "bitsandbytes"),
    (r"gguf q8", "gguf_q8_0"),
    (r"gguf", "gguf"),
    (r"nvfp4|modelopt_fp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"experts_int8", "experts_int8"),
    (r"auto_round|exl3|online|marlin$", None),
    (r"awq", "awq"),
    (r"gptq", "gptq"),
    (r"w8a8", "int8"),
    (r"fp8", "fp8"),
    (r"w4a16|int4", "w4a16"),
)


def find_gpu(row: dict[str, Any], catalog: Catalog) -> GpuProfile | None:
    """Return the SKU that a log names, else one whose reported total is the printed one; None when neither is known."""
    name, total = str(row.get("gpu") or ""), row.get("gpu_total_gib")
    for candidate in (name, re.sub(r"\s*\(.*", "", name), re.sub(r"^(NVIDIA|AMD) |\s*\(.*", "", name)):
        try:
            found = catalog.gpu(candidate) if candidate else None
        except VllmOptError:
            continue
        if found is not None and (total is None or _same_size(found, total, 0.05)):
            return None if candidate == "A100" and total is None else found
    if total is None:
        return None
    return next((gpu for gpu in catalog.gpus if gpu.vendor == "nvidia" and _same_size(gpu, total)), None)


def _same_size(gpu: GpuProfile, total_gib: float, tolerance: float = _TOTAL_TOLERANCE) -> bool:
    low, high = gpu.memory_bytes / GIB, gpu.memory_bytes_high / GIB
    return low * (1 - tolerance) <= total_gib <= high * (1 + tolerance)


def find_model(name: str, catalog: Catalog) -> ModelProfile | None:
    """Return the catalogue's model behind a logged name: as written, without its path, or without format suffixes."""
    shown = re.sub(r"\s*\(.*\)$", "", name).replace("___", ".").rstrip("/")
    by_name = {model_id.rsplit("/", 1)[-1].lower(): model_id for model_id in catalog.model_ids}
    base = shown.rsplit("/", 1)[-1].lower()
    candidates = [base]
    while (shorter := _SUFFIXES.sub("", candidates[-1])) != candidates[-1]:
        candidates.append(shorter)
    candidates += [re.sub(r"^meta-llama-3(\.1)?-", "llama-3.1-", candidate) for candidate in candidates]
    known = [by_name[item] for item in candidates if item in by_name]
    for candidate in (*known, shown, *candidates):
        try:
            return catalog.model(candidate)
        except VllmOptError:
            continue
    return None


def find_quantization(row: dict[str, Any], model: ModelProfile, catalog: Catalog) -> Quantization | None:
    """Return the weight format that a log names, by its flag and, for compressed-tensors, by its checkpoint's name."""
    text = str(row.get("weight_dtype_or_quant") or "").lower()
    name = str(row.get("model") or "").lower()
    if text == "float32":
        return None
    if "compressed-tensors" in text:
        found = next((ident for pattern, ident in _COMPRESSED if re.search(pattern, text + name)), None)
        return catalog.quantization(found) if found else None
    for pattern, ident in _FORMATS:
        if re.search(pattern, text) or (not text and re.search(pattern, name)):
            return catalog.quantization(ident) if ident else None
    native = model.native_quantization
    return catalog.quantization(native.quantization if native else "bf16")
