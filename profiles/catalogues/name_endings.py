"""What the ending of a checkpoint's name on Hugging Face says of its format."""

import re
from typing import NamedTuple


class Ending(NamedTuple):
    """The name without its ending, and the format that the ending means."""

    base: str
    quantization: str
    group_size: int | None = None


_BLOCK_FP8_OWNERS = frozenset(("qwen", "zai-org", "minimaxai", "deepseek-ai", "xiaomimimo"))
_TENSOR_FP8_OWNERS = frozenset(("neuralmagic", "redhatai", "nvidia", "amd"))
_GROUP_32_OWNERS = frozenset(("cyankiwi", "cpatonn"))
"""Publishers whose "AWQ" names hold compressed-tensors files in groups of 32, whatever the name says."""

_ENDINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), quantization)
    for pattern, quantization in (
        (r"(?:-unsloth)?-bnb(?:-(?:4bit|nf4))?$|-nf4$", "bitsandbytes"),
        (r"-awq-(?:8bit|int8|bf16-int8)$", "int8_w8a16"),
        (r"-awq(?:[-_](?:int4|4bit|g\d+|marlin|w4a16|sym|asym))*$", "awq"),
        (r"-gptq[-_](?:int8|8bit|w8a16)(?:[-_]g\d+)?$", "gptq_int8"),
        (r"-gptq(?:[-_](?:int4|4bit|w4a16|g\d+|marlin))*$|-int4-gptq$", "gptq"),
        (r"[-._](?:quantized\.)?w4a16(?:[-_](?:g\d+|ct))*$|-int4(?:[-_](?:autoround|sym|mixed|inc|ct))*$", "w4a16"),
        (r"-auto-?round(?:-int4)?$", "w4a16"),
        (r"[-._](?:quantized\.)?w8a16$", "int8_w8a16"),
        (r"[-._](?:quantized\.)?w8a8(?:-int8)?$|-int8(?:-dynamic)?$", "int8"),
        (r"[-._]w4a8(?:-fp8)?$", "w4a8"),
        (r"-nvfp4a16$", "nvfp4_w4a16"),
        (r"-(?:nv)?fp4$", "nvfp4"),
        (r"-mxfp4$", "mxfp4"),
        (r"-mxfp8$", "mxfp8"),
        (r"-fp8-block$", "fp8_block"),
        (r"-fp8(?:[-_]dynamic)(?:-kv)?$", "fp8"),
        (r"-fp8(?:-static(?:-per-?tensor)?|-kv)$", "fp8_per_tensor"),
        (r"-fp8$", "fp8"),
    )
)

_UNREADABLE: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.I), reason)
    for pattern, reason in (
        (r"gguf", "is a GGUF file, which vLLM has not loaded without vllm-gguf-plugin since 0.27.1"),
        (
            r"[-_](?:exl[23]|mlx)\b|^mlx-community/",
            "is stored for another engine (ExLlama or MLX), and vLLM cannot load it",
        ),
        (r"-(?:awq|gptq)?-?(?:[2356]-?bit|int[2356])$", "is stored in 2, 3, 5 or 6 bits, for which there is no rule"),
    )
)


def ending_of(name: str) -> Ending | None:
    """Split a checkpoint's name; None where no ending is known. The owner decides where a name means two things."""
    owner = name.partition("/")[0].lower() if "/" in name else ""
    for pattern, quantization in _ENDINGS:
        base = pattern.sub("", name)
        if base == name or not base or base.endswith("/"):
            continue
        if owner in _GROUP_32_OWNERS and quantization in ("awq", "int8_w8a16"):
            return Ending(base, "w4a16" if quantization == "awq" else quantization, 32)
        if quantization == "fp8" and name.lower().endswith("-fp8"):
            block, tensor = owner in _BLOCK_FP8_OWNERS, owner in _TENSOR_FP8_OWNERS
            return Ending(base, "fp8_block" if block else "fp8_per_tensor" if tensor else "fp8")
        return Ending(base, quantization)
    return None


def unreadable(name: str) -> str | None:
    """Why vLLM or this catalogue cannot read what a name promises; None where nothing speaks against it."""
    last = "/".join(name.rstrip("/").split("/")[-2:])
    return next((reason for pattern, reason in _UNREADABLE if pattern.search(last)), None)
