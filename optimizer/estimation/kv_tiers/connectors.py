"""Where KV blocks go beside the GPU: connectors and events, the offload tier, and what a sleeping server leaves.

Connectors and events turn the hybrid KV manager off in some releases, so that windows keep every token. Host memory is
good for prefixes that come back, never for sequences that run.

Source: `config/vllm.py:VllmConfig.__post_init__` of vLLM 0.18 to 0.33; connectors that subclass `SupportsHMA` in 0.33.
"""

from typing import Any

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.kv.offload import offload_tier
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.optimizer.contract.quantities import size
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.profiles.errors import InvalidRequest, RefusedByVllm
from vllm_opt.profiles.nouns.engine import EngineProfile

SUPPORTS_HYBRID = frozenset((
    "OffloadingConnector", "SimpleCPUOffloadConnector", "NixlConnector", "NixlPullConnector", "NixlPushConnector",
    "MooncakeConnector", "MooncakeStoreConnector", "MoRIIOConnector", "HiSparseConnector", "DecodeBenchConnector",
    "UMBPStoreConnector", "ExampleHiddenStatesConnector",
))  # fmt: skip
MULTI = "MultiConnector"
SENDS_BATCHES = ("deepep_low_latency", "nixl_ep")
REPLACED = ("pplx", "naive")
ROLES = ("kv_producer", "kv_consumer", "kv_both")


def hybrid_manager_off(request: Features, engine: EngineProfile) -> str | None:
    """Return why the release runs without the hybrid KV manager; None where it keeps it.

    Raises:
        InvalidRequest: a connector without a role, which vLLM refuses.
    """
    if request.kv_events_config is not None and "kv_events" in engine.hybrid_kv_cache_off_with:
        return f"--kv-events-config turns the hybrid KV manager off in vLLM {engine.version}: windows keep every token"
    connector = json_value(request.kv_transfer_config)
    if not connector:
        return None
    name = str(connector.get("kv_connector") or "")
    if name and connector.get("kv_role") not in ROLES:
        raise RefusedByVllm(f"kv_transfer_config: kv_connector needs a kv_role, one of {', '.join(ROLES)}")
    if "any_connector" in engine.hybrid_kv_cache_off_with:
        return (
            f"--kv-transfer-config turns the hybrid KV manager off in vLLM {engine.version}, whatever the connector: "
            "windows keep every token"
        )
    if "unsupported_connector" in engine.hybrid_kv_cache_off_with and not _supports_hybrid(connector):
        return f"{name[:60]} does not support the hybrid KV manager and turns it off: windows keep every token"
    return None


def sparse_host_gib(request: Features) -> float | None:
    """Return the host memory of HiSparseConnector in GiB; None with another connector or none.

    Raises:
        InvalidRequest: the connector without the size of its pool.
    """
    connector = json_value(request.kv_transfer_config)
    if connector.get("kv_connector") != "HiSparseConnector":
        return None
    extra = connector.get("kv_connector_extra_config")
    size = extra.get("host_pool_gib") if isinstance(extra, dict) else None
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 < size <= 1e6:
        raise InvalidRequest("kv_transfer_config: HiSparseConnector needs host_pool_gib in kv_connector_extra_config")
    return float(size)


def redundant_experts(request: Features) -> int:
    """Return the copies of experts that --eplb-config adds over all ranks.

    Raises:
        RefusedByVllm: redundant experts without --enable-eplb.
        InvalidRequest: no whole number of them.
    """
    count = json_value(request.eplb_config).get("num_redundant_experts", 0)
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= 65536:
        raise InvalidRequest("eplb_config: num_redundant_experts must be a whole number, 0 or more")
    if count and not request.enable_eplb:
        raise RefusedByVllm(f"eplb_config: num_redundant_experts is set to {count} but EPLB is not enabled")
    return count


def feature_refusals(request: EstimateRequest, plan: KvPlan | None = None) -> tuple[Violation, ...]:
    """What vLLM says of features that do not go together; `plan`: once the cache could be planned."""
    return (*eplb_refusals(request), *(() if plan is None else chunk_refusals(request, plan)))


def eplb_refusals(request: EstimateRequest) -> tuple[Violation, ...]:
    """What vLLM says of --enable-eplb where no ranks share whole experts; redundant ones are judged with the layout."""
    ranks = request.tensor_parallel_size * request.data_parallel_size
    if not request.enable_eplb or redundant_experts(request) or (request.enable_expert_parallel and ranks > 1):
        return ()
    message = "EPLB requires --enable-expert-parallel and tensor or data parallelism."
    return (Violation(rule="compatibility", message=message),)


def chunk_refusals(request: Features, plan: KvPlan) -> tuple[Violation, ...]:
    """What vLLM says of an offload chunk that holds no whole number of blocks (`offloading/config.py`, 0.33)."""
    connector = json_value(request.kv_transfer_config)
    extra = connector.get("kv_connector_extra_config")
    asked = extra.get("block_size") if isinstance(extra, dict) else None
    if connector.get("kv_connector") != "OffloadingConnector" or isinstance(asked, bool) or not isinstance(asked, int):
        return ()
    block = plan.block_size * plan.context_parallel
    if not block or asked <= 0 or asked % block == 0:
        return ()
    message = (
        f"'block_size'={asked} in kv_connector_extra_config must be a multiple of the GPU KV cache block size "
        f"({block} tokens). Use {-(-asked // block) * block} instead, or set 'blocks_per_chunk' to express the chunk "
        "size in blocks."
    )
    return (Violation(rule="compatibility", message=message),)


def dispatches_batches(request: EstimateRequest) -> bool:
    """Whether experts of other data-parallel ranks are reached by a backend that sends whole batches."""
    spread = request.enable_expert_parallel and request.data_parallel_size > 1
    return spread and request.all2all_backend in SENDS_BATCHES


def expert_notes(request: EstimateRequest) -> tuple[str, ...]:
    """What is not known of the backend that reaches experts on other ranks."""
    if not request.enable_expert_parallel or request.all2all_backend in (None, "allgather_reducescatter"):
        return ()
    if request.all2all_backend in REPLACED:
        return (f"vLLM 0.33 no longer has the all2all backend {request.all2all_backend}: it takes the default",)
    return (f"the buffers of the all2all backend {request.all2all_backend} are not counted: leave room for them",)


def _supports_hybrid(connector: dict[str, Any]) -> bool:
    """A MultiConnector supports it when every child does."""
    name = connector.get("kv_connector")
    if name != MULTI:
        return name in SUPPORTS_HYBRID
    extra = connector.get("kv_connector_extra_config")
    children = extra.get("connectors") if isinstance(extra, dict) else None
    return isinstance(children, list) and all(
        isinstance(child, dict) and child.get("kv_connector") in SUPPORTS_HYBRID for child in children
    )


def offload_notes(plan: KvPlan, layout: Layout, flags: EngineFlags) -> tuple[str, ...]:
    """Say how many prefix tokens the tier of one engine keeps, and what it does not do."""
    if not flags.kv_offloading_size_gib or not plan.engine.kv_offloading:
        return ()
    tier = offload_tier(plan, layout, flags.kv_offloading_size_gib)
    words = (
        f"the KV offload tier of {flags.kv_offloading_size_gib:g} GiB keeps {tier.num_chunks:,} chunks of "
        f"{tier.chunk_bytes:,} bytes, prefixes of {tier.prefix_tokens:,} tokens: a later prompt that shares one loads "
        "it instead of computing it; what runs at once is unchanged"
    )
    if not layout.enable_prefix_caching:
        return (words, "without prefix caching nothing can hit the KV offload tier: leave prefix caching on")
    return (words,)


def sleep_notes(request: Features, terms: MemoryTerms, gpus_per_node: int) -> tuple[str, ...]:
    """Say what a server that sleeps needs of the host: at level 1 its weights go there, at level 2 they are dropped."""
    if not request.enable_sleep_mode:
        return ()
    layout = terms.layout
    ranks = layout.tensor_parallel_size * layout.data_parallel_size
    total = ranks * sum(terms.weights[stage] + terms.weights_extra[stage] for stage in range(terms.stages))
    share = total * min(1.0, gpus_per_node / (ranks * terms.stages))
    return (
        f"sleep mode: at level 1 the weights go to host memory, {size(int(share))} per node, and the KV cache is "
        "dropped; at level 2 both are dropped",
    )
