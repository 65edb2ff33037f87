"""Which SKUs can serve prompts from a KV offload tier, and what is refused before anything is searched."""

from vllm_opt.constraints.speed.host_link import link_bytes_per_s
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile


def reaches_host(
    request: SolveRequest, engine: EngineProfile, gpus: tuple[GpuProfile, ...]
) -> tuple[frozenset[str], str | None]:
    """Return the ids of the SKUs that take part, and a sentence on those whose way to host memory is not known.

    All take part where no prompt comes that way.

    Raises:
        InvalidRequest: the release has no tier, a node has less memory than one engine's tier, or no SKU is left.
    """
    size = request.kv_offloading_size
    if size and not engine.kv_offloading:
        raise InvalidRequest(f"kv_offloading_size: vLLM {engine.version} has no --kv-offloading-size; leave it out")
    if size and request.host_memory_gib is not None and size > request.host_memory_gib:
        raise InvalidRequest(
            f"kv_offloading_size: {size:g} GiB for each engine are more than the host_memory_gib of a node, "
            f"{request.host_memory_gib:g}; lower it"
        )
    if not request.offload_hit_share:
        return frozenset(gpu.id for gpu in gpus), None
    found = frozenset(gpu.id for gpu in gpus if link_bytes_per_s(gpu) is not None)
    if gpus and not found:
        names = ", ".join(gpu.id for gpu in gpus[:8])
        raise InvalidRequest(
            f"offload_hit_share: how fast {names} reaches host memory is not known; give the prefix_hit_share alone"
        )
    left = ", ".join(gpu.id for gpu in gpus if gpu.id not in found)
    note = f"left out: how fast {left} reaches host memory is not known, and prompts are loaded from there"
    return found, note if left else None
