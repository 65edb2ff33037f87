"""Every rule twice: its `check` on a Deployment and its linear form in a CP-SAT model; far off, on and past the edge.

The model is Llama 3.1 8B on one H100 under vLLM 0.33. The fitted terms are replaced by round numbers, so that every
edge is computed by hand and a new fit moves none of them.
"""

import math
from dataclasses import replace

import pytest
from ortools.sat.python import cp_model

from vllm_opt.constraints.activations import ActivationPeak
from vllm_opt.constraints.configuration import EngineFlags, Layout
from vllm_opt.constraints.decision_space import Mode, SequencePoint
from vllm_opt.constraints.deployment import Deployment, PerformanceBound
from vllm_opt.constraints.memory_ledger import MemoryTerms, memory_terms
from vllm_opt.constraints.overheads import FittedBytes
from vllm_opt.constraints.rules import RULE_NAMES, RULES, violations
from vllm_opt.optimizer import model as model_module
from vllm_opt.optimizer.model import build_model
from vllm_opt.profiles.catalog import Catalog
from vllm_opt.profiles.workload import Targets

CATALOG = Catalog()
MODEL, H100 = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.gpu("h100")
BF16, RELEASE = CATALOG.quantization("bf16"), CATALOG.engine("0.33.0")[0]
LAYOUT = Layout(gpu=H100.id)
PHYSICS = memory_terms(MODEL, BF16, LAYOUT, RELEASE, H100)

LIMIT = 131_072
BLOCK = 2 * 32 * 8 * 128 * 2 * 16
WEIGHTS, ROPE_TABLE = 8_030_261_248 * 2, LIMIT * 128 * 2
PER_TOKEN, NON_TORCH, CUDA_CONTEXT = 100_000, 250_000_000, 500_000_000
OUTSIDE = WEIGHTS + ROPE_TABLE + PER_TOKEN * 2048 + NON_TORCH
"""In the budget besides the KV cache, with 2,048 tokens per step and no CUDA graphs."""


def terms_of(budget: int, context: int = CUDA_CONTEXT, layout: Layout = LAYOUT) -> MemoryTerms:
    """A GPU half of which is `budget` bytes."""
    return replace(
        PHYSICS, layout=layout, total_bytes=2 * budget, graphs=None, non_torch=FittedBytes(NON_TORCH, 0),
        activation=ActivationPeak((0,), (PER_TOKEN,), (0,), (0,), (0,), 0.0), context=FittedBytes(context, 0),
    )  # fmt: skip


def deployment(
    *, terms: MemoryTerms | None = None, layout: dict[str, object] | None = None, flags: dict[str, object] | None = None,
    targets: dict[str, object] | None = None, **fields: object,
) -> Deployment:  # fmt: skip
    """Eight sequences of 800 tokens on average and 1,600 at most, with room for a thousand KV blocks."""
    chosen = LAYOUT.model_copy(update=layout or {})
    return Deployment(
        model=MODEL, quantization=fields.pop("quantization", BF16), layout=chosen, gpu=fields.pop("gpu", H100),
        engine=RELEASE, replicas=fields.pop("replicas", 1), terms=terms or terms_of(OUTSIDE + 1000 * BLOCK),
        flags=EngineFlags(
            **{
                "gpu_memory_utilization": 0.5, "max_model_len": 1600, "max_num_seqs": 8,
                "max_num_batched_tokens": 2048, **(flags or {}),
            }
        ),
        targets=Targets(**{"target_context": 1600, "mean_context": 800, "concurrency": 8, **(targets or {})}),
        performance=PerformanceBound(ttft_ms=100.0, tpot_ms=10.0, output_tokens_per_s=1000.0),
        **{"usd_per_gpu_hour": 2.5, "quality": 1.0, "quality_accepted": False, **fields},
    )  # fmt: skip


def test_the_round_numbers_stand_beside_the_models_own() -> None:
    assert (PHYSICS.weights, PHYSICS.weights_extra, PHYSICS.kv.block_bytes) == ((WEIGHTS,), (ROPE_TABLE,), (BLOCK,))
    assert violations(deployment()) == ()
    assert deployment().num_gpu_blocks == 1000


LONG = terms_of(OUTSIDE + 9000 * BLOCK)
SHORT = {"max_num_seqs": 1}
ONE = {"concurrency": 1}
CHECKS = [
    ("divisibility", {"layout": {"tensor_parallel_size": 4}}, {"layout": {"tensor_parallel_size": 8}},
     {"layout": {"tensor_parallel_size": 16, "nodes": 2, "quantization": "x"}, "gpu": H100}, None),
    ("compatibility", {"gpu": CATALOG.gpu("a100-sxm-80gb"), "quantization": CATALOG.quantization("awq")},
     {"gpu": CATALOG.gpu("t4"), "quantization": CATALOG.quantization("awq")},
     {"gpu": CATALOG.gpu("v100"), "quantization": CATALOG.quantization("awq")}, (75, 70, "compute capability")),
]  # fmt: skip
for c in CHECKS:
    for f in c[1:4]:
        print(c[0], f.keys(), violations(deployment(**f)))
for l in ({"pipeline_parallel_size": 32, "nodes": 4}, {"pipeline_parallel_size": 33, "nodes": 4},{"pipeline_parallel_size": 33, "nodes": 5},{"decode_context_parallel_size": 1,"tensor_parallel_size":16,"nodes":2},{"decode_context_parallel_size": 2,"tensor_parallel_size":8},{"data_parallel_size":8},{"data_parallel_size":9}, {"tensor_parallel_size":32,"nodes":4},{"tensor_parallel_size":64,"nodes":8}):
    print(l, violations(deployment(layout=l)))
