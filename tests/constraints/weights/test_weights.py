"""Weight bytes by hand: small models whose every number can be added up on paper."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.breakdown import active_parameter_count, parameter_count, weight_breakdown
from vllm_opt.constraints.weights.extras import buffer_bytes
from vllm_opt.constraints.weights.parameter_bytes import WeightTable, weight_bytes, weight_extra_bytes
from vllm_opt.constraints.weights.storage import UNQUANTIZED, StorageFormat, expert_bytes, linear_bytes
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.model import (
    Attention,
    CheckpointQuantization,
    DecoderLayer,
    DenseMlp,
    Experts,
    LatentAttention,
    ModelProfile,
    PartFormat,
    StateSpace,
    VisionTower,
)

CATALOG = Catalog()
BF16 = CATALOG.quantization("bf16")


def layout(**fields: object) -> Layout:
    return Layout.model_validate({"gpu": "h100-sxm"} | fields)


def model(*layers: DecoderLayer, **fields: object) -> ModelProfile:
    kinds = tuple(dict.fromkeys(layers))
    common: dict[str, object] = {
        "id": "test/model",
        "model_type": "llama",
        "architecture": "LlamaForCausalLM",
        "hidden_size": 8,
        "vocab_size": 65,
        "max_model_len": 16,
        "layer_kinds": kinds,
        "layer_pattern": tuple(kinds.index(layer) for layer in layers),
        "final_norm_parameters": 8,
    }
    return ModelProfile.model_validate(common | fields)


ATTENTION = Attention(num_attention_heads=4, num_key_value_heads=2, head_dim=2, v_head_dim=2)
DENSE = DecoderLayer(mixer=ATTENTION, feed_forward=DenseMlp(intermediate_size=16), norm_parameters=16)
EMBEDDING = 128 * 8 * 2  # 65 rows are padded to 128

# qkv (4 + 2*2) * 2 * 8 = 128, o 8 * 8 = 64, gate and up 2 * 16 * 8 = 256, down 8 * 16 = 128, norms 16
LAYER = 2 * (128 + 64 + 256 + 128 + 16)


def test_a_dense_model_is_layers_embedding_head_and_norm() -> None:
    assert weight_bytes(model(DENSE, DENSE), BF16, layout()) == (2 * LAYER + 2 * EMBEDDING + 16,)


def test_tensor_parallelism_divides_matrices_and_keeps_norms() -> None:
    layer = 2 * (64 + 32 + 128 + 64 + 16)
    assert weight_bytes(model(DENSE), BF16, layout(tensor_parallel_size=2)) == (layer + EMBEDDING + 16,)


def test_key_value_heads_are_replicated_beyond_their_number() -> None:
    # four ranks: one query head, one key and one value head each: (1 + 2) * 2 * 8 = 48; o 16; gate and up 64; down 32
    layer = 2 * (48 + 16 + 64 + 32 + 16)
    assert weight_bytes(model(DENSE), BF16, layout(tensor_parallel_size=4)) == (layer + EMBEDDING // 2 + 16,)


def test_pipeline_stages_hold_their_layers_and_ends() -> None:
    stages = weight_bytes(model(*[DENSE] * 5), BF16, layout(pipeline_parallel_size=3))
    assert stages == (2 * LAYER + EMBEDDING, 2 * LAYER, LAYER + EMBEDDING + 16)


def test_a_tied_embedding_is_one_tensor_on_one_stage_and_two_on_two() -> None:
    tied = model(DENSE, DENSE, tie_word_embeddings=True)
    assert weight_bytes(tied, BF16, layout()) == (2 * LAYER + EMBEDDING + 16,)
    assert weight_bytes(tied, BF16, layout(pipeline_parallel_size=2)) == (LAYER + EMBEDDING, LAYER + EMBEDDING + 16)


def test_classes_that_build_every_end_on_every_stage_pay_for_it() -> None:
    mixtral = model(DENSE, DENSE, architecture="MixtralForCausalLM")
    assert weight_bytes(mixtral, BF16, layout(pipeline_parallel_size=2)) == (LAYER + 2 * EMBEDDING + 16,) * 2


def test_biases_follow_the_rows_and_row_parallel_biases_are_whole() -> None:
    biased = DENSE.model_copy(
        update={"mixer": ATTENTION.model_copy(update={"qkv_bias": True, "output_bias": True, "sinks": True})}
    )
    # per rank of two: qkv bias 8, output bias 8 (whole), sinks 2
    plain = weight_bytes(model(DENSE), BF16, layout(tensor_parallel_size=2))[0]
    assert weight_bytes(model(biased), BF16, layout(tensor_parallel_size=2))[0] - plain == 2 * (8 + 8 + 2)


EXPERTS = Experts(
    num_experts=6,
    num_experts_per_tok=2,
    moe_intermediate_size=8,
    shared_expert_intermediate_size=4,
    router_bias=True,
    shared_expert_gate=True,
)
SPARSE = DecoderLayer(feed_forward=EXPERTS)
# router 6 * 8, correction 6 in float32, shared 3 * 4 * 8, its gate 8, six experts of 3 * 8 * 8
ONE_EXPERT = 2 * 3 * 8 * 8
BESIDE_EXPERTS = 2 * (48 + 8) + 6 * 4


@pytest.mark.parametrize(
    ("fields", "experts", "shared"),
    [
        ({}, 6 * ONE_EXPERT, 2 * 96),
        ({"tensor_parallel_size": 2}, 6 * ONE_EXPERT // 2, 96),
        ({"tensor_parallel_size": 2, "expert_parallel": True}, 3 * ONE_EXPERT, 96),
        ({"tensor_parallel_size": 4, "expert_parallel": True}, 2 * ONE_EXPERT, 48),  # six over four: rank 0 holds two
        ({"tensor_parallel_size": 2, "data_parallel_size": 2}, 6 * ONE_EXPERT // 4, 96),
        ({"tensor_parallel_size": 1, "data_parallel_size": 2, "expert_parallel": True}, 3 * ONE_EXPERT, 2 * 96),
    ],
)
def test_experts_are_divided_by_all_ranks_and_shared_experts_by_tensor_ranks(
    fields: dict[str, object], experts: int, shared: int
) -> None:
    table = WeightTable(model(SPARSE), BF16)
    assert table.layer_bytes(0, layout(**fields)) == experts + shared + BESIDE_EXPERTS


LATENT = LatentAttention(
    num_attention_heads=4, q_lora_rank=6, kv_lora_rank=4, qk_nope_head_dim=3, qk_rope_head_dim=2, v_head_dim=3
)


def test_latent_attention_keeps_its_down_projections_whole() -> None:
    table = WeightTable(model(DecoderLayer(mixer=LATENT)), BF16)
    # down (6 + 4 + 2) * 8 = 96, norms 10; per head: q_b 5 * 6, kv_b 6 * 4, o 8 * 3
    assert table.layer_bytes(0, layout()) == 2 * (96 + 10 + 4 * (30 + 24 + 24))
    assert table.layer_bytes(0, layout(tensor_parallel_size=4)) == 2 * (96 + 10 + 30 + 24 + 24)


def test_absorbed_matrices_and_rotary_tables_are_extra() -> None:
    latent = model(DecoderLayer(mixer=LATENT), DecoderLayer(mixer=LATENT))
    gpu = CATALOG.gpu("h100-sxm")
    # per layer 2 heads * (3 + 3) * 4 * 2 bytes = 96; table 16 positions * 2 * 2 bytes
    assert weight_extra_bytes(latent, BF16, layout(tensor_parallel_size=2), gpu) == (2 * 96 + 64,)
    assert weight_extra_bytes(model(DENSE), BF16, layout(), gpu) == (16 * 2 * 2,)


def test_linearly_scaled_layers_have_a_longer_rotary_table_of_their_own() -> None:
    gpu = CATALOG.gpu("h100-sxm")
    gemma = CATALOG.model("google/gemma-3-4b-it")
    # 131072 positions x 256 elements x 2 bytes for sliding layers, and eight times as many for full ones
    assert weight_extra_bytes(gemma, BF16, layout(), gpu) == (9 * 64 * 2**20,)


def test_mamba2_replicates_its_only_group() -> None:
    mixer = StateSpace(kind="mamba2", num_heads=4, head_dim=2, state_size=3, num_groups=1, conv_kernel=4)
    table = WeightTable(model(DecoderLayer(mixer=mixer)), BF16)
    # in_proj (2*8 + 2*3 + 4) * 8, conv (8 + 6) * 4, A 4 in float32, D and dt bias 8, norm 8, out 8 * 8
    assert table.layer_bytes(0, layout()) == 2 * (208 + 56 + 8 + 8 + 64) + 16
    # half the heads, the whole group: (8 + 6 + 2) * 8, (4 + 6) * 4, 2 floats, 4, 4, 32
    assert table.layer_bytes(0, layout(tensor_parallel_size=2)) == 2 * (128 + 40 + 4 + 4 + 32) + 8


def test_vision_towers_stand_on_the_first_stage_partly_divided() -> None:
    vision = VisionTower(parameters=100, replicated_parameters=20)
    seen = model(DENSE, DENSE, vision=vision)
    assert weight_bytes(seen, BF16, layout(pipeline_parallel_size=2))[0] == LAYER + EMBEDDING + 200
    blind = weight_bytes(model(DENSE), BF16, layout(tensor_parallel_size=2))[0]
    one = model(DENSE, vision=vision)
    assert weight_bytes(one, BF16, layout(tensor_parallel_size=2))[0] - blind == 2 * (20 + 40)


PER_TENSOR = StorageFormat(8, "tensor", 4, 1, 0, "fp8")
BLOCK = StorageFormat(8, "block", 4, 128, 0, "fp8")
AWQ = StorageFormat(4, "group", 2, 128, 4, "awq")
GPTQ = StorageFormat(4, "group", 2, 128, 4, "gptq")
NVFP4 = StorageFormat(4, "group", 1, 16, 0, "modelopt")


@pytest.mark.parametrize(
    ("storage", "expected"),
    [
        (UNQUANTIZED, 2 * 384 * 256),
        (PER_TENSOR, 384 * 256 + 3 * 4),
        (PER_TENSOR._replace(static_input_scale=True), 384 * 256 + 3 * 8),
        (StorageFormat(8, "channel", 4, 1, 0, "compressed-tensors"), 384 * 256 + 384 * 4),
        (BLOCK, 384 * 256 + 3 * 2 * 4),
        (AWQ, 384 * 256 // 2 + 384 * 2 * 2 + 384 * 2 // 2),
        (StorageFormat(4, "group", 2, 128, 0, "compressed-tensors"), 384 * 256 // 2 + 384 * 2 * 2 + 16),
        (NVFP4, 384 * 256 // 2 + 384 * 16 + 3 * 8),
    ],
)
def test_a_quantised_linear_has_its_scales(storage: StorageFormat, expected: int) -> None:
    assert linear_bytes((256, 64, 64), 256, storage) == expected


def test_expert_scales_are_refined_where_the_inner_width_does_not_divide() -> None:
    # gate and up of 192 rows each over 256 columns: blocks of 64, int4 groups of 64, and no zero points for GPTQ
    assert expert_bytes((192, 192), 256, 192, BLOCK) == 384 * 256 + 6 * 4 * 4
    assert expert_bytes((192, 192), 256, 192, AWQ) == 384 * 128 + 384 * 4 * 2 + 384 * 4 // 2
    assert expert_bytes((192, 192), 256, 192, GPTQ) == 384 * 128 + 384 * 4 * 2
    assert expert_bytes((128, 128), 256, 128, GPTQ) == 256 * 128 + 256 * 2 * 2 + 256 * 2 // 2 + 256 * 2


def test_mxfp4_experts_are_padded_by_generation() -> None:
    gpt_oss = model(DecoderLayer(feed_forward=Experts(num_experts=1, num_experts_per_tok=1, moe_intermediate_size=96)),
                    hidden_size=288)  # fmt: skip
    mxfp4 = CATALOG.quantization("mxfp4")
    router = 2 * 288

    def experts(inner: int, hidden: int) -> int:
        return 3 * inner * hidden // 2 + 2 * inner * (hidden // 32) + hidden * (inner // 32)

    table = WeightTable(gpt_oss, mxfp4)
    assert table.layer_bytes(0, layout(gpu="h100-sxm")) == router + experts(128, 288)
    assert table.layer_bytes(0, layout(gpu="a100-sxm-80gb")) == router + experts(128, 512)
    on_b200 = CATALOG.gpu("b200")
    assert table.layer_bytes(0, layout(gpu="b200"), on_b200) == router + experts(128, 512)


def test_a_checkpoint_keeps_its_own_mixture() -> None:
    mixed = CheckpointQuantization(
        quantization="fp8_block",
        group_size=128,
        part_formats=(
            PartFormat(part="attention", quantization="bf16"),
            PartFormat(part="attention_output", quantization="bf16"),
            PartFormat(part="dense_mlp", quantization="bf16", layers=(1,)),
        ),
    )
    fp8 = CATALOG.quantization("fp8_block")
    own = WeightTable(model(DENSE, DENSE, native_quantization=mixed), fp8)
    # attention 16-bit with four 2-byte scales; gate and up one block, down one block, 4 bytes each
    first, second = 2 * (128 + 64 + 16) + 8 + 256 + 128 + 8, LAYER + 8
    assert [own.layer_bytes(own.pattern[i], layout()) for i in (0, 1)] == [first, second]
    hypothetical = WeightTable(model(DENSE, DENSE), fp8)
    assert hypothetical.layer_bytes(0, layout()) == 128 + 64 + 256 + 128 + 4 * 4 + 8 + 32


def test_a_mixture_without_storage_rule_is_refused_by_name() -> None:
    odd = CheckpointQuantization(
        quantization="fp8_block", part_formats=(PartFormat(part="attention", quantization="gguf"),)
    )
    with pytest.raises(InvalidRequest, match=r"test/model.*attention as 'gguf'"):
        WeightTable(model(DENSE, native_quantization=odd), CATALOG.quantization("fp8_block"))


def test_parameters_are_counted_without_padding() -> None:
    sparse = model(DENSE, SPARSE, tie_word_embeddings=True)
    layers = 128 + 64 + 256 + 128 + 16 + 48 + 6 + 96 + 8 + 6 * 192
    assert parameter_count(sparse) == layers + 65 * 8 + 8
    assert active_parameter_count(sparse) == parameter_count(sparse) - 4 * 192


def test_the_breakdown_adds_up_to_the_whole() -> None:
    mixture = model(DENSE, SPARSE)
    parts = weight_breakdown(mixture, BF16)
    sizes = [parts.attention, parts.dense_mlp, parts.shared_experts, parts.router, parts.routed_experts,
             parts.embedding, parts.lm_head, parts.norm, parts.vision]  # fmt: skip
    assert sum(size.bytes for size in sizes) == weight_bytes(mixture, BF16, layout())[0]
    assert sum(size.parameters for size in sizes) == parameter_count(mixture)
    assert parts.one_routed_expert.bytes * 6 == parts.routed_experts.bytes
    assert parts.num_expert_layers == 1


@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.integers(1, 4),
    quantization=st.sampled_from(["bf16", "fp8", "fp8_block", "awq", "nvfp4", "int8", "w4a16"]),
)
def test_more_ranks_never_hold_more_and_together_hold_at_least_the_whole(
    tensor: int, pipeline: int, quantization: str
) -> None:
    dense = model(*[DENSE] * 4)
    kept = CATALOG.quantization(quantization)
    whole = weight_bytes(dense, kept, layout())[0]
    stages = weight_bytes(dense, kept, layout(tensor_parallel_size=tensor, pipeline_parallel_size=pipeline))
    assert len(stages) == pipeline
    assert max(stages) <= whole
    assert sum(stages) * tensor >= whole


@pytest.mark.parametrize("name", ["Qwen/Qwen3.8-27B-FP8", "Qwen/Qwen3.6-27B-FP8", "Qwen/Qwen3.6-35B-A3B-FP8"])
def test_a_published_size_holds_the_module_that_predicts_ahead_and_a_server_without_drafts_does_not(name: str) -> None:
    """Count and module are the published size; what is loaded is the count, as vLLM prints it for two ranks."""
    served = CATALOG.model(name)
    native = served.native_quantization
    assert native is not None
    assert native.stored_bytes is not None
    kept = CATALOG.quantization(native.quantization)
    (loaded,) = weight_bytes(served, kept, layout())
    assert 0.4 * 2**30 < native.stored_bytes - loaded < 0.9 * 2**30
    counted = served.model_copy(update={"native_quantization": native.model_copy(update={"stored_bytes": None})})
    (plain,) = weight_bytes(counted, kept, layout())
    assert plain <= loaded < 1.003 * plain


def test_the_print_of_two_ranks_and_sizes_that_do_not_tell() -> None:
    """14.28 GiB per GPU (vllm-project/recipes pull 810), tables included; other formats keep their published size."""
    served = CATALOG.model("Qwen/Qwen3.8-27B-FP8")
    ranks = layout(tensor_parallel_size=2, quantization="fp8_block")
    kept = CATALOG.quantization("fp8_block")
    (loaded,), (tables,) = weight_bytes(served, kept, ranks), buffer_bytes(served, kept, ranks, CATALOG.gpu("rtx-5090"))
    assert round((loaded + tables) / 2**30, 2) == 14.28
    other = CATALOG.model("Inferact/Qwen3.8-27B-NVFP4")
    assert weight_bytes(other, CATALOG.quantization("nvfp4"), layout())[0] == 26_381_249_312
