"""From a solved fleet to the answer: who runs what where, what it costs, and what is idle."""

import math
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

from vllm_opt.optimizer.contract.answer import ObjectiveValue, Plan
from vllm_opt.optimizer.fleet.check import placement, totals
from vllm_opt.optimizer.fleet.outcome import Bound, FleetOutcome, objective_value
from vllm_opt.optimizer.fleet.problem import SERVED_SCALE, SLOTS_PER_GPU, FleetSolution, NodeOffer
from vllm_opt.optimizer.fleet.routing import LOAD_SCALE, load_of
from vllm_opt.optimizer.planning.plan import make_plan
from vllm_opt.optimizer.procurement.answer import (
    Assignment,
    FleetTotals,
    HostedServers,
    NodeOrder,
    OrderedHost,
    ServedDemand,
)
from vllm_opt.optimizer.procurement.columns import MICRO
from vllm_opt.optimizer.procurement.offers import HOURS_PER_MONTH
from vllm_opt.optimizer.procurement.problem import Procurement

SECONDS_PER_MONTH = HOURS_PER_MONTH * 3600


def usd_per_month(micro_usd_per_hour: float) -> float:
    """Dollars of 730 hours, to the cent."""
    return round(micro_usd_per_hour * HOURS_PER_MONTH / MICRO, 2)


@dataclass(frozen=True)
class FleetReport:
    """One solved fleet in words and sums."""

    asked: Procurement
    outcome: FleetOutcome
    fleet: FleetSolution
    _clock: dict[str, float] = field(default_factory=dict)

    def start_comparisons(self) -> None:
        """Start the clock of the comparisons."""
        self._clock["end"] = time.monotonic() + self.asked.request.time_limit

    @property
    def comparison_seconds_left(self) -> float:
        """Seconds that the comparisons still have."""
        return self._clock.get("end", math.inf) - time.monotonic()

    @cached_property
    def replicas(self) -> dict[int, int]:
        """Column -> replicas."""
        counts: Counter[int] = Counter()
        for (c, _, _), count in self.fleet.replicas.items():
            counts[c] += count
        return dict(sorted(counts.items()))

    @cached_property
    def loads(self) -> dict[int, Fraction]:
        """Column -> replicas' worth of work at the peak, spread evenly over the replicas of a workload."""
        problem = self.asked.problem
        loads: dict[int, Fraction] = {}
        for demand in problem.demands:
            mine = {c: n for c, n in self.replicas.items() if problem.columns[c].workload == demand.workload}
            if len(demand.units) > 1:
                parts = self.outcome.parts.get(demand.workload, {})
                for c in mine:
                    of_column = {bucket: count for (bucket, column), count in parts.items() if column == c}
                    loads[c] = Fraction(load_of(demand, problem.columns[c], of_column), LOAD_SCALE)
                continue
            capacity = sum(n * problem.columns[c].capacity[0] for c, n in mine.items())
            needed = Fraction(demand.units[0] * self.fleet.served[demand.workload], SERVED_SCALE)
            loads.update({c: n * needed / capacity for c, n in mine.items()})
        return loads

    def objectives(self) -> tuple[ObjectiveValue, ...]:
        """Values and proven bounds in units that people use."""
        return tuple(self._objective(bound) for bound in self.outcome.bounds)

    def _objective(self, bound: Bound) -> ObjectiveValue:
        scales: Mapping[str, tuple[float, str]] = {
            "cost": (HOURS_PER_MONTH / MICRO, "USD/month"),
            "ordered": (HOURS_PER_MONTH / MICRO, "USD/month of new GPUs"),
            "capex": (0.01, "USD"),
            "gpus": (1.0, "GPUs"),
        }
        scale, unit = scales.get(bound.name, (1 / SERVED_SCALE, "workloads served, counted in parts"))
        value = objective_value(self.asked.problem, self.fleet, bound.name)
        return ObjectiveValue(
            name=bound.name, value=round(value * scale, 4), bound=round(bound.bound * scale, 4),
            gap=round(bound.gap, 6), conceded=round(abs(value - bound.value) / max(1, abs(bound.value)), 6), unit=unit,
        )  # fmt: skip

    def assignments(self) -> tuple[Assignment, ...]:
        """One entry per plan in use."""
        return tuple(self._assignment(c, n) for c, n in self.replicas.items())

    def _assignment(self, c: int, replicas: int) -> Assignment:
        column = self.asked.problem.columns[c]
        source = self.asked.plans[column.name]
        demand = next(d for d in self.asked.problem.demands if d.workload == column.workload)
        workload = next(w for w in self.asked.request.workloads if w.name == column.workload)
        unit = "sequences" if workload.requests_per_s is None else "requests/s"
        scale = 1 if workload.requests_per_s is None else MICRO
        utilisation, lengths = float(self.loads[c] / replicas * self.asked.cap), ""
        load = float(self.loads[c] * column.capacity[0] / scale)
        if len(demand.units) > 1:
            parts = {b: n for (b, other), n in self.outcome.parts[column.workload].items() if other == c}
            load = sum(n * demand.units[b] for b, n in parts.items()) / MICRO / MICRO
            sizes = [sum(workload.buckets[b]) for b in parts]
            lengths = (
                f"{min(sizes)} to {max(sizes)} tokens, {len(sizes)} of {len(demand.units)} buckets" if sizes else ""
            )
        capacity = load / utilisation if utilisation else 0.0
        plan, notes = self._plan(c, replicas), []
        if source.cut > 1:
            notes.append(
                f"shares its GPU with up to {source.cut - 1} others: gpu_memory_utilization "
                f"{plan.flags.get('gpu-memory-utilization')} is its part, and the plan's times and rates are those of "
                f"a whole GPU; capacity here is 1/{source.cut} of them; start the servers one after another"
            )
        return Assignment(
            workload=column.workload, gpu=column.gpu, replicas=replicas, gpus=replicas * column.gpus,
            gpu_part=1 / source.cut, capacity=round(capacity, 6), load=round(load, 6),
            utilisation=round(utilisation, 4),
            unit=unit, lengths=lengths, plan=plan, notes=tuple(notes),
        )  # fmt: skip

    def _plan(self, c: int, replicas: int) -> Plan:
        source = self.asked.plans[self.asked.problem.columns[c].name]
        setting = source.setting
        if source.cut > 1:
            targets = setting.targets.model_copy(update={"max_gpus": max(setting.targets.max_gpus, replicas)})
            setting = replace(setting, targets=targets)
        most = max(setting.targets.max_gpus, replicas * source.shape.gpus)
        setting = replace(setting, targets=setting.targets.model_copy(update={"max_gpus": most}))
        return make_plan(setting, source.choice(replicas))

    def orders(self) -> tuple[NodeOrder, ...]:
        """One entry per offer in use."""
        placed = placement(self.asked.problem, self.fleet)
        result = []
        for o, offer in enumerate(self.asked.offers):
            node, units = offer.node, self.fleet.units_of(o)
            if not units:
                continue
            nodes = [content for (other, _), contents in placed.items() if other == o for content in contents]
            zoned = [
                (zone, content) for (other, zone), contents in placed.items() if other == o for content in contents
            ]
            slots = sum(slots for content in nodes for _, slots in content)
            result.append(
                NodeOrder(
                    gpu=node.gpu, kind=node.kind, provider=offer.provider, what=offer.what,
                    nodes=units if node.billing == "node" else len(nodes), gpus=units * node.unit_gpus,
                    idle_gpus=units * node.unit_gpus - slots / SLOTS_PER_GPU,
                    usd_per_hour=round(units * node.cost_micro_usd_per_hour / MICRO, 4),
                    usd_per_month=usd_per_month(units * node.cost_micro_usd_per_hour),
                    capex_usd=units * node.capex_cents / 100, watts=units * node.watts,
                    rack_units=units * node.rack_milliunits / 1000, placement=self._words(nodes),
                    hosts=self._hosts(zoned, units, node),
                    source=offer.source, as_of=offer.as_of, synthetic=offer.synthetic,
                )
            )  # fmt: skip
        return tuple(sorted(result, key=lambda order: (("stock", "rent", "buy").index(order.kind), order.gpu)))

    def _hosts(
        self, zoned: list[tuple[int, tuple[tuple[str, int], ...]]], units: int, node: NodeOffer
    ) -> tuple[OrderedHost, ...]:
        """The hosts of an order, spares at the end; equal ones counted once."""
        places = {self.asked.problem.columns[c].name: position for position, c in enumerate(self.replicas)}
        kinds: Counter[tuple[int, int, tuple[tuple[int, int], ...]]] = Counter()
        for zone, content in zoned:
            held = Counter(places[name] for name, _ in content)
            used = -(-sum(slots for _, slots in content) // SLOTS_PER_GPU)
            gpus = node.unit_gpus if node.billing == "node" else used
            kinds[zone, gpus, tuple(sorted(held.items()))] += 1
        spare = units * node.unit_gpus - sum(gpus * count for (_, gpus, _), count in kinds.items())
        if spare > 0:
            each = node.unit_gpus if node.billing == "node" else spare
            kinds[0, each, ()] += spare // each
        return tuple(
            OrderedHost(
                hosts=count, gpus=gpus, zone=zone,
                servers=tuple(HostedServers(assignment=a, servers=n) for a, n in held),
            )
            for (zone, gpus, held), count in kinds.items()
        )  # fmt: skip

    def _words(self, nodes: list[tuple[tuple[str, int], ...]]) -> tuple[str, ...]:
        kinds: Counter[str] = Counter()
        for content in nodes:
            servers: Counter[str] = Counter()
            for name, slots in content:
                workload = name.partition("@")[0]
                size = f"1/{SLOTS_PER_GPU // slots} GPU" if slots < SLOTS_PER_GPU else f"{slots // SLOTS_PER_GPU} GPU"
                servers[f"{workload} ({size})"] += 1
            kinds[" + ".join(f"{n} x {what}" for what, n in sorted(servers.items()))] += 1
        return tuple(f"{n} x [{what}]" for what, n in sorted(kinds.items()))

    def totals(self) -> FleetTotals:
        """Sums, tokens at average traffic."""
        sums, tokens = totals(self.asked.problem, self.fleet), self.tokens_per_month()
        cost = usd_per_month(sums["cost"])
        return FleetTotals(
            gpus=sums["gpus"], nodes=sum(order.nodes for order in self.orders()),
            usd_per_hour=round(sums["cost"] / MICRO, 4), usd_per_month=cost,
            new_usd_per_month=usd_per_month(sums["ordered"]), capex_usd=sums["capex"] / 100, watts=sums["watts"],
            hosted_watts=sums["power"], rack_units=sums["rack_units"] / 1000, tokens_per_month=tokens,
            usd_per_million_tokens=round(cost / tokens * 1e6, 4) if tokens else None,
        )  # fmt: skip

    def tokens_per_month(self) -> float | None:
        """Input and output tokens at average traffic; None when some workload states no rate."""
        rates = [self._tokens(workload.name) for workload in self.asked.request.workloads]
        return None if None in rates else float(math.ceil(sum(rate for rate in rates if rate is not None)))

    def _tokens(self, name: str) -> float | None:
        workload = next(w for w in self.asked.request.workloads if w.name == name)
        if workload.requests_per_s is None:
            return None
        served = self.fleet.served[name] / SERVED_SCALE
        return workload.requests_per_s * sum(workload.mean_tokens) * SECONDS_PER_MONTH * served

    def workloads(self) -> tuple[ServedDemand, ...]:
        """What each workload gets and its part of the bill."""
        problem, bills = self.asked.problem, self.bills
        result = []
        for workload, demand in zip(self.asked.request.workloads, problem.demands, strict=True):
            scale = 1 if workload.requests_per_s is None else MICRO
            tokens, bill = self._tokens(workload.name), usd_per_month(bills[workload.name])
            result.append(
                ServedDemand(
                    workload=workload.name, served=self.fleet.served[workload.name] / SERVED_SCALE,
                    peak=sum(demand.units) / scale, unit="sequences" if scale == 1 else "requests/s",
                    usd_per_month=bill,
                    usd_per_million_tokens=round(bill / tokens * 1e6, 4) if tokens else None,
                )
            )  # fmt: skip
        return tuple(result)

    @cached_property
    def bills(self) -> dict[str, float]:
        """Workload -> millionths of a dollar per hour: every offer's cost divided by the GPUs used on it."""
        problem = self.asked.problem
        used: Counter[tuple[int, str]] = Counter()
        for (c, o, _), count in self.fleet.replicas.items():
            column = problem.columns[c]
            used[o, column.workload] += count * column.nodes * column.slots
        bills = {demand.workload: 0.0 for demand in problem.demands}
        for o, offer in enumerate(problem.offers):
            whole = sum(count for (other, _), count in used.items() if other == o)
            for (other, name), count in used.items():
                if other == o:
                    bills[name] += self.fleet.units_of(o) * offer.cost_micro_usd_per_hour * count / whole
        return bills
