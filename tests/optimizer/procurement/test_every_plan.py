"""What `procure` proves covers every plan that `solve` knows: beside `solve` itself, and beside brute force."""

import itertools
import random
from dataclasses import replace
from typing import Any

import pytest

from vllm_opt.optimizer import FleetRequest, SolveRequest, procure, solve
from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.orders.words import title_of
from vllm_opt.optimizer.procurement import columns
from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.optimizer.procurement.bar_columns import BarSearch
from vllm_opt.optimizer.procurement.buckets import bucket_capacities
from vllm_opt.optimizer.procurement.columns import ReplicaPlan
from vllm_opt.optimizer.procurement.problem import resolve_fleet
from vllm_opt.profiles.catalogues.catalog import Catalog

MODELS = (
    "meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-14B-Instruct", "meta-llama/Llama-3.3-70B-Instruct",
    "Qwen/Qwen3-30B-A3B", "openai/gpt-oss-20b", "Qwen/Qwen2.5-1.5B-Instruct",
)  # fmt: skip
SKUS = ("l4", "l40s", "a100-sxm4-80gb", "h100-sxm", "h200-sxm", "rtx-4090", "b200")
ONE_NODE: dict[str, Any] = {"gpu_sharing": False, "max_gpus_per_replica": 8}
STRICT: dict[str, Any] = {"tolerance": 0, "utilization_cap": 1, "comparisons": False, "time_limit": 600}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


def drawn(seed: int) -> dict[str, Any]:
    """A workload that both commands can be asked for."""
    draw = random.Random(seed)
    context = draw.choice((2048, 4096, 8192))
    return {
        "model": draw.choice(MODELS), "gpu": draw.sample(SKUS, 2), "target_context": context,
        "input_tokens": draw.randint(100, context // 2 - 1), "output_tokens": draw.choice((50, 100, 200, 400)),
        "max_ttft_ms": draw.choice((None, 1000, 3000)), "max_tpot_ms": draw.choice((None, 30, 60)),
        "rate": round(10 ** draw.uniform(-1, 1), 3), "concurrency": draw.choice(("max", "max", 8, 32)),
    }  # fmt: skip


def fleet_of(asked: dict[str, Any], **changes: Any) -> FleetRequest:
    fields = ("model", "target_context", "input_tokens", "output_tokens", "max_ttft_ms", "max_tpot_ms")
    workload = {name: asked[name] for name in fields} | {"name": "w", "requests_per_s": asked["rate"]}
    request = {"workloads": [workload], "inventory": {**ONE_NODE, "gpu": asked["gpu"]}, **STRICT}
    return FleetRequest(**{**request, **changes})


@pytest.mark.parametrize("seed", range(12))
def test_never_dearer_than_solve_with_the_same_throughput(seed: int, catalog: Catalog) -> None:
    fleet, single = beside(drawn(seed), catalog, max_gpus=8)
    never_dearer(fleet, single)


def never_dearer(fleet: FleetAnswer, single: Answer) -> None:
    """The fleet is proven over every plan and costs no more."""
    if single.plan is None:
        return
    assert single.plan.cost.usd_per_hour is not None
    assert fleet.status == "optimal"
    assert fleet.covers == "every plan"
    assert fleet.totals is not None
    assert fleet.totals.usd_per_hour <= single.plan.cost.usd_per_hour + 1e-6
    assert "proven cheapest" in title_of(fleet)


def test_the_same_price_where_a_replica_spans_nodes_and_gpus_are_sold_singly(catalog: Catalog) -> None:
    """810 GB in 16 bits, and nodes of 8 x 80 GB: no replica stands on one."""
    asked = {"model": "meta-llama/Meta-Llama-3.1-405B", "target_context": 2048, "quantization": ["bf16"]}
    asked |= {"input_tokens": 500, "output_tokens": 50}
    fleet = procure(
        FleetRequest(
            workloads=[asked | {"name": "w", "requests_per_s": 0.01}],
            inventory={"gpu": ["h100-sxm"], "internode_gbps": 100.0, "max_gpus_per_replica": 16},
            money={"price": {"h100-sxm": 2.0}}, **STRICT,
        ),
        catalog,
    )  # fmt: skip
    single = solve(
        SolveRequest(
            **asked, gpu="h100-sxm", internode_gbps=100.0, price=[("h100-sxm", 2.0)], concurrency="max",
            min_output_tokens_per_s=0.5, objective="cost", tolerance=0, max_gpus=16, default_limits=False,
        ),
        catalog,
    )  # fmt: skip
    assert single.plan is not None
    assert single.plan.gpu_count == 16
    assert fleet.totals is not None
    assert fleet.totals.usd_per_hour == single.plan.cost.usd_per_hour == 32.0


def beside(asked: dict[str, Any], catalog: Catalog, **changes: Any) -> tuple[FleetAnswer, Answer]:
    """The fleet, and the plan of `solve` for the same throughput."""
    rest = {name: value for name, value in asked.items() if name != "rate"}
    single = SolveRequest(
        **rest, **changes, min_output_tokens_per_s=asked["rate"] * asked["output_tokens"], objective="cost",
        tolerance=0, default_limits=False,
    )  # fmt: skip
    return procure(fleet_of(asked), catalog), solve(single, catalog)


@pytest.mark.parametrize("seed", [3, 4, 8])
def test_same_price_as_brute_force_over_every_server(seed: int, catalog: Catalog) -> None:
    asked = {**drawn(seed), "gpu": ["l40s", "h100-sxm"], "rate": 0.7}
    request = fleet_of(asked, money={"price": {"l40s": 1.0, "h100-sxm": 3.0}})
    resolved = resolve_fleet(request, catalog)
    (search,) = resolved.pool.workloads[0].searches
    most: dict[tuple[str, int], float] = {}
    for sku in search.setting.gpus:  # every point of every server, without bounds
        for candidate in search.search.solve_servers(search.search.servers.of(sku)):
            key = sku.gpu.id, candidate.unit.shape.gpus
            most[key] = max(most.get(key, 0.0), candidate.bound_tokens_per_s.max() / asked["output_tokens"])
    prices = {"l40s": 1.0, "h100-sxm": 3.0}
    best = cheapest(asked["rate"], [(prices[gpu] * gpus, rate) for (gpu, gpus), rate in most.items()])
    answer = procure(request, catalog)
    assert answer.totals is not None
    assert answer.totals.usd_per_hour == pytest.approx(best)


def cheapest(needed: float, replicas: list[tuple[float, float]]) -> float:
    """The least price of replicas (price, requests per second) that serve what is needed, by trying counts."""
    if needed <= 0:
        return 0.0
    if not replicas:
        return float("inf")
    (price, rate), rest = replicas[0], replicas[1:]
    enough = int(needed / rate) + 1
    return min(count * price + cheapest(needed - count * rate, rest) for count in range(enough + 1))


LENGTHS = (
    {"input_tokens": 500, "output_tokens": 100, "share": 3},
    {"input_tokens": 3000, "output_tokens": 200, "share": 1},
)


def histogram(lengths: tuple[dict[str, int], ...] = LENGTHS, rate: float = 30, **changes: Any) -> FleetRequest:
    """One workload with a histogram of lengths, on two SKUs."""
    workload = {"name": "w", "model": "Qwen/Qwen2.5-1.5B-Instruct", "requests_per_s": rate, "target_context": 4096}
    workload |= {"lengths": lengths, "quantization": ["bf16"], "kv_cache_dtype": "auto", "max_tpot_ms": 20}
    prices = {"price": {"l4": 0.8, "l40s": 1.9}}
    inventory = {"gpu": ["l4", "l40s"], "max_gpus_per_replica": 1, "gpu_sharing": False}
    return FleetRequest(**{"workloads": [workload], "inventory": inventory, "money": prices, **STRICT, **changes})


@pytest.mark.parametrize("rate", [4, 11, 17, 24, 30])
def test_a_histogram_of_a_few_bars_is_proven_over_every_plan(rate: float, catalog: Catalog) -> None:
    """Every batch and width of every server with each length as its context, and every fleet that is cheaper."""
    request = histogram(rate=rate)
    answer = procure(request, catalog)
    assert (answer.status, answer.covers) == ("optimal", "every plan")
    assert title_of(answer) == "fleet: proven cheapest"
    assert answer.totals is not None
    resolved = resolve_fleet(request, catalog)
    bars, (demand,) = request.workloads[0].buckets, resolved.base.demands
    vectors: dict[str, set[tuple[int, ...]]] = {"l4": set(), "l40s": set()}
    for by_context in resolved.pool.workloads[0].searches:
        assert isinstance(by_context, BarSearch)
        for search in by_context.searches.values():
            for sku in search.setting.gpus:
                servers = [replace(server, replicas=1, most=1) for server in search.servers.of(sku)]
                for found in search.solve_servers(servers):
                    for size in found.sequences.tolist():
                        context = search.setting.targets.target_context
                        plan = ReplicaPlan(sku.gpu.id, search.setting, found, size, (), 1, context)
                        vectors[sku.gpu.id].add(bucket_capacities(plan, bars, (None, 20.0)))
    best = {gpu: pareto(rows) for gpu, rows in vectors.items()}
    prices = {"l4": 0.8, "l40s": 1.9}
    plans = [(prices[gpu], vector) for gpu, rows in best.items() for vector in rows]
    cost = answer.totals.usd_per_hour
    cheaper = [
        fleet
        for count in range(1, int(cost / 0.8) + 1)
        for fleet in itertools.combinations_with_replacement(plans, count)
        if sum(price for price, _ in fleet) < cost - 1e-9 and serves([vector for _, vector in fleet], demand.units)
    ]
    assert cheaper == []


def pareto(rows: set[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The rows that no other one equals in every entry."""
    return [
        row for row in rows
        if not any(other != row and all(a >= b for a, b in zip(other, row, strict=True)) for other in rows)
    ]  # fmt: skip


def serves(vectors: list[tuple[int, ...]], units: tuple[int, ...]) -> bool:
    """Whether two bars can be split over replicas: those go to the first bar that lose least of the second."""
    left = units[0]
    second = 0.0
    for vector in sorted(vectors, key=lambda row: row[1] / max(1, row[0])):
        share = min(1.0, left / vector[0]) if vector[0] and left > 0 else 0.0
        left -= share * vector[0]
        second += (1 - share) * vector[1]
    return left <= 1e-6 and second >= units[1] * (1 + 1e-5)


def test_a_histogram_of_eight_bars_is_still_proven_over_every_plan(catalog: Catalog) -> None:
    lengths = tuple({"input_tokens": 300 * n, "output_tokens": 100, "share": 9 - n} for n in range(1, 9))
    answer = procure(histogram(lengths), catalog)
    assert (answer.status, answer.covers) == ("optimal", "every plan")


def test_a_long_histogram_claims_only_the_plans_in_its_model(catalog: Catalog) -> None:
    lengths = tuple({"input_tokens": 400 * n, "output_tokens": 100, "share": 10 - n} for n in range(1, 10))
    answer = procure(histogram(lengths), catalog)
    assert answer.covers == "the plans in the model"
    assert title_of(answer) == f"fleet: cheapest of {answer.solver.columns_solved} plans"


def test_time_that_is_up_leaves_an_honest_bound_and_no_claim(catalog: Catalog) -> None:
    asked = {**drawn(1), "model": MODELS[2], "gpu": list(SKUS), "rate": 30.0}
    whole, short = procure(fleet_of(asked), catalog), procure(fleet_of(asked, time_limit=1e-3), catalog)
    assert whole.totals is not None
    assert whole.status == "optimal"
    assert short.status == "feasible"
    assert short.totals is not None
    assert short.covers == "the plans in the model"
    assert short.totals.usd_per_month >= whole.totals.usd_per_month - 0.01
    assert short.objectives[0].bound <= whole.objectives[0].bound + 0.01
    assert "proven" not in title_of(short)


def test_another_seed_or_number_of_workers_gives_the_same_fleet(catalog: Catalog) -> None:
    """Three workloads on five SKUs, a simpler fleet within the tolerance: many fleets cost the same."""
    each = {"target_context": 4096, "input_tokens": 900, "output_tokens": 200}
    workloads = [
        {**each, "name": f"w{number}", "model": MODELS[number % 2], "requests_per_s": 0.7 + 2 * number}
        for number in range(3)
    ]
    request = FleetRequest(workloads=workloads, inventory={"gpu": list(SKUS[:5])}, comparisons=False, time_limit=120)
    answers = [
        procure(request.replaced(seed=seed, workers=workers), catalog) for seed, workers in ((0, 1), (1, 1), (7, 2))
    ]
    assert answers[0].status == "optimal"
    for other in answers[1:]:
        for name in ("status", "covers", "objectives", "assignments", "nodes", "totals", "workloads", "notes"):
            assert getattr(other, name) == getattr(answers[0], name)


def test_the_cap_leaves_room_and_a_higher_one_takes_no_more_gpus(catalog: Catalog) -> None:
    asked = {**drawn(5), "rate": 40.0}
    capped = procure(fleet_of(asked, utilization_cap=0.85), catalog)
    full = procure(fleet_of(asked), catalog)
    assert capped.totals is not None
    assert full.totals is not None
    assert capped.totals.usd_per_month >= full.totals.usd_per_month
    for item in capped.assignments:
        assert item.utilisation <= 0.85
        assert item.utilisation == pytest.approx(item.load / item.capacity, abs=1e-3)
    assert any("asked for 85 % of its capacity" in note for note in capped.notes)


def test_a_pool_with_spares_is_proven_over_every_plan(catalog: Catalog) -> None:
    """One replica serves two and one may be lost: two GPUs; and pools of some are in it, so it is never dearer."""
    each = {"model": MODELS[0], "requests_per_s": 0.1, "target_context": 4096, "output_tokens": 300}
    asked = [{**each, "name": name, "input_tokens": 500 * n} for n, name in enumerate("abc", 1)]
    asked[2]["requests_per_s"] = 20
    request = FleetRequest(
        workloads=asked, inventory={"gpu": ["l40s"], "gpu_sharing": False, "max_gpus_per_replica": 1},
        resilience={"spare_replicas": 1}, **STRICT,
    )  # fmt: skip
    whole, apart = procure(request, catalog), procure(request.replaced(pooling=False), catalog)
    assert (whole.status, whole.covers, title_of(whole)) == ("optimal", "every plan", "fleet: proven cheapest")
    assert whole.totals is not None
    assert apart.totals is not None
    assert whole.totals.gpus < apart.totals.gpus
    pair, rest = (
        procure(request.replaced(workloads=asked[:2]), catalog),
        procure(request.replaced(workloads=asked[2:]), catalog),
    )
    assert pair.totals is not None
    assert rest.totals is not None
    assert pair.totals.gpus == 2
    assert whole.totals.usd_per_hour <= pair.totals.usd_per_hour + rest.totals.usd_per_hour + 1e-9


def test_parts_of_a_gpu_that_cannot_hold_the_weights_have_no_plan(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Classes that are never listed are those that would have no plan."""
    found = []
    for may_hold in (columns.may_hold, lambda *_: True):
        monkeypatch.setattr(columns, "may_hold", may_hold)
        asked = {**drawn(1), "model": "meta-llama/Llama-3.1-8B-Instruct", "gpu": ["l4", "a100-sxm4-80gb"]}
        request = fleet_of(asked, inventory={"gpu": asked["gpu"]}, time_limit=1e-3)
        (search,) = resolve_fleet(request, catalog).pool.workloads[0].searches
        search.close([kind for kind in search.open if kind.cut > 1])
        found.append({kind: plan.capacity for kind, plan in search.plans.items() if kind.cut > 1})
    assert found[0] == found[1] != {}


def test_workloads_of_one_model_share_replicas_where_that_is_cheaper(catalog: Catalog) -> None:
    each = {"model": MODELS[2], "requests_per_s": 0.1, "target_context": 4096, "output_tokens": 300}
    pair = [{**each, "name": "a", "input_tokens": 1000}, {**each, "name": "b", "input_tokens": 2000}]
    request = FleetRequest(workloads=pair, inventory={"gpu": ["h100-sxm"], "gpu_sharing": False}, comparisons=False)
    together, apart = procure(request, catalog), procure(request.replaced(pooling=False), catalog)
    assert together.totals is not None
    assert apart.totals is not None
    assert (together.totals.gpus, apart.totals.gpus) == (1, 2)
    assert [item.workload for item in together.workloads] == ["a + b"]
    strict = [pair[0], {**pair[1], "max_ttft_ms": 0.5}]
    assert procure(request.replaced(workloads=strict), catalog).status == "infeasible"
    late = [{**pair[0], "max_ttft_ms": 300}, {**pair[1], "requests_per_s": 5, "input_tokens": 3500}]
    kept = procure(request.replaced(workloads=late), catalog)
    assert any("these together" in note or "not cheaper" in note for note in kept.notes)
