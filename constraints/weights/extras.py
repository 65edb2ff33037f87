"""What the weights occupy beyond the parameters of the checkpoint: rotary tables and matrices made after loading."""

from math import ceil

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.weights.compressed_tensors import FLOAT_BYTES
from vllm_opt.constraints.weights.storage import HALF_BYTES
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, CompressedAttention, DecoderLayer, LatentAttention, ModelProfile
from vllm_opt.profiles.nouns.quantization import Quantization

WITHOUT_ROTARY = frozenset(("JambaForCausalLM", "NemotronHForCausalLM"))
"""Classes whose attention has no rotary positions."""


def buffer_bytes(model: ModelProfile, quantization: Quantization, layout: Layout, gpu: GpuProfile) -> tuple[int, ...]:
    """Return bytes per pipeline stage, TP rank 0, of what vLLM 0.33 allocates beside its parameters.

    - rotary table, one per distinct shape on the stage: `max_model_len * rotary_position_factor * width * 2`
      (`layers/rotary_embedding/base.py`; the width is a head's: an upper bound where only a part is rotated);
    - MLA: 16-bit copies of W_UK and W_UV, per layer
      `ceil(heads / TP) * (qk_nope_head_dim + v_head_dim) * kv_lora_rank * 2`
      (`layers/attention/mla_attention.py:process_weights_after_loading`).

    Marlin workspaces (4 int32 per multiprocessor and matrix, under 1 MiB in all) are not counted. Padding of mxfp4
    experts is part of `weight_bytes` where vLLM creates it, and of `weight_extra_bytes` where loading adds it. The
    arguments `quantization` and `gpu` are part of the interface for formats whose kernels keep copies.
    """
    del quantization, gpu
    per_kind = [absorbed_bytes(kind, layout.tensor_parallel_size) for kind in model.layer_kinds]
    rotates = model.architecture not in WITHOUT_ROTARY
    shapes = [(*(rotary_shape(kind) if rotates else (0, 1.0)), _compresses(kind)) for kind in model.layer_kinds]
    totals = []
    for stage in stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size):
        kinds = model.layer_pattern[stage.start : stage.stop]
        distinct = {shapes[kind] for kind in kinds}
        tables = sum(width * ceil(model.max_model_len * factor) for width, factor, _ in distinct) * HALF_BYTES
        totals.append(tables + sum(per_kind[kind] for kind in kinds))
    return tuple(totals)


def _compresses(layer: DecoderLayer) -> bool:
    """Tell whether the layer's positions have a base frequency of their own (DeepSeek V4's compressed layers)."""
    return isinstance(layer.mixer, CompressedAttention) and layer.mixer.compress_ratio > 0


def absorbed_bytes(layer: DecoderLayer, tensor_parallel_size: int) -> int:
    """Return the bytes of the absorbed MLA matrices of one layer on one rank, 0 for any other mixer."""
    mixer = layer.mixer
    if not isinstance(mixer, LatentAttention):
        return 0
    heads = -(-mixer.num_attention_heads // tensor_parallel_size)
    return heads * (mixer.qk_nope_head_dim + mixer.v_head_dim) * mixer.kv_lora_rank * HALF_BYTES


def rotary_shape(layer: DecoderLayer) -> tuple[int, float]:
    """Return (16-bit elements of a row at most, table rows / max_model_len); no elements without attention.

    DeepSeek V4 keeps float32 tables.
    """
    if isinstance(layer.mixer, Attention):
        return layer.mixer.head_dim, layer.mixer.rotary_position_factor
    if isinstance(layer.mixer, LatentAttention):
        return layer.mixer.qk_rope_head_dim, 1.0
    if isinstance(layer.mixer, CompressedAttention):
        return FLOAT_BYTES // HALF_BYTES * layer.mixer.qk_rope_head_dim, 1.0
    return 0, 1.0
