"""Connectors, events and backends that reach other ranks: what turns the hybrid KV manager off, and what is refused."""

import json
from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.kv_tiers.connectors import (
    dispatches_batches,
    expert_notes,
    hybrid_manager_off,
    redundant_experts,
    sparse_host_gib,
)
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

NEWEST = Catalog().engine("0.33")[0]


def request(**fields: Any) -> EstimateRequest:
    return EstimateRequest(
        gpu="h100-sxm",
        **{name: json.dumps(value) if isinstance(value, dict) else value for name, value in fields.items()},
    )


def connector(name: str, role: str | None = "kv_both", **extra: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"kv_connector": name, **({"kv_role": role} if role else {})}
    return {**found, "kv_connector_extra_config": extra} if extra else found


@pytest.mark.parametrize(
    ("transfer", "off"),
    [
        (connector("NixlConnector"), False),
        (connector("LMCacheConnectorV1"), True),
        (connector("MultiConnector", connectors=[connector("NixlConnector"), connector("OffloadingConnector")]), False),
        (connector("MultiConnector", connectors=[connector("NixlConnector"), connector("LMCacheConnectorV1")]), True),
        (connector("MultiConnector", connectors=["NixlConnector"]), True),
        (connector("MultiConnector"), True),
    ],
)
def test_which_connectors_keep_the_hybrid_manager(transfer: dict[str, Any], off: bool) -> None:
    said = hybrid_manager_off(request(kv_transfer_config=transfer), NEWEST)
    name = transfer["kv_connector"]
    why = f"{name} does not support the hybrid KV manager and turns it off: windows keep every token"
    assert said == (why if off else None)


@pytest.mark.parametrize(("cause", "field", "words"), [
    ("kv_events", "kv_events_config", "--kv-events-config turns the hybrid KV manager off in vLLM"),
    ("any_connector", "kv_transfer_config", "whatever the connector: windows keep every token"),
])  # fmt: skip
def test_releases_that_turn_it_off_whatever_is_used(cause: str, field: str, words: str) -> None:
    value = {"enable_kv_cache_events": True} if field == "kv_events_config" else connector("NixlConnector")
    before = NEWEST.model_copy(update={"hybrid_kv_cache_off_with": (cause,)})
    assert words in (hybrid_manager_off(request(**{field: value}), before) or "")
    assert hybrid_manager_off(request(), before) is None


@pytest.mark.parametrize("role", [None, "both"])
def test_a_connector_without_a_role_is_refused(role: str | None) -> None:
    with pytest.raises(InvalidRequest, match="kv_connector needs a kv_role, one of kv_producer, kv_consumer, kv_both"):
        hybrid_manager_off(request(kv_transfer_config=connector("NixlConnector", role)), NEWEST)


def test_the_host_pool_of_a_sparse_connector() -> None:
    assert sparse_host_gib(request()) is None
    assert sparse_host_gib(request(kv_transfer_config=connector("NixlConnector"))) is None
    assert sparse_host_gib(request(kv_transfer_config=connector("HiSparseConnector", host_pool_gib=64))) == 64.0
    for wrong in (0, -1, 1e7, True, "64"):
        with pytest.raises(InvalidRequest, match="needs host_pool_gib"):
            sparse_host_gib(request(kv_transfer_config=connector("HiSparseConnector", host_pool_gib=wrong)))
    with pytest.raises(InvalidRequest, match="needs host_pool_gib"):
        sparse_host_gib(request(kv_transfer_config=connector("HiSparseConnector")))


def test_copies_of_experts() -> None:
    assert redundant_experts(request()) == 0
    balanced = {"num_redundant_experts": 32}
    assert redundant_experts(request(enable_eplb=True, eplb_config=balanced)) == 32
    with pytest.raises(InvalidRequest, match="num_redundant_experts is set to 32 but EPLB is not enabled"):
        redundant_experts(request(eplb_config=balanced))
    for wrong in (-1, 1.5, True, 65537):
        with pytest.raises(InvalidRequest, match="must be a whole number, 0 or more"):
            redundant_experts(request(enable_eplb=True, eplb_config={"num_redundant_experts": wrong}))


@pytest.mark.parametrize(
    ("backend", "batches", "note"),
    [
        (None, False, None), ("allgather_reducescatter", False, None),
        ("deepep_low_latency", True, "the buffers of the all2all backend deepep_low_latency are not counted"),
        ("deepep_high_throughput", False, "the buffers of the all2all backend deepep_high_throughput are not counted"),
        ("pplx", False, "vLLM 0.33 no longer has the all2all backend pplx: it takes the default"),
    ],
)  # fmt: skip
def test_backends_that_reach_experts_on_other_ranks(backend: str | None, batches: bool, note: str | None) -> None:
    spread = request(enable_expert_parallel=True, data_parallel_size=2, all2all_backend=backend)
    assert dispatches_batches(spread) is batches
    assert [words.startswith(note or "") for words in expert_notes(spread)] == ([True] if note else [])
    alone = spread.replaced(enable_expert_parallel=False)
    assert not dispatches_batches(alone)
    assert expert_notes(alone) == ()
