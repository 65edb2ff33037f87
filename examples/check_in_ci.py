"""In CI: no command of a repository that vLLM would refuse, and none that holds fewer requests than we promise."""

import sys
import tempfile
from pathlib import Path

from vllm_opt.optimizer import EstimateRequest, LintRequest, estimate, lint

PROMISED_USERS = 16
SCRIPT = "vllm serve Qwen/Qwen3-8B --max-model-len 8192 --max-num-seqs 32 --gpu-memory-utilization 0.92\n"

with tempfile.TemporaryDirectory() as repository:  # stands for your own checkout
    (Path(repository) / "serve.sh").write_text(SCRIPT, encoding="utf-8")
    report = lint(LintRequest(paths=[repository], gpu="l40s"))

errors = [finding for command in report.commands for finding in command.findings if finding.level == "error"]
for finding in errors:
    print("error:", finding.message)
held = estimate(EstimateRequest(model="Qwen/Qwen3-8B", gpu="l40s", max_model_len=8192, max_num_seqs=32))
users = int(held.memory.max_concurrency)
print(f"{len(report.commands)} command, {len(errors)} errors; room for {users} users at 8,192 tokens")
sys.exit(bool(errors) or users < PROMISED_USERS)
