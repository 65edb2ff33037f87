"""Sizes that must divide by the parallel sizes, each tried feasible and infeasible."""

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.layouts.divisibility import violations
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.model import CheckpointQuantization, ModelProfile

CATALOG = Catalog()
ENGINE, _ = CATALOG.engine("0.33")
H100 = CATALOG.gpu("h100-sxm")


def _messages(name: str, quantization: str = "bf16", *, published: bool = False, **layout: object) -> list[str]:
    model = CATALOG.model(name)
    if not published:
        model = _unquantized(model, quantization)
    asked = Layout(gpu=H100.id, quantization=quantization, **layout)  # type: ignore[arg-type]
    found = violations(model, CATALOG.quantization(quantization), asked, ENGINE, H100)
    assert all(violation.rule == "divisibility" for violation in found)
    return [violation.message for violation in found]


def _unquantized(model: ModelProfile, quantization: str) -> ModelProfile:
    native = None if quantization == "bf16" else CheckpointQuantization(quantization=quantization)
    return model.model_copy(update={"native_quantization": native})


@pytest.mark.parametrize(
    ("name", "ranks"),
    [
        ("meta-llama/Llama-3.1-8B-Instruct", 8),
        ("microsoft/phi-4", 2),
        ("Qwen/Qwen2.5-7B-Instruct", 4),
        ("deepseek-ai/DeepSeek-V2-Lite", 8),
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", 8),
        ("ai21labs/Jamba-v0.1", 8),
    ],
)
def test_divides(name: str, ranks: int) -> None:
    assert _messages(name, tensor_parallel_size=ranks) == []


def test_replicated_kv_heads_divide_on_two_nodes() -> None:
    assert _messages("meta-llama/Llama-3.1-8B-Instruct", tensor_parallel_size=16, nodes=2) == []


def test_heads() -> None:
    assert "Total number of attention heads (32) must be divisible by tensor parallel size (3)." in _messages(
        "meta-llama/Llama-3.1-8B-Instruct", tensor_parallel_size=3
    )


def test_kv_heads() -> None:
    assert "10 KV heads are not divisible by tensor parallel size 4." in _messages(
        "microsoft/phi-4", tensor_parallel_size=4
    )
    assert _messages("Qwen/Qwen2.5-14B-Instruct", tensor_parallel_size=5) == [
        "8 KV heads are not divisible by tensor parallel size 5.",
        "152064 is not divisible by 5: the vocabulary of 152064 padded to 64.",
        "13824 is not divisible by 5: the outputs of mlp.gate_up_proj.",
        "13824 is not divisible by 5: the inputs of mlp.down_proj.",
    ]


def test_experts_divide_their_width_unless_dealt_out_whole() -> None:
    name = "Qwen/Qwen3-30B-A3B"
    assert _messages(name, tensor_parallel_size=4) == []
    divided = _messages(name, tensor_parallel_size=1, data_parallel_size=5)
    assert "768 is not divisible by 5: the inputs of experts.w2." in divided
    assert _messages(name, tensor_parallel_size=1, data_parallel_size=5, expert_parallel=True) == []


def test_expert_parallel_needs_experts() -> None:
    assert _messages("meta-llama/Llama-3.1-8B-Instruct", expert_parallel=True) == [
        "Number of experts in the model must be greater than 0 when expert parallelism is enabled."
    ]


def test_pipeline_stages_need_layers() -> None:
    assert _messages("Qwen/Qwen3-0.6B", pipeline_parallel_size=32, nodes=4) == [
        "32 pipeline stages need at least as many layers; the model has 28."
    ]


def test_state_groups() -> None:
    found = _messages("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", tensor_parallel_size=16, nodes=2)
    assert any("num_groups must equal 1: 8 groups and 16 ranks" in message for message in found)


@pytest.mark.parametrize(
    ("ranks", "context", "message"),
    [
        (8, 2, "Decode context parallelism for GQA/MQA requires `--tensor-parallel-size` (8)"),
        (16, 4, "`--decode-context-parallel-size` (4) exceeds the maximum supported value (2)"),
        (16, 3, "tp_size=16 must be divisible by dcp_size=3."),
    ],
)
def test_decode_context_parallel(ranks: int, context: int, message: str) -> None:
    found = _messages(
        "meta-llama/Llama-3.1-8B-Instruct", tensor_parallel_size=ranks, decode_context_parallel_size=context, nodes=2
    )
    assert len(found) == 1
    assert found[0].startswith(message)


def test_decode_context_parallel_accepted() -> None:
    name = "meta-llama/Llama-3.1-8B-Instruct"
    assert _messages(name, tensor_parallel_size=16, decode_context_parallel_size=2, nodes=2) == []
    assert _messages("deepseek-ai/DeepSeek-V2-Lite", tensor_parallel_size=4, decode_context_parallel_size=4) == []


def test_sliding_windows_refuse_context_parallel() -> None:
    model = "google/gemma-3-1b-it"
    found = _messages(model, tensor_parallel_size=4, decode_context_parallel_size=2)
    assert found == ["DCP not support sliding window."]


def test_gpt_oss_does_not_replicate_kv_heads() -> None:
    assert _messages("openai/gpt-oss-20b", tensor_parallel_size=8) == []
    (message,) = _messages("openai/gpt-oss-20b", tensor_parallel_size=16, nodes=2)
    assert "leaves ranks without one of the 8 KV heads" in message


def test_node() -> None:
    assert _messages("meta-llama/Llama-3.1-8B-Instruct", tensor_parallel_size=4, pipeline_parallel_size=4) == [
        "World size (16) is larger than the number of available GPUs (8) on 1 node of 8; span more nodes with --nnodes."
    ]


def test_awq_groups() -> None:
    assert _messages("Qwen/Qwen2.5-72B", "awq") == []
    found = _messages("Qwen/Qwen2.5-72B", "awq", tensor_parallel_size=8)
    assert found == [
        "The input size is not aligned with the quantized weight shape. This can be caused by too large tensor "
        "parallel size. (mlp.down_proj: 3696 inputs per rank, groups of 128)"
    ]


def test_gptq_groups() -> None:
    found = _messages("Qwen/Qwen2.5-72B", "gptq", tensor_parallel_size=8)
    assert found == [
        "Failed to find a kernel that can implement the WNA16 linear layer. "
        "(mlp.down_proj: 3696 inputs per rank, groups of 128)"
    ]


def test_expert_groups_shrink_for_awq_but_not_for_compressed_tensors() -> None:
    assert _messages("Qwen/Qwen3-30B-A3B", "awq", tensor_parallel_size=4) == []
    found = _messages("Qwen/Qwen3-30B-A3B", "w4a16", tensor_parallel_size=4)
    assert len(found) == 1
    assert "per tensor-parallel partition (192) to be divisible by group_size (128)" in found[0]
    assert _messages("Qwen/Qwen3-30B-A3B", "w4a16", tensor_parallel_size=4, expert_parallel=True) == []


def test_fp8_blocks() -> None:
    assert _messages("meta-llama/Llama-3.1-8B-Instruct", "fp8_block", tensor_parallel_size=8) == []
    found = _messages("Qwen/Qwen2.5-0.5B-Instruct", "fp8_block", tensor_parallel_size=2)
    assert found == [
        "Weight input_size_per_partition = 448 is not divisible by weight quantization block_k = 128. (o_proj)"
    ]


def test_published_mixture_is_judged_part_by_part() -> None:
    assert _messages("openai/gpt-oss-20b", "mxfp4", published=True, tensor_parallel_size=8) == []
