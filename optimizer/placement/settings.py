"""The question about one replica of one service, as `solve` would ask it."""

import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.placement.request import PlaceRequest, ServiceSpec
from vllm_opt.optimizer.procurement.columns import PercentileTarget
from vllm_opt.optimizer.procurement.scenarios import Scenario, whole_week
from vllm_opt.optimizer.space.default_limits import Bends
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting, resolve_solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import CannotBeSized, InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.gpu import GpuProfile

MICRO = 1_000_000
DEFAULT_CONCURRENCY = 32
PASSED_ON = (
    "target_context", "input_tokens", "output_tokens", "prefix_hit_share", "max_ttft_ms", "max_tpot_ms",
    "quantization", "kv_cache_dtype", "lora_adapters", "lora_rank",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class ServiceSetting:
    """One service resolved, one setting per model that will do."""

    service: int
    spec: ServiceSpec
    by_rate: bool
    demand: int
    """millionths of a request per second over `utilization_cap`, or sequences; rounded up"""
    enough: int
    """capacity of one replica beyond which more counts for nothing"""
    whole: int
    """capacity of all replicas beyond which more counts for nothing"""
    settings: tuple[SolveSetting, ...]
    notes: tuple[str, ...] = ()
    shared: dict[str, SharedLayouts] = field(default_factory=dict)
    target: PercentileTarget | None = None
    """at which percentile over requests the limits hold; None where they hold for means"""
    """model -> what its layouts have in common, for every service that serves it"""


def service_setting(
    request: PlaceRequest, position: int, gpus: dict[str, GpuProfile], catalog: Catalog,
    shared: dict[str, SharedLayouts], *, multi_node_gbps: float | None = None,
) -> ServiceSetting:  # fmt: skip
    """Resolve one service.

    Raises:
        InvalidRequest: a value that cannot be understood.
        UnknownProfile: a model, format or release that the catalogue does not hold.
    """
    spec = request.services[position]
    settings, notes = [], []
    for model in spec.model:
        try:
            setting = _resolved(request, spec, model, gpus, catalog, multi_node_gbps)
        except CannotBeSized as error:
            notes.append(f"{spec.name}: {error}")
            continue
        except (InvalidRequest, UnknownProfile) as error:
            raise type(error)(f"service '{spec.name}': {error}") from None
        settings.append(setting)
        notes += [f"{spec.name}: {note}" for note in setting.notes]
    by_rate = spec.requests_per_s is not None
    demand = demand_of(request, spec)
    headroom = 1 + Fraction(str(request.headroom))
    working = max(1, spec.replicas.least - survives(request, spec))
    for setting in settings:
        shared.setdefault(setting.model.id, SharedLayouts())
    return ServiceSetting(
        position, spec, by_rate, demand, math.ceil(demand * headroom / working), math.ceil(demand * headroom),
        tuple(settings), tuple(notes), shared, percentile_target(request, spec),
    )  # fmt: skip


def percentile_target(request: PlaceRequest, spec: ServiceSpec) -> PercentileTarget | None:
    """At which percentile over requests the limits of a service hold; None where they hold for means.

    The percentile says itself how much of its capacity a server may be asked for, so `utilization_cap`, which the
    demand was divided by, is divided out.
    """
    if spec.ttft_percentile is None and spec.tpot_percentile is None:
        return None
    return PercentileTarget(
        spec.max_ttft_ms, spec.max_tpot_ms, spec.ttft_percentile, spec.tpot_percentile, spec.burstiness,
        request.router_imbalance, request.utilization_cap,
    )  # fmt: skip


def survives(request: PlaceRequest, spec: ServiceSpec) -> bool:
    """Whether a service must outlive any one node."""
    if request.survive is None:
        return bool(spec.survive)
    return spec.priority <= request.survive_priority if spec.survive is None else spec.survive


def demand_of(request: PlaceRequest, spec: ServiceSpec) -> int:
    """Demand in whole units, rounded up."""
    times = times_of(request, spec)
    if spec.requests_per_s is None:
        return math.ceil((spec.concurrency or DEFAULT_CONCURRENCY) * times)
    return math.ceil(Fraction(str(spec.requests_per_s)) * times * MICRO / Fraction(str(request.utilization_cap)))


def times_of(request: PlaceRequest, spec: ServiceSpec) -> Fraction:
    """The traffic that is placed, as a multiple of what is stated.

    Of all hours of all scenarios by probability, the smallest that no more than `missed_hours` of them exceed.
    """
    week = [Fraction(str(times)) for times in whole_week(spec.profile)]
    scenarios = request.scenarios or (Scenario(name="as stated"),)
    total = sum(Fraction(str(scenario.probability)) for scenario in scenarios) * len(week)
    hours = sorted(
        (
            (Fraction(str(scenario.growth_of(spec.name))) * times, Fraction(str(scenario.probability)) / total)
            for scenario in scenarios
            for times in week
        ),
        reverse=True,
    )
    beyond = Fraction(0)
    for times, probability in hours:
        beyond += probability
        if beyond > Fraction(str(request.missed_hours)):
            return times
    return hours[-1][0]


def _resolved(
    request: PlaceRequest, spec: ServiceSpec, model: str, gpus: dict[str, GpuProfile], catalog: Catalog,
    multi_node_gbps: float | None,
) -> SolveSetting:  # fmt: skip
    first = next(iter(gpus.values()))
    base = first.id if first.id in {gpu.id for gpu in catalog.gpus} else catalog.gpus[0].id
    most = max(gpu.gpus_per_node for gpu in gpus.values())
    asked: dict[str, Any] = {name: getattr(spec, name) for name in PASSED_ON}
    asked |= {
        "model": model, "concurrency": "max", "confidence": request.confidence, "vllm_version": request.vllm_version,
        "max_gpus": most * (2 if multi_node_gbps else 1), "internode_gbps": multi_node_gbps,
        "hypothetical_checkpoints": request.hypothetical_checkpoints, "default_limits": request.default_limits,
        "kv_sizing": "typical" if spec.output_tokens else "full", "gpu_file": request.gpu_file, "gpu": base,
        "price": {base: 1.0},
    }  # fmt: skip
    if spec.min_quality is not None:
        asked["min_quality"] = spec.min_quality
    setting = resolve_solve(SolveRequest(**asked), catalog)
    return replace(setting, gpus=tuple(PricedGpu(gpu) for gpu in gpus.values()), notes=_without_prices(setting.notes))


def without_default_limits(setting: SolveSetting, catalog: Catalog) -> SolveSetting:
    """The same question with the default limits bent away."""
    bent = resolve_solve(setting.request, catalog, Bends(limits=True))
    return replace(bent, gpus=setting.gpus, notes=setting.notes)


def _without_prices(notes: tuple[str, ...]) -> tuple[str, ...]:
    """A site costs what it costs: what is said about prices is of no use here."""
    return tuple(note for note in notes if "price" not in note)
