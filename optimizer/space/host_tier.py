"""The CPU tier: host memory that parks whole sequences, as `--swap-space` (V0) or `--kv-offloading-size`.

It adds to the sequences that are held, never to those that one step runs; the parked ones wait, which is part of TTFT.
"""

from dataclasses import dataclass

from vllm_opt.constraints.decisions.configuration import EngineFlags
from vllm_opt.optimizer.space.physics import LayoutFacts
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.profiles.nouns.gpu import GpuProfile


@dataclass(frozen=True)
class HostTier:
    """The flags of the tier, and how many sequences of the mean context it parks in one engine."""

    swap_space_gib: float | None
    kv_offloading_size_gib: float | None
    parked: int


def host_tier(facts: LayoutFacts, gib: float) -> HostTier:
    """Return the tier of one engine; without host memory, the release's own default and nothing parked."""
    engine, targets = facts.setting.engine, facts.setting.targets
    if gib <= 0:
        return HostTier(engine.default_swap_space_gib, None, 0)
    swaps = engine.swap_space == "capacity"
    flags = EngineFlags(
        gpu_memory_utilization=engine.gpu_memory_utilization,
        max_model_len=targets.target_context,
        max_num_seqs=1,
        max_num_batched_tokens=1,
        swap_space_gib=gib if swaps else engine.default_swap_space_gib,
        kv_offloading_size_gib=None if swaps else gib,
    )
    parked = facts.terms.host_tier_tokens(flags) // targets.mean_context
    return HostTier(flags.swap_space_gib, flags.kv_offloading_size_gib, parked)


def host_tier_sizes(setting: SolveSetting, gpu: GpuProfile, gpus_of_server: int) -> tuple[float, ...]:
    """The tier sizes that are tried: none, and the whole GiB of host memory that falls to the GPUs of one server.

    A tier needs a release that has one, a stated `host_memory_gib`, and a model whose cache is one kind of layer:
    with windows or states, vLLM's connectors turn the separate KV groups off.
    """
    host = setting.request.host_memory_gib
    engine = setting.engine
    swaps = engine.swap_space == "capacity"
    mixers = {
        (kind.mixer.mixer, getattr(kind.mixer, "kind", None))
        for kind in setting.model.layer_kinds
        if kind.mixer is not None
    }
    if host is None or not (swaps or engine.kv_offloading) or len(mixers) != 1:
        return (0.0,)
    share = int(host * min(gpus_of_server, gpu.gpus_per_node) / gpu.gpus_per_node)
    per_unit = share // gpus_of_server if swaps else share
    if swaps and per_unit == engine.default_swap_space_gib:
        per_unit -= 1  # the release's own default says nothing about what the host can spare
    return (0.0, float(per_unit)) if per_unit > 0 else (0.0,)
