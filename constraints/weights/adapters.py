"""LoRA adapters: what `--enable-lora` allocates on every rank at start-up, whether or not an adapter uses it.

    bytes = 2 * max_loras * sum over the wrapped modules of (A + B), with r = max_lora_rank:
    column parallel, n slices, input K    A = n * rA * K         B = rows of the rank * r          rA = r, or r / TP
    row parallel, input K / TP, output N  A = r * K / TP         B = N * r, or N / TP * r
    replicated                            A = r * K              B = N * r
    embedding, output head                vocabulary * r + H * r, whole on every rank
    experts of a rank, gated              E * (2 rA H + r I + 2 I r + H r), or H / TP * r
    experts stored in three dimensions    E * (rA H + r I + 2 I r + H r), or H / TP * r            (gpt-oss)
    `--enable-moe-shared-loras`           2 rA H + E * (r I + 2 I r) + H r, or H / TP * r

where rA and the second forms hold with `--fully-sharded-loras`. `--enable-mixed-moe-lora-format` stores every model's
experts in the two-dimensional form, and so does the shared one, whose three names only that form takes. Source: vLLM
0.33 `lora/layers/*:create_lora_weights`, `lora/utils.py:process_packed_modules_mapping`; which classes wrap their
embedding: `embedding_modules` of the model files. Equal to what vLLM allocates, to the byte.
"""

from collections import Counter

from vllm_opt.constraints.decisions.configuration import Adapters, Layout
from vllm_opt.constraints.decisions.pipeline_stages import stage_layers
from vllm_opt.constraints.weights.adapter_targets import EMBEDDING, FUSED_CHECKPOINT, HEAD, is_target, wrapped_tensors
from vllm_opt.constraints.weights.tensor import WeightTensor
from vllm_opt.profiles.nouns.model import DecoderLayer, Experts, ModelProfile

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What --max-lora-rank offers (`config/lora.py:MaxLoRARanks`, 0.33)."""
HALF_BYTES = 2
MAPPING_ENTRY_BYTES = 8
"""One int64 per vocabulary entry where a sharded output head is wrapped (`logits_processor.py`)."""
PUNICA_BYTES_PER_TOKEN = 36
"""Index buffers of the kernels, per batched token (`lora/punica_wrapper/`)."""
MXFP4_WIDTHS = (256, 128)
"""What Marlin pads hidden and inner width of mxfp4 experts to, and with them their adapters."""

WRAPS_EMBEDDING = frozenset((
    "ApertusForCausalLM", "CohereForCausalLM", "DeciLMForCausalLM", "Exaone4ForCausalLM", "ExaoneForCausalLM",
    "FalconH1ForCausalLM", "GraniteForCausalLM", "GraniteMoeForCausalLM", "GraniteMoeHybridForCausalLM",
    "HunYuanMoEV1ForCausalLM", "JambaForCausalLM", "Lfm2ForCausalLM", "Lfm2MoeForCausalLM", "LlamaForCausalLM",
    "MiniCPMForCausalLM", "MixtralForCausalLM", "NemotronForCausalLM", "NemotronHForCausalLM", "Olmo2ForCausalLM",
    "Olmo3ForCausalLM", "Phi3ForCausalLM", "PhiMoEForCausalLM", "Qwen3ForCausalLM", "Qwen3MoeForCausalLM",
    "Qwen3_5MoeForCausalLM", "SeedOssForCausalLM", "SmolLM3ForCausalLM", "SolarForCausalLM", "Starcoder2ForCausalLM",
))  # fmt: skip
WRAPS_EMBEDDING_ONLY = frozenset((
    "CohereForCausalLM", "HunYuanMoEV1ForCausalLM", "Olmo2ForCausalLM", "Olmo3ForCausalLM", "SeedOssForCausalLM",
    "SmolLM3ForCausalLM", "Starcoder2ForCausalLM",
))  # fmt: skip
ONE_SLICE = frozenset(("in_proj_qkvz", "in_proj_ba"))
"""Fused projections that take one adapter for all of their rows."""
THREE_DIMENSIONAL = frozenset((
    "Glm4MoeLiteForCausalLM", "GptOssForCausalLM", "InternS1ProForConditionalGeneration",
    "Qwen3VLMoeForConditionalGeneration", "Qwen3_5MoeForConditionalGeneration",
))  # fmt: skip
"""Classes whose checkpoint stores all experts in one tensor (`is_3d_moe_weight` of the model files)."""
TWO_SLICES = frozenset(("compressor.wkv_wgate", "indexer.compressor.wkv_wgate"))
"""Fused projections of which each half takes an adapter, though they are one tensor here."""


def adapter_bytes(model: ModelProfile, layout: Layout, *, mxfp4: bool = False) -> tuple[int, ...]:
    """Return the bytes of all adapter slots on TP rank 0 of each pipeline stage; zeros without adapters.

    `mxfp4`: the experts are stored so, and their adapters padded with them.
    """
    stages = stage_layers(model.num_hidden_layers, layout.pipeline_parallel_size)
    adapters = layout.adapters
    if adapters is None:
        return (0,) * len(stages)
    kinds = [
        sum(
            _module_elements(tensor, kind, model, layout, adapters, mxfp4)
            for tensor in wrapped_tensors(kind, model, adapters.lora_target_modules)
        )
        for kind in model.layer_kinds
    ]
    unit = HALF_BYTES * adapters.max_loras
    totals = []
    for number, stage in enumerate(stages):
        counts = Counter(model.layer_pattern[stage.start : stage.stop])
        elements = sum(kinds[kind] * count for kind, count in counts.items())
        ends = _end_elements(model, adapters, first=number == 0, last=number == len(stages) - 1)
        totals.append(unit * (elements + ends))
    return tuple(totals)


def adapter_buffer_bytes(model: ModelProfile, layout: Layout, max_num_batched_tokens: int) -> int:
    """Return what the kernels keep beside the slots: index buffers, and the map of a sharded vocabulary."""
    if layout.adapters is None:
        return 0
    sharded = layout.tensor_parallel_size > 1 and _wraps_listed_head(model, layout.adapters)
    mapping = MAPPING_ENTRY_BYTES * -(-model.vocab_size // 64) * 64 if sharded else 0
    return mapping + PUNICA_BYTES_PER_TOKEN * max_num_batched_tokens


def adapter_host_bytes(model: ModelProfile, adapters: Adapters) -> int:
    """Return the host memory of one worker: `max_cpu_loras` adapters, each whole, pinned."""
    one = adapters.model_copy(update={"max_loras": 1, "max_cpu_loras": 1, "fully_sharded_loras": False})
    alone = Layout(gpu="host", adapters=one)
    return adapters.max_cpu_loras * sum(adapter_bytes(model, alone))


def _module_elements(
    tensor: WeightTensor, kind: DecoderLayer, model: ModelProfile, layout: Layout, adapters: Adapters, mxfp4: bool
) -> int:
    """Elements of A and B of one module on one rank, for one adapter."""
    if tensor.role == "routed_experts":
        # Both matrices of the experts are counted with the first.
        if tensor.name != "experts.w13" or not isinstance(kind.feed_forward, Experts):
            return 0
        return _expert_elements(kind.feed_forward, model, layout, adapters, mxfp4)
    ranks, rank = layout.tensor_parallel_size, adapters.max_lora_rank
    sharded = adapters.fully_sharded_loras
    if tensor.columns_sharded:
        rows = sum(group.size for group in tensor.rows)
        return rank * -(-tensor.columns // ranks) + (-(-rows // ranks) if sharded else rows) * rank
    mine = sum(group.on_rank(ranks) for group in tensor.rows)
    replicated = all(group.pieces == 1 for group in tensor.rows)
    inner = rank // ranks if sharded and not replicated else rank
    return _slices(tensor, kind, model) * inner * tensor.columns + mine * rank


def _slices(tensor: WeightTensor, kind: DecoderLayer, model: ModelProfile) -> int:
    """How many adapters a fused projection takes side by side."""
    if model.architecture in FUSED_CHECKPOINT or tensor.name in ONE_SLICE:
        return 1
    if tensor.name in TWO_SLICES:
        return 2
    # Only Mamba 2 tells the slices of its input projection and convolution apart.
    if tensor.name in ("in_proj", "conv1d") and getattr(kind.mixer, "kind", "") != "mamba2":
        return 1
    return len(tensor.rows)


def _expert_elements(experts: Experts, model: ModelProfile, layout: Layout, adapters: Adapters, mxfp4: bool) -> int:
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    rank, sharded = adapters.max_lora_rank, adapters.fully_sharded_loras
    count = -(-experts.num_experts // ranks) if layout.expert_parallel else experts.num_experts
    width = experts.latent_size or model.hidden_size
    inner = -(-experts.moe_intermediate_size // (1 if layout.expert_parallel else ranks))
    if mxfp4:
        width, inner = (-(-size // step) * step for size, step in zip((width, inner), MXFP4_WIDTHS, strict=True))
    gates = 2 if experts.gated else 1
    first = rank // layout.tensor_parallel_size if sharded else rank
    last = width // layout.tensor_parallel_size if sharded else width
    inside = count * (rank * inner + gates * inner * rank)
    if adapters.enable_moe_shared_loras:
        return gates * first * width + inside + last * rank
    whole = model.architecture in THREE_DIMENSIONAL and not adapters.enable_mixed_moe_lora_format
    return inside + count * ((1 if whole else gates) * first * width + last * rank)


def _wraps_head(model: ModelProfile) -> bool:
    return model.architecture in WRAPS_EMBEDDING - WRAPS_EMBEDDING_ONLY


def _wraps_listed_head(model: ModelProfile, adapters: Adapters) -> bool:
    return _wraps_head(model) and is_target((HEAD,), adapters.lora_target_modules)


def _end_elements(model: ModelProfile, adapters: Adapters, *, first: bool, last: bool) -> int:
    each = (model.vocab_size + model.hidden_size) * adapters.max_lora_rank
    listed = is_target((EMBEDDING,), adapters.lora_target_modules)
    embedding = first and listed and model.architecture in WRAPS_EMBEDDING
    return each * (int(embedding) + int(last and _wraps_listed_head(model, adapters)))
