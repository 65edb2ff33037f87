"""Ways to divide a model for which a release has no flag: what cannot be said to `vllm serve` cannot be planned.

Decode context parallelism came with 0.10.2, data parallelism inside a server with 0.8.3, expert parallelism with 0.8.0
(`engine/arg_utils.py` of each release; `EngineProfile.flags`).
"""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.profiles.nouns.engine import EngineProfile


def release_violations(layout: Layout, engine: EngineProfile) -> Iterator[Violation]:
    """Yield each size above one that the release has no flag for."""
    known = {flag.name for flag in engine.flags}
    for flag, size in (
        ("pipeline-parallel-size", layout.pipeline_parallel_size),
        ("data-parallel-size", layout.data_parallel_size),
        ("decode-context-parallel-size", layout.decode_context_parallel_size),
        ("enable-expert-parallel", 2 if layout.expert_parallel else 1),
    ):
        if size > 1 and known and flag not in known:
            yield Violation(
                rule="divisibility", message=f"vLLM {engine.version} has no --{flag}.", needed=size, available=1,
                unit="ranks",
            )  # fmt: skip
