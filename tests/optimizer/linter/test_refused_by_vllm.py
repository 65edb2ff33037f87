"""Commands that vLLM 0.33 itself refuses at its start, each with a part of what it says (reference rows by id)."""

import pytest

from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.subject.report import CommandReport
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
EXPERTS = "Qwen/Qwen3-30B-A3B"
V4 = "deepseek-ai/DeepSeek-V4-Flash --tensor-parallel-size 8"
OFFLOAD = '{"kv_connector":"OffloadingConnector","kv_role":"kv_both","kv_connector_extra_config":{"block_size":%d}}'
DRAFT = '{"method":"draft_model","model":"Qwen/Qwen2.5-0.5B-Instruct","num_speculative_tokens":4}'


def _run(arguments: str) -> CommandReport:
    return lint_command(f"vllm serve {arguments}", "h100-sxm", "0.33", catalog=CATALOG, optimum=False).commands[0]


@pytest.mark.parametrize(
    ("row", "arguments", "words"),
    [
        ("B-25", f"{LLAMA} --enable-lora --max-loras 4 --max-cpu-loras 2", "(2) must be >= max_loras (4)"),
        ("B-26", f"{LLAMA} --enable-lora --max-lora-rank 24", "1, 8, 16, 32, 64, 128, 256, 320, 512"),
        (
            "B-49",
            f"{EXPERTS} -tp 4 --enable-expert-parallel --enable-lora --fully-sharded-loras",
            "Fused MoE LoRA does not support enable_expert_parallel=True together with fully_sharded_loras=True",
        ),
        ("B-54", "MiniMaxAI/MiniMax-M3 -tp 8 --enable-lora", "LoRA is not supported for MiniMaxM3Sparse"),
        (
            "F-12",
            f"{EXPERTS} -dp 8 --enable-expert-parallel --eplb-config '{{\"num_redundant_experts\":8}}'",
            "num_redundant_experts is set to 8 but EPLB is not enabled",
        ),
        ("F-49", f"{LLAMA} --kv-transfer-config '{OFFLOAD % 40}'", "a multiple of the GPU KV cache block size (16"),
        ("F-49", f"{LLAMA} --kv-transfer-config '{OFFLOAD % 40}'", "Use 48 instead"),
        ("F-54", f"{LLAMA} --kv-transfer-config '{{\"kv_connector\":\"NixlConnector\"}}'", "kv_role"),
        ("F-60", f"{LLAMA} --max-model-len 32768 --long-prefill-token-threshold 40000", "max_model_len (32768)"),
        ("F-61", f"{LLAMA} --max-num-active-seqs 2000", "(2000) cannot be greater than max_num_seqs"),
        ("E-15", "BAAI/bge-base-en-v1.5 --runner generate", "generates no text"),
        ("C-14", f"Qwen/Qwen2.5-7B-Instruct --speculative-config '{DRAFT}'", "vocab_size=151936"),
        ("C-46", f'{LLAMA} --speculative-config \'{{"method":"mtp","num_speculative_tokens":1}}\'', "'mtp'"),
        ("A-114", f"{V4} --attention-config '{{\"indexer_kv_dtype\":\"mxfp4\"}}'", "requires Blackwell datacenter"),
        (
            "D-27",
            "Qwen/Qwen2.5-VL-7B-Instruct --max-model-len 32768 --limit-mm-per-prompt '{\"image\":1,\"video\":0}' "
            "--max-num-batched-tokens 8192 --disable-chunked-mm-input",
            "max_tokens_per_mm_item (16384) is larger than max_num_batched_tokens (8192)",
        ),
    ],
)  # fmt: skip
def test_what_vllm_refuses_is_an_error(row: str, arguments: str, words: str) -> None:
    report = _run(arguments)
    assert any(words in finding.message for finding in report.findings if finding.level == "error"), row


def test_a_chunk_of_whole_blocks_and_an_image_that_fits_start() -> None:
    assert not any(each.level == "error" for each in _run(f"{LLAMA} --kv-transfer-config '{OFFLOAD % 48}'").findings)
    image = 'Qwen/Qwen2.5-VL-7B-Instruct --max-model-len 32768 --limit-mm-per-prompt \'{"image":1,"video":0}\''
    report = _run(f"{image} --max-num-batched-tokens 16384 --disable-chunked-mm-input")
    assert not any(finding.level == "error" for finding in report.findings)


def test_limits_of_the_queue_take_no_memory() -> None:
    """Row F-62: they act in the API server, and the plan of the cache is that without them."""
    plain, limited = _run(LLAMA), _run(f"{LLAMA} --max-num-queued-reqs 100 --max-num-queued-tokens 100000")
    assert plain.memory is not None
    assert plain.memory == limited.memory
    assert {finding.level for finding in limited.findings} <= {finding.level for finding in plain.findings}


@pytest.mark.parametrize("config", ["[]", '"x"', '{"indexer_kv_dtype": 4}', '{"backend": null}', '{"backend": []}'])
def test_attention_configs_of_any_kind_are_read_without_a_fault(config: str) -> None:
    assert _run(f"{V4} --attention-config '{config}'").memory is not None


@pytest.mark.parametrize("size", ['"many"', "-3", "0", "1.5", "null", "true"])
def test_chunk_sizes_of_any_kind_are_read_without_a_fault(size: str) -> None:
    config = (OFFLOAD % 0).replace(":0}", f":{size}}}")
    assert _run(f"{LLAMA} --kv-transfer-config '{config}'").memory is not None
