"""What a reader must know about a predicted speed beyond its interval."""

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants


def release_note(constants: LatencyConstants, gpu: GpuProfile, release: str) -> str | None:
    """One sentence where no measurement covers the speed of a release on this family of GPUs."""
    if constants.release_factor(gpu, release).points:
        return None
    return (
        f"no measured speed of vLLM {release} on GPUs like {gpu.id} is known; it is taken from the nearest measured "
        "releases"
    )


def unused_hits_note(layout: Layout, prefix_hit_share: float) -> str | None:
    """One sentence where a prefix hit share was given and prefix caching is off, so that nothing can hit."""
    if layout.enable_prefix_caching or not prefix_hit_share:
        return None
    return (
        "prefix_hit_share has no effect: prefix caching is off for this model and release; pass --enable-prefix-caching"
    )


def speed_notes(
    constants: LatencyConstants, gpu: GpuProfile, release: str, layout: Layout, prefix_hit_share: float
) -> tuple[str, ...]:
    """All notes on the speed of one layout."""
    found = (release_note(constants, gpu, release), unused_hits_note(layout, prefix_hit_share))
    return tuple(note for note in found if note)
