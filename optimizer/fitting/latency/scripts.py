"""Flags that InferenceX' published scripts pass and its rows do not state: cache, scheduling, graphs and token budget.

https://github.com/SemiAnalysisAI/InferenceX, benchmarks/ and benchmarks/single_node/, each since the day on which the
script had the flags: 70b_fp8_h100_slurm.sh, 70b_fp8_h200_slurm.sh, 70b_fp8_b200_docker.sh, 70b_fp4_b200_docker.sh,
gptoss_fp4_b200.sh, gptoss_fp4_h100.sh, gptoss_fp4_h200.sh, minimaxm2.5_fp8_b200.sh, minimaxm2.5_fp4_b200.sh,
minimaxm2.5_fp8_b300.sh, minimaxm2.5_fp4_b300.sh, kimik2.5_fp4_b200.sh.
"""

from dataclasses import dataclass
from typing import Any

SCRIPTED = "inferencex"
DEFAULT_CAPTURE = 512.0
"""Largest captured step where no flag says otherwise (vllm/config/vllm.py)."""


@dataclass(frozen=True)
class Script:
    """What one script passes; rows that it measured are told by model, GPU, format and day."""

    model: str
    gpus: tuple[str, ...]
    formats: tuple[str, ...] = ("fp4", "fp8")
    since: str = ""
    narrow_cache: bool = False
    """`--kv-cache-dtype fp8`."""
    asynchronous: bool = False
    """`async-scheduling: true`, which newer releases have without being asked."""
    largest_capture: float = DEFAULT_CAPTURE
    """`--max-cudagraph-capture-size`, or `cuda-graph-sizes` before."""
    prompts_per_step: float | None = None
    """`--max-num-batched-tokens` as a multiple of the prompt length."""


LLAMA, GPT_OSS = "meta-llama/Llama-3.1-70B", "openai/gpt-oss-120b"
MINIMAX, KIMI = "MiniMaxAI/MiniMax-M2.5", "moonshotai/Kimi-K2.5"
B200, B300, HOPPER = "B200-SXM", "B300-SXM", ("H100-SXM", "H200-SXM")
WIDE = 2048.0
SCRIPTS = (
    Script(LLAMA, (*HOPPER, B200), narrow_cache=True, asynchronous=True),
    Script(GPT_OSS, HOPPER, asynchronous=True, largest_capture=WIDE),
    Script(GPT_OSS, (B200,), narrow_cache=True, asynchronous=True, largest_capture=WIDE),
    Script(MINIMAX, (B200,), ("fp8",), "2026-03-27", narrow_cache=True),
    Script(MINIMAX, (B200,), ("fp8",), "2026-04-03", True, largest_capture=WIDE, prompts_per_step=2.0),
    Script(MINIMAX, (B200,), ("fp4",), "2026-04-08", True, largest_capture=WIDE, prompts_per_step=2.0),
    Script(MINIMAX, (B300,), since="2026-04-17", narrow_cache=True, largest_capture=WIDE, prompts_per_step=2.0),
    Script(KIMI, (B200,), ("fp4",), "2026-04-20", True, largest_capture=WIDE, prompts_per_step=2.0),
)
NO_SCRIPT = Script("", ())


def script_of(row: dict[str, Any]) -> Script:
    """The newest script that had measured this row; the defaults of vLLM for other sources."""
    if row["source_id"] != SCRIPTED:
        return NO_SCRIPT
    day, found = str(row.get("date") or ""), NO_SCRIPT
    for one in SCRIPTS:
        known = one.model == row["model"] and row["gpu"] in one.gpus and row["weight_precision"] in one.formats
        if known and day >= one.since:
            found = one
    return found
