"""Problems on which brute force, or the second opinion, once disagreed with an answer."""

from pathlib import Path
from typing import Any

from agreement import compared
from strategies import Problem, request_of

from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.second_opinion.opinion import opinion_of_answer
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.profiles.catalogues.catalog import Catalog

EXPERTS: dict[str, Any] = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 128, "num_hidden_layers": 3, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "torch_dtype": "bfloat16", "num_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 1536, "mlp_only_layers": [0],
}  # fmt: skip
DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "num_hidden_layers": 2, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": True, "torch_dtype": "float16",
}  # fmt: skip


def answered(folder: Path, config: dict[str, Any], gpu: dict[str, Any], **fields: Any) -> tuple[Any, Answer]:
    """A request about one SKU, and its answer."""
    asked = {"gpu": (gpu["id"],), "default_limits": False, "max_gpus": 1, "min_quality": 0.5, **fields}
    request = request_of(Problem(config, (gpu,), ((gpu["id"], 1.3),), asked), folder)
    return request, solve(request)


def test_the_batch_that_the_pool_runs_whole_is_tried_where_the_load_is_free(tmp_path: Path) -> None:
    """Of the most that is admitted (4,087) the pool runs half at the full context; of 4,008 it runs all."""
    gpu = {"id": "card", "base": "a10", "memory_bytes": 40 << 30, "memory_bandwidth_bytes_per_s": 4e11}
    config = EXPERTS | {"hidden_size": 4096, "intermediate_size": 8192, "vocab_size": 128256}
    request, answer = answered(
        tmp_path, config, gpu, concurrency="max", objective=("concurrency",), target_context=17, mean_context=2,
        quantization=("fp8",), max_num_batched_tokens=8192, vllm_version="0.8.5", engine="v1", confidence=0.5,
        max_gpu_memory_utilization=0.51,
    )  # fmt: skip
    assert compared(request, answer) is not None
    assert answer.plan is not None
    assert answer.objectives[0].value == answer.plan.flags["max-num-seqs"]


def test_the_second_opinion_knows_which_releases_cache_prefixes(tmp_path: Path) -> None:
    gpu = {"id": "card", "base": "mi300x", "memory_bytes": 11 << 30, "gpus_per_node": 8}
    request, answer = answered(
        tmp_path, DENSE, gpu, concurrency=2, objective=("concurrency",), target_context=17, prefix_hit_share=0.9,
        max_num_batched_tokens=8192, vllm_version="0.6.6", max_gpu_memory_utilization=0.51,
    )  # fmt: skip
    opinion = opinion_of_answer(answer, Catalog(gpu_file=request.gpu_file, prices_file=request.prices))
    assert opinion.agrees, opinion.disagreements


def test_the_second_opinion_knows_which_checkpoints_keep_their_router(tmp_path: Path) -> None:
    gpu = {"id": "card", "base": "l40s", "memory_bytes": 4 << 30}
    config = EXPERTS | {"quantization_config": {"quant_method": "modelopt", "quant_algo": "FP8"}}
    request, answer = answered(
        tmp_path, config, gpu, concurrency=2, objective=("throughput",), target_context=512, quantization=("native",),
        max_num_batched_tokens=2048, max_gpu_memory_utilization=0.51,
    )  # fmt: skip
    opinion = opinion_of_answer(answer, Catalog(gpu_file=request.gpu_file, prices_file=request.prices))
    assert opinion.agrees, opinion.disagreements
