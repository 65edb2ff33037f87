"""Print the JSON of some requests, times excepted: what `.ci/same_bytes` compares."""

import contextlib
import io
import json
from typing import Any

from vllm_opt.optimizer.cli.main import main as run

REQUESTS = (
    "solve Qwen/Qwen3-8B --gpu l4 --gpu h100 --max-gpus 4 --top 2",
    "solve Qwen/Qwen3-30B-A3B --gpu h100 --max-gpus 1 --second-opinion --workers 2",
    "solve Qwen/Qwen3-8B --gpu h100 --requests-per-s 2 --arrivals poisson --max-gpus 2 --pareto",
    "solve deepseek-ai/DeepSeek-V3 --gpu h200 --max-gpus 16 --no-explain",
    "estimate Qwen/Qwen3-4B --gpu h100 --equations",
    "estimate Qwen/Qwen3-32B --gpu a100-80gb --tensor-parallel-size 2 --pipeline-parallel-size 2 --concurrency 20",
)
TIMES = {"wall_ms", "workers"}


def without_times(value: Any) -> Any:
    """An answer less what differs from run to run."""
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in TIMES}
    return [without_times(each) for each in value] if isinstance(value, list) else value


for request in REQUESTS:
    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        run([*request.split(), "--format", "json"])
    print(json.dumps(without_times(json.loads(text.getvalue())), indent=1))
