"""What a platform other than CUDA does not document as supported (`profiles/data/platforms.json`).

Such a layout may start: it is no refusal of vLLM's. `solve` leaves it out unless it is asked for, `estimate` says so.
"""

from collections.abc import Iterator

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.pages import is_quantized
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.platform import Feature

WORDS: dict[Feature, str] = {
    "pipeline_parallel": "pipeline parallelism",
    "data_parallel": "data parallelism inside a server",
    "expert_parallel": "expert parallelism",
    "decode_context_parallel": "decode context parallelism",
    "several_nodes": "a server over several nodes",
    "quantized_kv_cache": "a quantised KV cache",
}

BLACKWELL, FIRST_FOR_BLACKWELL = (10, 0), (0, 9)
"""CUDA 12.8 is the first with kernels for these cards, and vLLM 0.9.0 the first release that is built with it."""
FIRST_FOR_BLACKWELL_SOURCE = "https://github.com/vllm-project/vllm/releases/tag/v0.9.0"


def used_features(layout: Layout) -> frozenset[Feature]:
    """Return what of a platform's features a layout needs."""
    used: dict[Feature, bool] = {
        "pipeline_parallel": layout.pipeline_parallel_size > 1,
        "data_parallel": layout.data_parallel_size > 1,
        "expert_parallel": layout.expert_parallel,
        "decode_context_parallel": layout.decode_context_parallel_size > 1,
        "several_nodes": layout.nodes > 1,
        "quantized_kv_cache": is_quantized(layout.kv_cache_dtype),
    }
    return frozenset(feature for feature, needed in used.items() if needed)


def undocumented(
    layout: Layout, gpu: GpuProfile, asked: frozenset[Feature] = frozenset(), *, format_asked: bool = False
) -> Iterator[Violation]:
    """Yield what of a layout the SKU's platform does not document; `asked` was named by the user and is left alone."""
    platform = gpu.platform
    if platform is None:
        return
    used = used_features(layout) - asked
    for gap in platform.gaps:
        if gap.feature in used:
            message = f"{platform.name} does not document {WORDS[gap.feature]} ({gpu.name}): {gap.said} ({gap.source})"
            yield Violation(rule="compatibility", message=f"{message}.")
    for entry in () if format_asked else platform.format_gaps:
        if layout.quantization in entry.quantizations:
            message = f"{platform.name} does not document {layout.quantization} ({gpu.name}): {entry.said}"
            yield Violation(rule="compatibility", message=f"{message} ({entry.source}).")


def release_gap(gpu: GpuProfile, engine: EngineProfile) -> str:
    """Return a sentence where the SKU's platform follows no release as new, or the release knows no such card."""
    capability = gpu.compute_capability
    if capability is not None and capability >= BLACKWELL and _parts(engine.version) < FIRST_FOR_BLACKWELL:
        return (
            f"the wheels and images of vLLM {engine.version} are built before CUDA 12.8, the first that knows "
            f"Blackwell, and those of 0.9.0 are the first with it ({FIRST_FOR_BLACKWELL_SOURCE})"
        )
    platform = gpu.platform
    if platform is None or platform.newest_vllm is None:
        return ""
    if _parts(engine.version) <= _parts(platform.newest_vllm)[: len(_parts(engine.version))]:
        return ""
    return (
        f"the newest release of {platform.name} follows vLLM {platform.newest_vllm}, not {engine.version} "
        f"({platform.newest_source})"
    )


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
