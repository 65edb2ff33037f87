"""What vLLM prints at start-up, in every wording from 0.6 to 0.33, as figures.

The wordings, by the release that brought them: V0 0.6 `Loading model weights took`, `Memory profiling results:`,
`# GPU blocks:`; 0.6.6 `the current vLLM instance can use`, `model weights take`; 0.7 `# cuda blocks:`; V1 0.8 `Model
loading took`, `Available KV cache memory:`, `GPU KV cache size:`; 0.12 `GiB memory and`; 0.19 `Estimated CUDA graph
memory:`; 0.33 pool and concurrency in one line. Source: vLLM's worker and engine modules of those releases, and
published start-up logs.
"""

import json
import re
from collections.abc import Callable
from typing import Any

NUMBER = r"(-?[\d,]+(?:\.\d+)?)"
SIZE = NUMBER + r" ?(GiB|GB|MiB|MB)"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
MESSAGE_KEYS = ("message", "msg", "log", "text", "MESSAGE", "body")
MARKS = tuple(
    mark.encode()
    for mark in (
        "GiB", " GB", "GB)", "MiB", " MB", " blocks: ", "KV cache size", "KV cache memory", "oncurrency for",
        "ngine (v", "config: ", "args: ", "server version", "vLLM version", "device_name=", "max_num_",
        "gpu_memory_utilization",
    )
)  # fmt: skip
"""A line without any of these is about something else: passed over without a pattern being tried."""
ABOUT_MEMORY = re.compile(r"\b(?:GiB|GB|MiB)\b|KV cache|(?:GPU|cuda) blocks", re.IGNORECASE)
PASSED = re.compile(
    r"Memory profiling takes|Maximum concurrency|swap|/\w+\.safetensors|Loading safetensors|downloading"
    r"|Using \w+ backend|KV cache usage|GPU KV cache usage|Avg (?:prompt|generation)|kv_cache_dtype|pool memory|offload"
    r"|Initial free memory|Using fp8 data type to store kv cache|KV cache is needed|Desired GPU memory|Actual usage is"
    r"|equivalent to",
    re.IGNORECASE,
)  # fmt: skip
"""Lines about memory that say nothing new."""

Figures = dict[str, float]
LARGEST_GIB, LARGEST_NUMBER = 65_536.0, 1e12
"""What no GPU holds is no figure."""


def number_of(text: str) -> float:
    """'1,024.5' -> 1024.5; 0 digits give 0."""
    digits = text.replace(",", "")
    return float(digits) if digits not in ("", "-") else 0.0


def gib_of(value: str, unit: str) -> float:
    """Sizes of a log in GiB: vLLM divides by 2**30 whatever it prints behind it; MiB and MB by 2**20."""
    return number_of(value) / (1024.0 if unit.startswith("M") else 1.0)


SIZES: tuple[tuple[str, str], ...] = (
    ("weights_gib", r"(?:[Ll]oading model weights|Model loading|Model weights loading) took " + SIZE),
    ("weights_gib", r"model weights take " + SIZE),
    ("weights_gib", r"weights memory: " + SIZE),
    ("activation_gib", r"PyTorch activation peak memory takes " + SIZE),
    ("activation_gib", r"torch peak memory increase: " + SIZE),
    ("non_torch_gib", r"non_torch_memory takes " + SIZE),
    ("non_torch_gib", r"non-torch forward increase memory: " + SIZE),
    ("non_torch_gib", r"non_torch_memory=" + SIZE),
    ("kv_gib", r"Available KV cache memory: " + SIZE),
    ("kv_gib", r"memory reserved for KV Cache is " + SIZE),
    ("kv_gib", r"kv_cache_size=" + SIZE),
    ("kv_gib", r"available KV cache memory \(" + SIZE),
    ("graph_gib", r"[Gg]raph capturing finished in .{1,20}?, took " + SIZE),
    ("graph_estimate_gib", r"Estimated CUDA graph memory: " + SIZE),
    ("graph_gib", r"CUDA graph pool memory: " + SIZE + r" \(actual\)"),
    ("total_gib", r"total_gpu_memory ?[=(] ?" + SIZE),
    ("total_gib", r"Free memory on device \S* ?\([\d.]+/" + SIZE),
)
COUNTS: tuple[tuple[str, str], ...] = (
    ("num_gpu_blocks", r"# (?:GPU|cuda|CUDA) blocks: " + NUMBER),
    ("kv_tokens", r"GPU KV cache size: " + NUMBER + " tokens"),
    ("max_concurrency", r"Maximum concurrency for [\d,]+ tokens per request: " + NUMBER + "x"),
    ("gpu_memory_utilization", r"gpu_memory_utilization ?[=(] ?\(?" + NUMBER),
    ("max_num_batched_tokens", r"max_num_batched_tokens[ =:]+" + NUMBER),
    ("max_num_seqs", r"max_num_seqs[ =:']+" + NUMBER),
)
SIZE_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in SIZES)
COUNT_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in COUNTS)
ENGINE_LINE = re.compile(r"Initializing (?:an?|the) (V1 )?LLM engine \(v?([^)\s]{1,60})\)")
VERSION_LINE = re.compile(r"(?:API server version|vLLM version|vllm version)[: ]+v?(\d+\.\d+[^\s,)]{0,40})")
DEVICE_NAME = re.compile(r"device_name=([\w.-]{3,80})")
RANK = re.compile(r"\((?:Vllm)?Worker[\w ]*?[ _]?(?:TP(\d+))?[^)]*\)|\brank[= ](\d+)", re.IGNORECASE)
CONFIG_FIELDS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("model", r"""\bmodel=['"]([^'"]{1,400})['"]""", str),
    ("model", r"""'model(?:_tag)?': ['"]([^'"]{1,400})['"]""", str),
    ("max_model_len", r"(?:max_seq_len=|max_model_len['=: ]+)(\d{1,9})\b", int),
    ("tensor_parallel_size", r"tensor_parallel_size['=: ]+(\d{1,5})\b", int),
    ("pipeline_parallel_size", r"pipeline_parallel_size['=: ]+(\d{1,5})\b", int),
    ("data_parallel_size", r"data_parallel_size['=: ]+(\d{1,5})\b", int),
    ("quantization", r"\bquantization['=: ]+'?([\w.-]{2,40})", str),
    ("dtype", r"\bdtype=(?:torch\.)?([\w]{3,20})", str),
    ("kv_cache_dtype", r"kv_cache_dtype['=: ]+'?([\w]{2,30})", str),
    ("enforce_eager", r"enforce_eager['=: ]+(True|False)", lambda word: word == "True"),
    ("enable_prefix_caching", r"enable_prefix_caching['=: ]+(True|False)", lambda word: word == "True"),
    ("enable_chunked_prefill", r"(?:enable_chunked_prefill|chunked_prefill_enabled)['=: ]+(True|False)",
     lambda word: word == "True"),
    ("gpu_memory_utilization", r"gpu_memory_utilization['=: ]+(0?\.\d{1,6}|1\.0|1)\b", float),
    ("max_num_seqs", r"max_num_seqs['=: ]+(\d{1,8})\b", int),
    ("max_num_batched_tokens", r"max_num_batched_tokens['=: ]+(\d{1,8})\b", int),
    ("block_size", r"\bblock_size['=: ]+(\d{1,6})\b", int),
)  # fmt: skip
CONFIG_PATTERNS = tuple((name, re.compile(pattern), read) for name, pattern, read in CONFIG_FIELDS)


def plain_text(line: str) -> str:
    """The message of a line: out of JSON where the log is JSON, without colours."""
    text = line.strip()
    if text.startswith("{") and text.endswith("}"):
        try:
            content = json.loads(text)
        except (ValueError, RecursionError):
            return ANSI.sub("", text)
        for key in MESSAGE_KEYS:
            value = content.get(key) if isinstance(content, dict) else None
            if isinstance(value, dict):
                value = value.get("message")
            if isinstance(value, str):
                worker = content.get("process") or content.get("processName")
                return f"({worker}) {value}" if isinstance(worker, str) else ANSI.sub("", value)
        return ""
    return ANSI.sub("", text) if "\x1b" in text else text


def figures_in(text: str) -> Figures:
    """Every figure of one line, sizes in GiB."""
    found: Figures = {}
    for name, pattern in SIZE_PATTERNS:
        if name not in found and (match := pattern.search(text)):
            size = gib_of(match[1], match[2])
            if 0 < size < LARGEST_GIB:
                found[name] = size
    for name, pattern in COUNT_PATTERNS:
        if (match := pattern.search(text)) and 0 < (number := number_of(match[1])) < LARGEST_NUMBER:
            found[name] = number
    return found


def configuration_in(text: str) -> dict[str, Any]:
    """What one line says of the configuration: `config:` of the engine, `non-default args`, `args:`."""
    found: dict[str, Any] = {}
    if match := ENGINE_LINE.search(text):
        found["engine"] = "v1" if match[1] else "v0"
        found["vllm_version"] = match[2].split("+")[0]
    elif match := VERSION_LINE.search(text):
        found["vllm_version"] = match[1].split("+")[0]
    if match := DEVICE_NAME.search(text):
        found["gpu"] = match[1].removesuffix(".json").replace("_", " ")
    if "config:" in text or "args:" in text:
        for name, pattern, read in CONFIG_PATTERNS:
            if name not in found and (match := pattern.search(text)) and match[1] not in ("None", "none"):
                found[name] = read(match[1])
    return found


def rank_of(text: str) -> str:
    """Which worker speaks; the same line of another rank is another figure of the same start."""
    match = RANK.search(text[:200])
    return (match[1] or match[2] or match[0]) if match else ""
