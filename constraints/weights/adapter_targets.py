"""Which modules `--lora-target-modules` leaves adapters on, by the names that vLLM gives its modules.

A module is kept where its name, or the name of one of the checkpoint's projections that it packs, is in the list:
naming `q_proj` alone allocates slots for the whole `qkv_proj`. Source: vLLM 0.33 `lora/utils.py:is_in_target_modules`,
`packed_modules_mapping` of the model files.
"""

from vllm_opt.constraints.weights.tensor import WeightTensor
from vllm_opt.constraints.weights.tensors import layer_tensors
from vllm_opt.profiles.nouns.model import DecoderLayer, ModelProfile

EMBEDDING, HEAD = "embed_tokens", "lm_head"
EXPERTS = "experts"
FUSED_CHECKPOINT = frozenset(("Phi3ForCausalLM",))
"""Classes whose checkpoint stores q, k, v and gate, up in one matrix, which takes one adapter."""
ROUTER_BY_THAT_NAME = frozenset(("GptOssForCausalLM", "JambaForCausalLM"))
"""Classes whose router is `router`; the others' is `gate`."""
OWN_NAMES = {
    "kv_a_proj": "kv_a_proj_with_mqa",
    "wkv_wgate": "fused_wkv_wgate",
}
PACKED = {
    "qkv_proj": ("q_proj", "k_proj", "v_proj"),
    "gate_up_proj": ("gate_proj", "up_proj"),
    "fused_qkv_a_proj": ("q_a_proj", "kv_a_proj_with_mqa"),
    "fused_wqa_wkv": ("wq_a", "wkv"),
    "fused_wkv_wgate": ("wkv", "wgate"),
    "in_proj_qkvz": ("in_proj_qkv", "in_proj_z"),
    "in_proj_ba": ("in_proj_b", "in_proj_a"),
}
"""Module -> the projections of the checkpoint that it packs."""
UNWRAPPED = frozenset((
    "A", "A_log", "D", "dt_bias", "sinks", "router_bias", "indexer.wk", "indexer.k_norm", "attn_sink", "tid2eid",
    "compressor.ape", "indexer.compressor.ape",
))  # fmt: skip


def wrapped_tensors(kind: DecoderLayer, model: ModelProfile, targets: tuple[str, ...]) -> list[WeightTensor]:
    """Return the tensors of a layer whose modules take adapters; no targets: every module that can."""
    tensors = layer_tensors(kind, model.hidden_size)
    return [
        tensor
        for tensor in tensors
        if tensor.role != "norm" and tensor.name not in UNWRAPPED and is_target(tensor_module(tensor, model), targets)
    ]


def tensor_module(tensor: WeightTensor, model: ModelProfile) -> tuple[str, ...]:
    """Return the names under which a tensor's module can be listed: its own, then those that it packs."""
    name = tensor.name.rsplit(".", 1)[-1]
    if tensor.role == "routed_experts":
        return (EXPERTS,)
    if name == "router":
        return (name if model.architecture in ROUTER_BY_THAT_NAME else "gate",)
    if name == "gate_up_proj" and len(tensor.rows) == 1:
        return ("up_proj",)
    name = OWN_NAMES.get(name, name)
    return (name, *(() if model.architecture in FUSED_CHECKPOINT else PACKED.get(name, ())))


def is_target(names: tuple[str, ...], targets: tuple[str, ...]) -> bool:
    """Whether a module of these names takes adapters. A name with dots counts as its last part, in every layer."""
    return not targets or not {target.rsplit(".", 1)[-1] for target in targets}.isdisjoint(names)


def module_names(model: ModelProfile) -> frozenset[str]:
    """Return every name that targets of the decoder layers, the embedding and the output head can have."""
    layers = (wrapped_tensors(kind, model, ()) for kind in model.layer_kinds)
    return frozenset((EMBEDDING, HEAD)).union(*(tensor_module(tensor, model) for layer in layers for tensor in layer))
