"""Two models on two SKUs for a workload of our own: files for `vllm serve --config`, and what to expect of each."""

import json
from pathlib import Path

from vllm_opt.optimizer import BatchRequest, batch

request = BatchRequest(
    models=["Qwen/Qwen3-8B", "openai/gpt-oss-20b"],
    gpu=["l40s", "h100-sxm"],
    workload={
        "id": "support",
        "input_tokens": 1500,
        "output_tokens": 300,
        "target_context": 8192,
        "concurrency": 48,
        "max_tpot_ms": 50,
    },
    output="recommended",
)

report = batch(request)
print(report.cells, "cells:", report.counts)
for row in json.loads(Path("recommended/index.json").read_text(encoding="utf-8"))["cells"]:
    if row.get("file"):
        print(f"{row['file']}: {row['gpu_count']} GPU, ${row['usd_per_hour']:.2f}/h, TPOT {row['tpot_ms']:.0f} ms")
    else:
        print(f"{row['cell']}: {row['reason']}")
