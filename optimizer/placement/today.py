"""What runs today, as columns: a server that stands as it stands today is not restarted."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from vllm_opt.constraints.placing.site import Parts
from vllm_opt.optimizer.placement.nodes import SiteNodes
from vllm_opt.optimizer.placement.plans import PlacePlan, whole_kinds
from vllm_opt.optimizer.placement.request import PlaceRequest, TodaySpec
from vllm_opt.optimizer.placement.settings import ServiceSetting
from vllm_opt.optimizer.placement.shared_plans import in_turns
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean

SHARED_BELOW = 0.65
"""gpu_memory_utilization below which a server is taken to share its GPU even where no other is listed on it"""


@dataclass(frozen=True)
class RunningServer:
    """One server of today."""

    spec: TodaySpec
    service: int
    parts: Parts
    plan: PlacePlan | None
    """None: nothing like it meets the limits of its service, so it cannot stay as it is"""


def running_servers(
    request: PlaceRequest, nodes: SiteNodes, settings: list[ServiceSetting], catalog: Catalog
) -> tuple[RunningServer, ...]:
    """Resolve the servers of today.

    Raises:
        InvalidRequest: a service, node or GPU that the site does not have.
    """
    services = {service.name: s for s, service in enumerate(request.services)}
    resolved = []
    for number, spec in enumerate(request.placement):
        if spec.service not in services:
            raise InvalidRequest(
                f"placement {number + 1}: no service is called '{spec.service[:80]}'"
                f"{did_you_mean(spec.service, services)}"
            )
        resolved.append((spec, services[spec.service], _parts(spec, nodes, f"placement {number + 1}")))
    on_gpu = Counter((node, gpu) for _, _, parts in resolved for node, gpus in parts for gpu in gpus)
    found, known = [], dict[Any, PlacePlan | None]()
    for spec, service, parts in resolved:
        crowd = max(on_gpu[node, gpu] for node, gpus in parts for gpu in gpus)
        sku = _sku(nodes, parts)
        key = (service, sku, sum(len(g) for _, g in parts), len(parts), crowd, _shape(spec))
        if key not in known:
            known[key] = None if sku is None else _plan(settings[service], spec, parts, sku, crowd, nodes, catalog)
        found.append(RunningServer(spec, service, parts, known[key]))
    return tuple(found)


def _shape(spec: TodaySpec) -> tuple[object, ...]:
    return (
        spec.model, spec.tensor_parallel_size, spec.pipeline_parallel_size, spec.data_parallel_size,
        spec.quantization, spec.kv_cache_dtype, spec.gpu_memory_utilization,
    )  # fmt: skip


def _parts(spec: TodaySpec, nodes: SiteNodes, where: str) -> Parts:
    parts: dict[int, tuple[int, ...]] = {}
    for part in spec.places:
        mine = nodes.named(part.node, where)
        if len(mine) > 1:
            raise InvalidRequest(
                f"{where}: '{part.node[:60]}' means {len(mine)} nodes; name one, as {part.node[:60]}-1"
            )
        have = {gpu for island in nodes.nodes[mine[0]].islands for gpu in island.gpus}
        strange = [gpu for gpu in part.gpus if gpu not in have]
        if strange or len(set(part.gpus)) < len(part.gpus) or mine[0] in parts:
            what = f"has no GPU {strange[0]}" if strange else "is named twice, or one of its GPUs is"
            raise InvalidRequest(f"{where}: node '{part.node[:60]}' {what}")
        parts[mine[0]] = tuple(sorted(part.gpus))
    if len({len(gpus) for gpus in parts.values()}) > 1:
        raise InvalidRequest(f"{where}: every node of a server holds the same number of its GPUs")
    return tuple(sorted(parts.items()))


def _sku(nodes: SiteNodes, parts: Parts) -> str | None:
    found = {nodes.nodes[node].island_of(gpu).gpu for node, gpus in parts for gpu in gpus}
    return next(iter(found)) if len(found) == 1 else None


def _plan(
    of: ServiceSetting, spec: TodaySpec, parts: Parts, sku: str, crowd: int, nodes: SiteNodes, catalog: Catalog
) -> PlacePlan | None:
    """The best plan with the same shape, formats and memory as the server that runs."""
    gpus = sum(len(mine) for _, mine in parts)
    stated = (spec.tensor_parallel_size, spec.pipeline_parallel_size, spec.data_parallel_size)
    pipeline, data = spec.pipeline_parallel_size or (len(parts) if not any(stated) else 1), spec.data_parallel_size or 1
    tensor = spec.tensor_parallel_size or max(1, gpus // (pipeline * data))
    if tensor * pipeline * data != gpus:
        return None
    pins: dict[str, Any] = {
        "tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline, "data_parallel_size": data,
    }  # fmt: skip
    if spec.quantization:
        pins["quantization"] = spec.quantization
    if spec.kv_cache_dtype:
        pins["kv_cache_dtype"] = spec.kv_cache_dtype
    gbps = 1.0 if len(parts) > 1 else None
    used = spec.gpu_memory_utilization
    for setting in of.settings:
        if spec.model and setting.model.id != _model_id(spec.model, catalog):
            continue
        mine = _pinned(setting, pins, sku, catalog, gbps)
        if mine is None:
            continue
        if gpus == 1 and (crowd > 1 or (used is not None and used < SHARED_BELOW)):
            plan = _sharing(of, mine, max(2, crowd), used)
        else:
            island = max(len(i.gpus) for node in nodes.nodes for i in node.islands if i.gpu == sku)
            plans = whole_kinds(of, mine, {sku: island}, gpus, len(parts))
            plan = _at(plans[0], used) if plans else None
        if plan is not None:
            return plan
    return None


def _model_id(name: str, catalog: Catalog) -> str | None:
    try:
        return catalog.model(name).id
    except (UnknownProfile, InvalidRequest):
        return None


def _pinned(
    setting: SolveSetting, pins: dict[str, Any], sku: str, catalog: Catalog, gbps: float | None
) -> SolveSetting | None:
    kept = tuple(item for item in setting.gpus if item.gpu.id == sku)
    changes = {**pins, "max_gpus": max(16, pins["tensor_parallel_size"] * pins["pipeline_parallel_size"])}
    if gbps is not None and setting.request.internode_gbps is None:
        changes["internode_gbps"] = gbps
    try:
        pinned = resolve_solve(setting.request.replaced(**changes), catalog, setting.bends)
    except (InvalidRequest, UnknownProfile):
        return None
    return replace(pinned, gpus=kept, notes=setting.notes) if kept else None


def _sharing(of: ServiceSetting, setting: SolveSetting, crowd: int, used: float | None) -> PlacePlan | None:
    """The plan that serves most within the memory that the server has, or the lightest that serves all."""
    plans = in_turns(of, setting, min(4, crowd))
    if used is None:
        return next((plan for plan in plans if plan.capacity >= of.demand), plans[-1] if plans else None)
    within = [plan for plan in plans if plan.choice.gpu_memory_utilization <= used]
    return _at(within[-1], used) if within else None


def _at(plan: PlacePlan, used: float | None) -> PlacePlan | None:
    """The plan with the memory budget that the server has today; None where that does not hold it."""
    if used is None:
        return plan
    if plan.turns == 1 and used < plan.choice.gpu_memory_utilization:
        facts = plan.choice.unit.facts
        steps = {round(step, 3) for step in facts.utilizations if step <= used}
        if round(used, 3) not in steps:
            return None
    return replace(plan, choice=replace(plan.choice, gpu_memory_utilization=used))
