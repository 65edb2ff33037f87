"""Your own benchmark changes the next answer: the same question before and after one result was learned from.

The result here is made up; yours comes from `vllm bench serve --save-result`.
"""

import json
import tempfile
from pathlib import Path

from vllm_opt.optimizer import CalibrateRequest, EstimateRequest, calibrate, estimate

BENCHMARK = {  # what `vllm bench serve --save-result` writes, with what it cannot know as --metadata
    "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "num_prompts": 256, "completed": 256, "max_concurrency": 16,
    "request_rate": "inf", "total_input_tokens": 262144, "total_output_tokens": 65536, "duration": 150.0,
    "mean_ttft_ms": 310.0, "median_ttft_ms": 300.0, "mean_tpot_ms": 33.0, "median_tpot_ms": 32.9,
    "output_throughput": 436.9, "request_throughput": 1.707,
    "gpu": "l40s", "tensor_parallel_size": 1, "quantization": "bf16", "kv_cache_dtype": "auto", "vllm_version": "0.33",
    "max_num_seqs": 64, "max_num_batched_tokens": 2048,
}  # fmt: skip

with tempfile.TemporaryDirectory() as folder:
    result, learned = Path(folder) / "result.json", Path(folder) / "calibration.json"
    result.write_text(json.dumps(BENCHMARK), encoding="utf-8")
    question = {
        "model": "Qwen/Qwen3-8B", "gpu": "l40s", "max_model_len": 8192, "max_num_seqs": 64,
        "input_tokens": 1024, "output_tokens": 256, "concurrency": 16,
    }  # fmt: skip
    before = estimate(EstimateRequest(**question, calibration=False))
    calibrate(CalibrateRequest(files=[str(result)], calibration_file=str(learned)))
    after = estimate(EstimateRequest(**question, calibration_file=str(learned)))
    print(f"measured TPOT {BENCHMARK['mean_tpot_ms']} ms")
    print(f"predicted before {before.performance.tpot_ms:.1f} ms, after {after.performance.tpot_ms:.1f} ms")
