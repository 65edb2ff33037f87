"""Block sizes of releases that fix them per platform before the backend is chosen.

Sources: vLLM 0.8.5 and 0.11.0 `platforms/cuda.py:check_and_update_config`; 0.6.6 `config.py:CacheConfig`.
"""

from collections.abc import Sequence

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import LayoutRefused, Violation
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import Attention, LatentAttention


def platform_block_size(
    mixers: Sequence[Attention | LatentAttention], layout: Layout, engine: EngineProfile, gpu: GpuProfile
) -> int:
    """Return the block size: what the release forces on MLA (FlashMLA 64, CUTLASS 128), else the flag or the default.

    Raises:
        LayoutRefused: the flag's value is not among the release's choices.
    """
    asked = layout.block_size
    if asked is not None and engine.block_size_choices is not None and asked not in engine.block_size_choices:
        choices = ", ".join(str(choice) for choice in engine.block_size_choices)
        raise LayoutRefused(
            Violation(
                rule="compatibility",
                message=f"--block-size: invalid choice: {asked} (choose from {choices}) in vLLM {engine.version}",
                needed=asked,
            )
        )
    capability = gpu.compute_capability
    if capability is not None and any(isinstance(mixer, LatentAttention) for mixer in mixers):
        forced = engine.latent_block_sizes.get(capability[0])
        if forced is not None:
            return forced
    return asked or engine.default_block_size
