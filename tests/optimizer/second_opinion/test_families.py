"""One model of every family of weights: all figures counted again agree, and what is not counted is named."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.solver.solve import solve

PADDING, LOADED = "the padding of mxfp4 experts", "what loading adds to mxfp4 experts"
CACHE = "the cache of states, chunks, encoders or indexers"


@pytest.mark.parametrize(
    ("model", "fields", "not_judged"),
    [
        ("deepseek-ai/DeepSeek-V2-Lite", {"gpu": "h100-sxm"}, ()),
        ("openai/gpt-oss-20b", {"gpu": "h100-sxm"}, (PADDING, LOADED)),
        ("openai/gpt-oss-20b", {"gpu": "a100-sxm4-80gb"}, (PADDING,)),
        ("allenai/OLMo-2-1124-7B", {"gpu": "l40s"}, ()),
        ("google/gemma-3-4b-it", {"gpu": "l40s"}, ()),
        ("google/gemma-3n-E4B", {"gpu": "l40s"}, ()),
        ("Qwen/Qwen3-30B-A3B", {"gpu": "b200", "quantization": ("bf16",)}, ()),
        ("Qwen/Qwen3-30B-A3B-FP8", {"gpu": "h200-sxm", "tensor_parallel_size": 8}, ()),
        ("zai-org/GLM-4.5-Air", {"gpu": "h100-sxm", "quantization": ("fp8", "native")}, ()),
        ("CohereLabs/c4ai-command-r-v01", {"gpu": "h100-sxm"}, ()),
        ("deepseek-ai/DeepSeek-V3.2", {"gpu": "b200"}, (CACHE,)),
        ("deepseek-ai/DeepSeek-R1", {"gpu": "h200-sxm"}, ()),
        ("moonshotai/Kimi-K2-Instruct", {"gpu": "b200"}, ()),
        ("MiniMaxAI/MiniMax-M2.7", {"gpu": "h200-sxm"}, ()),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", {"gpu": "h200-sxm"}, (CACHE,)),
        ("Qwen/Qwen2.5-VL-7B-Instruct", {"gpu": "l40s"}, ()),
        ("microsoft/phi-4", {"gpu": "l40s", "vllm_version": "0.6.6"}, ()),
        ("Qwen/Qwen3-8B", {"gpu": "l40s", "quantization": ("awq",)}, ()),
        ("Qwen/Qwen3-235B-A22B", {"gpu": "h200-sxm", "quantization": ("w4a16", "gptq", "awq")},
         ("group scales of experts that the group does not divide",)),
    ],
)  # fmt: skip
def test_every_family_is_counted_again(model: str, fields: dict[str, Any], not_judged: tuple[str, ...]) -> None:
    answer = solve(SolveRequest(model=model, second_opinion=True, explain=False, **fields))
    assert answer.status == "optimal"
    assert answer.second_opinion is not None
    assert answer.second_opinion.disagreements == ()
    first = answer.second_opinion.plans[0]
    assert first.not_judged == not_judged
    assert len(first.checks) >= 36
