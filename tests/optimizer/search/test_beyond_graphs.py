"""Eager mode for the most sequences: its smallest batch beyond those of CUDA graphs is looked at."""

from pathlib import Path

from agreement import agree
from strategies import Problem, request_of

CONFIG = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "hidden_size": 1024, "intermediate_size": 4096,
    "num_attention_heads": 8, "num_key_value_heads": 4, "head_dim": 64, "num_hidden_layers": 12, "vocab_size": 32000,
    "max_position_embeddings": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16", "num_experts": 8,
    "num_experts_per_tok": 2, "moe_intermediate_size": 768, "mlp_only_layers": [0],
}  # fmt: skip


def test_the_most_sequences_may_need_a_batch_just_beyond_the_graphs(tmp_path: Path) -> None:
    """226 sequences of 1,000 tokens with the largest batch, 233 with the smallest that CUDA graphs do not hold."""
    problem = Problem(
        config=CONFIG,
        gpus=({"id": "synthetic-0", "base": "a100-sxm4-40gb", "memory_bytes": 4303387657, "gpus_per_node": 1},),
        prices=(),
        fields={
            "gpu": ("synthetic-0",), "concurrency": 12, "tolerance": 0.0, "default_limits": False,
            "max_gpu_memory_utilization": 0.505, "quantization": ("fp8",), "min_quality": 0.5, "explain": False,
            "kv_cache_dtype": "fp8", "objective": ("concurrency",), "confidence": 0.8, "target_context": 1000,
            "mean_context": 550, "input_tokens": 2, "output_tokens": 424, "gpus": 1, "kv_sizing": "typical",
            "max_num_batched_tokens": 512,
        },
        machines=({"gpu": "synthetic-0", "instance_type": "m0", "gpus": 1, "provider": "P", "usd_per_hour": 1.0},),
    )  # fmt: skip
    best = agree(request_of(problem, tmp_path))
    assert best is not None
    assert best.optima["concurrency"] == -233
    assert all(point.layout.enforce_eager for point in best.points)
