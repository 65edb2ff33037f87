"""Which storage format each part of each layer has: the checkpoint's own mixture, or one format throughout."""

from typing import NamedTuple

from vllm_opt.constraints.weights.storage import UNQUANTIZED, StorageFormat, standard_format, storage_format
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.model import CheckpointQuantization, ModelProfile, Part
from vllm_opt.profiles.nouns.quantization import Quantization

Overrides = tuple[tuple[Part, str], ...]
"""Parts of one layer that are stored in another format than the rest, with that format's id."""

UNQUANTIZED_PARTS: frozenset[Part] = frozenset(("router", "lm_head", "vision"))

ROUTER_IS_A_QUANTIZED_LINEAR = frozenset(("Qwen3MoeForCausalLM", "Qwen3VLMoeForConditionalGeneration"))
"""Classes that hand the quantisation to their router (`models/qwen3_moe.py`, 0.33): a format without a list of ignored
modules then stores the router too."""


class PartFormats(NamedTuple):
    """The format of every part of one layer."""

    main: StorageFormat
    overrides: dict[Part, StorageFormat]
    experts_only: bool
    router_quantized: bool = False

    def of(self, part: Part | None) -> StorageFormat:
        """Return the format of a part; tensors without a part are never quantised."""
        if part is None:
            return UNQUANTIZED
        if part in self.overrides:
            return self.overrides[part]
        if part == "router" and self.router_quantized:
            return self.main
        if part in UNQUANTIZED_PARTS or (self.experts_only and part != "experts"):
            return UNQUANTIZED
        return self.main


def native_format(model: ModelProfile, quantization: Quantization) -> CheckpointQuantization | None:
    """Return the checkpoint's own quantisation when `quantization` is the one it is published in."""
    native = model.native_quantization
    return native if native is not None and native.quantization == quantization.id else None


def layer_variants(
    model: ModelProfile, quantization: Quantization
) -> tuple[tuple[tuple[int, Overrides], ...], tuple[int, ...]]:
    """Return the distinct (layer kind, overrides) and, per decoder layer, the index of its variant."""
    native = native_format(model, quantization)
    if native is None or not native.part_formats:
        kinds = {kind: index for index, kind in enumerate(dict.fromkeys(model.layer_pattern))}
        return tuple((kind, ()) for kind in kinds), tuple(kinds[kind] for kind in model.layer_pattern)
    variants: dict[tuple[int, Overrides], int] = {}
    pattern = []
    layer_sets = [(entry, None if entry.layers is None else frozenset(entry.layers)) for entry in native.part_formats]
    for index, kind in enumerate(model.layer_pattern):
        chosen: dict[Part, str] = {}
        for entry, layers in layer_sets:
            if layers is None or index in layers:
                chosen[entry.part] = entry.quantization
        key = (kind, tuple(sorted(chosen.items())))
        pattern.append(variants.setdefault(key, len(variants)))
    return tuple(variants), tuple(pattern)


def storage_of_parts(model: ModelProfile, quantization: Quantization, overrides: Overrides) -> PartFormats:
    """Return the formats of one layer variant; without overrides, of what lies outside the layers.

    Raises InvalidRequest when an override names a format whose storage is unknown.
    """
    native = native_format(model, quantization)
    main = _with_scales(storage_format(quantization, native), native)
    if native and not overrides:
        overrides = tuple((entry.part, entry.quantization) for entry in native.part_formats if entry.layers is None)
    resolved: dict[Part, StorageFormat] = {}
    for part, format_id in overrides:
        storage = main if format_id == quantization.id else standard_format(format_id, main.method)
        if storage is None:
            raise InvalidRequest(
                f"model '{model.id}' stores its {part} as '{format_id}', for which there is no storage rule; "
                "choose another --quantization"
            )
        resolved[part] = _with_scales(storage, native)
    experts_only = quantization.experts_only or bool(native and native.experts_only)
    lists_ignored = main.method not in ("fp8", "awq", "gptq") or bool(native and native.ignored_modules)
    router_quantized = model.architecture in ROUTER_IS_A_QUANTIZED_LINEAR and not lists_ignored
    return PartFormats(main, resolved, experts_only, router_quantized and not experts_only)


def _with_scales(storage: StorageFormat, native: CheckpointQuantization | None) -> StorageFormat:
    """Apply the checkpoint's own width of block scales."""
    if native is None or storage.granularity != "block":
        return storage
    return storage._replace(scale_bytes=native.block_scale_bytes)
