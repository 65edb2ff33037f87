"""What a config's `quantization_config` says about the stored weights, in the ids of the quantisation catalogue."""

from collections.abc import Sequence

from vllm_opt.profiles.configs.checkpoint_parts import collapse, part_formats
from vllm_opt.profiles.configs.reader import ConfigKeys
from vllm_opt.profiles.nouns.model import CheckpointQuantization, Part, PartFormat


def checkpoint_quantization(keys: ConfigKeys, layers: int, sparse: Sequence[bool]) -> CheckpointQuantization | None:
    """Return how the checkpoint stores its weights, or None where it is not quantised.

    `keys` is the object that may hold `quantization_config` (older: `compression_config`); `sparse` says which of the
    `layers` decoder layers hold experts. Raises InvalidRequest for a method that has no rule.
    """
    stated = keys.child("quantization_config") or keys.child("compression_config")
    if stated is None:
        return None
    if keys.text("model_type") == "deepseek_v4":
        return _deepseek_v4(keys, stated)
    nested = stated.child("quantization")
    if nested is not None and nested.has("quant_algo"):
        stated = nested
    method = (stated.text("quant_method") or "").lower().replace("_", "-")
    if not method and stated.has("quant_algo"):
        method = "modelopt"
    reader = _METHODS.get(method)
    if reader is None:
        stated.refuse(f"has quant_method '{method[:60]}', for which there is no rule yet")
    found = reader(stated)
    ignored = _ignored(stated)
    formats = part_formats(_quantized_layers(stated), ignored, layers, sparse)
    return found.model_copy(
        update={"method": method, "ignored_modules": tuple(collapse(ignored)), "part_formats": formats}
    )


def _deepseek_v4(keys: ConfigKeys, stated: ConfigKeys) -> CheckpointQuantization:
    """DeepSeek V4: linear layers in fp8 blocks, experts in MXFP4, NVFP4 or fp8 (`expert_dtype`, `moe_quant_algo`).

    Block scales take one byte (ue8m0) unless the experts are fp8 too (`models/deepseek_v4/`, vLLM 0.33).
    """
    if (stated.text("quant_method") or "") != "fp8" or stated.integers("weight_block_size") not in (None, [128, 128]):
        stated.refuse("is no fp8 checkpoint in blocks of 128 x 128, the only kind of DeepSeek V4 that has a rule")
    experts = keys.text("expert_dtype") or "fp4"
    if experts not in ("fp4", "fp8"):
        keys.refuse(f"has expert_dtype '{experts[:40]}' where fp4 or fp8 belongs")
    if experts == "fp8":
        return CheckpointQuantization(quantization="fp8_block", group_size=128, method="fp8")
    nvfp4 = (stated.text("moe_quant_algo") or "").upper() == "NVFP4"
    others: tuple[Part, ...] = ("attention", "attention_output", "indexer", "shared_experts")
    return CheckpointQuantization(
        quantization="nvfp4" if nvfp4 else "mxfp4",
        group_size=16 if nvfp4 else 32,
        method="modelopt" if nvfp4 else "mxfp4",
        part_formats=tuple(PartFormat(part=part, quantization="fp8_block") for part in others),
        block_scale_bytes=1,
    )


def _fp8(keys: ConfigKeys) -> CheckpointQuantization:
    static = keys.text("activation_scheme") == "static"
    block = keys.integers("weight_block_size", minimum=1)
    if block is None:
        return CheckpointQuantization(quantization="fp8_per_tensor", static_activation_scales=static)
    if block != [128, 128]:
        keys.refuse(f"has weight_block_size {str(block)[:60]}, for which there is no rule yet")
    return CheckpointQuantization(quantization="fp8_block", group_size=128, static_activation_scales=static)


def _fbgemm(_keys: ConfigKeys) -> CheckpointQuantization:
    return CheckpointQuantization(quantization="fp8")


def _awq(keys: ConfigKeys) -> CheckpointQuantization:
    if keys.integer("bits", "w_bit", default=4) != 4:
        keys.refuse("is AWQ with other than 4 bits, for which there is no rule yet")
    return CheckpointQuantization(
        quantization="awq", group_size=keys.integer("group_size", "q_group_size", default=128)
    )


def _gptq(keys: ConfigKeys) -> CheckpointQuantization:
    bits = keys.integer("bits")
    if bits not in (4, 8):
        keys.refuse(f"is GPTQ with {bits} bits, for which there is no rule yet")
    group = keys.optional_integer("group_size", minimum=-1)
    quantization = "gptq" if bits == 4 else "gptq_int8"
    return CheckpointQuantization(quantization=quantization, group_size=None if group in (-1, None) else group)


def _mxfp4(_keys: ConfigKeys) -> CheckpointQuantization:
    return CheckpointQuantization(quantization="mxfp4", group_size=32, experts_only=True)


def _compressed_tensors(keys: ConfigKeys) -> CheckpointQuantization:
    groups = keys.child("config_groups")
    if groups is None or not groups.values:
        keys.refuse("has no config_groups, which say how its weights are stored")
    group = groups.child(next(iter(groups.values)))
    weights = group.child("weights") if group is not None else None
    if group is None or weights is None:
        keys.refuse("has a config_groups entry without weights")
    activations = group.child("input_activations")
    return _described(keys, weights, activations)


def _described(keys: ConfigKeys, weights: ConfigKeys, activations: ConfigKeys | None) -> CheckpointQuantization:
    """Name the format that `weights` and `activations` of one compressed-tensors group describe."""
    bits = weights.integer("num_bits")
    kind = weights.text("type") or "int"
    group_size = weights.optional_integer("group_size", minimum=-1)
    group = group_size if group_size is not None and group_size > 0 else None
    active = activations.integer("num_bits") if activations is not None else 16
    # NVFP4 recipes say "local": scales per token beside one stored scale per matrix.
    static = activations is not None and not activations.values.get("dynamic")
    if weights.text("strategy") == "block":
        return CheckpointQuantization(quantization="fp8_block", group_size=128)
    quantization = {
        ("float", 8, 8): "mxfp8" if group == 32 else "fp8",
        ("float", 8, 16): "fp8",
        ("float", 4, 4): "mxfp4" if group == 32 else "nvfp4",
        ("float", 4, 16): "mxfp4" if group == 32 else "nvfp4_w4a16",
        ("int", 8, 8): "int8",
        ("int", 8, 16): "int8_w8a16",
        ("int", 4, 16): "w4a16",
        ("int", 4, 8): "w4a8",
    }.get((kind, bits, active))
    if quantization is None:
        keys.refuse(
            f"stores {bits}-bit {kind[:20]} weights for {active}-bit activations, for which there is no rule yet"
        )
    if quantization == "fp8" and weights.text("strategy") == "tensor":
        quantization = "fp8_per_tensor"
    static_fp8 = static and quantization in ("fp8", "fp8_per_tensor")
    return CheckpointQuantization(quantization=quantization, group_size=group, static_activation_scales=static_fp8)


def _modelopt(keys: ConfigKeys) -> CheckpointQuantization:
    algorithm = (keys.text("quant_algo") or "").upper()
    if algorithm != "MIXED_PRECISION" and algorithm not in _ALGORITHMS:
        keys.refuse(f"has quant_algo '{algorithm[:40]}', for which there is no rule yet")
    quantization = _ALGORITHMS.get(algorithm) or _main_algorithm(keys)
    return CheckpointQuantization(
        quantization=quantization,
        group_size=_GROUP_SIZES.get(quantization),
        static_activation_scales=quantization == "fp8_per_tensor",
        kv_cache_dtype=_kv_cache_dtype(keys),
    )


_GROUP_SIZES = {"nvfp4": 16, "nvfp4_w4a16": 16, "mxfp8": 32, "fp8_block": 128}

_ALGORITHMS = {
    "FP8": "fp8_per_tensor",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8",
    "FP8_PB_WO": "fp8_block",
    "MXFP8": "mxfp8",
    "W4A16_NVFP4": "nvfp4_w4a16",
    "NVFP4": "nvfp4",
}

_METHODS = {
    "fp8": _fp8,
    "fbgemm-fp8": _fbgemm,
    "awq": _awq,
    "awq-marlin": _awq,
    "auto-awq": _awq,
    "gptq": _gptq,
    "gptq-marlin": _gptq,
    "auto-gptq": _gptq,
    "mxfp4": _mxfp4,
    "compressed-tensors": _compressed_tensors,
    "modelopt": _modelopt,
    "modelopt-fp4": _modelopt,
    "modelopt-mixed": _modelopt,
    "modelopt-mxfp8": _modelopt,
}


def _kv_cache_dtype(keys: ConfigKeys) -> str | None:
    scheme = keys.values.get("kv_cache_scheme") or keys.values.get("kv_cache_quant_algo")
    if scheme is None:
        return None
    bits = scheme.get("num_bits") if isinstance(scheme, dict) else scheme
    return "fp8" if bits in (8, "FP8") else None


def _ignored(keys: ConfigKeys) -> list[str]:
    for key in ("ignore", "modules_to_not_convert", "exclude_modules", "ignored_layers"):
        found = keys.strings(key)
        if found:
            return found
    return []


def _quantized_layers(keys: ConfigKeys) -> dict[str, str]:
    """Module name -> format id of a mixed checkpoint; empty for a uniform one."""
    listed = keys.child("quantized_layers")
    if listed is None:
        return {}
    formats: dict[str, str] = {}
    for name, entry in listed.values.items():
        algorithm = str(entry.get("quant_algo") if isinstance(entry, dict) else None).upper()
        if algorithm not in _ALGORITHMS:
            keys.refuse(f"has quant_algo '{algorithm[:40]}' in quantized_layers, for which there is no rule yet")
        formats[name] = _ALGORITHMS[algorithm]
    return formats


def _main_algorithm(keys: ConfigKeys) -> str:
    """The narrowest listed format: it holds the experts or the MLPs, hence most weights."""
    formats = set(_quantized_layers(keys).values())
    if not formats:
        keys.refuse("has quant_algo MIXED_PRECISION without quantized_layers, which say what is stored how")
    return min(formats, key=list(_ALGORITHMS.values())[::-1].index)
