"""Which parts of which layers a list of module names means: `ignore` and `quantized_layers` of a checkpoint."""

import re
from collections.abc import Iterable, Mapping, Sequence

from vllm_opt.profiles.nouns.model import Part, PartFormat

_PARTS: tuple[tuple[Part, str], ...] = (
    ("vision", r"vision|visual|mm_projector|multi_modal_projector|patch_merge"),
    ("lm_head", r"lm_head"),
    ("indexer", r"indexer"),
    ("shared_experts", r"shared_expert(?!_gate)|shared_mlp|\bshared_head\b"),
    ("state_space", r"linear_attn|\bmamba\b|mamba_mixer|mixer\.(in|out)_proj"),
    ("attention_output", r"(self_attn|attn|attention|mixer)\.(o_proj|dense|out_proj)"),
    ("attention", r"self_attn|\battn\b|attention|mixer\.[qkvo]_proj"),
    ("router", r"router|(mlp|moe|mixer)\.gate$|^gate$|shared_expert_gate|e_score_correction"),
    ("experts", r"experts?\b"),
    ("dense_mlp", r"\bmlp|feed_forward|mixer\.(up|down)_proj"),
)
"""First pattern that matches decides the part. Norms and embeddings match none: they are 16-bit in every format."""

_LAYER = re.compile(r"layers\.(\d+)(?:[.*]|$)")
_EVERY_LAYER_PART: tuple[Part, ...] = (
    "attention",
    "attention_output",
    "indexer",
    "state_space",
    "dense_mlp",
    "experts",
    "shared_experts",
)
_ONE_PROJECTION = re.compile(r"\.(q|k|v|g|qkv|query|q_a|q_b|kv_a|kv_b)\w*proj|query_key_value")
_NEVER_QUANTIZED = ("router", "vision", "lm_head")


def part_of(module: str) -> Part | None:
    """The part that a module name or pattern belongs to; None for norms and embeddings."""
    # Regular expressions of compressed-tensors ("re:.*mlp\\.gate$") are read as the names that they match.
    name = module.removeprefix("re:").replace("\\", "").rstrip("$*")
    if re.search(r"norm|weights_proj|indexers_proj|embed|eh_proj|\bg_proj|\bconv1d\b|\bmtp\b", name):
        return None
    for part, pattern in _PARTS:
        if re.search(pattern, name):
            return part
    return None


def part_formats(
    quantized: Mapping[str, str], ignored: Iterable[str], layers: int, sparse: Sequence[bool]
) -> tuple[PartFormat, ...]:
    """Return the parts that are stored otherwise than the checkpoint's main format.

    `quantized` maps module names to format ids, `ignored` lists modules left in 16 bits, `sparse` says which of the
    `layers` decoder layers hold experts.
    """
    stored: dict[tuple[Part, str], set[int]] = {}
    for module, quantization in quantized.items():
        _note(stored, module, quantization, layers)
    for module in ignored:
        _note(stored, module, "bf16", layers)
    return tuple(
        PartFormat(part=part, quantization=quantization, layers=_layers_or_all(found, layers, part, sparse))
        for (part, quantization), found in stored.items()
        if quantization != "bf16" or part not in _NEVER_QUANTIZED
    )


def _note(stored: dict[tuple[Part, str], set[int]], module: str, quantization: str, layers: int) -> None:
    whole = part_of(module)
    if whole == "vision" or re.search(r"\bmtp", module):  # multi-token prediction is no part of the profile
        return
    layer = _LAYER.search(module)
    found = {int(layer.group(1))} if layer else set(range(layers))
    if any(index >= layers for index in found):
        return
    part = part_of(module[layer.end() :]) if layer else whole
    parts: tuple[Part, ...] = (part,) if part else ()
    if layer and part is None and module.rstrip("*.").endswith(layer.group(1)):
        parts = _EVERY_LAYER_PART
    elif part == "attention" and not _ONE_PROJECTION.search(module):
        parts = ("attention", "attention_output")
    for each in parts:
        stored.setdefault((each, quantization), set()).update(found)


def _layers_or_all(found: set[int], layers: int, part: Part, sparse: Sequence[bool]) -> tuple[int, ...] | None:
    """None when `found` covers every layer that can hold `part`."""
    possible = {i for i in range(layers) if part not in ("experts", "shared_experts") or sparse[i]}
    return None if possible <= found else tuple(sorted(found))


def collapse(modules: Iterable[str]) -> list[str]:
    """Replace layer and expert numbers by `*` and drop the repetitions, in order of first appearance."""
    return list(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=[.*]|$)", "*", module) for module in modules))
