"""Procurement from a demand to an answer: money by hand, honest sums, conflicts and relaxations that hold."""

import csv
import html
import io
import json
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from openpyxl import load_workbook

from vllm_opt.optimizer import FleetRequest, procure
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.orders.order_sums import paid_in
from vllm_opt.optimizer.orders.page import fleet_page, fleet_summary
from vllm_opt.optimizer.orders.render import deployable_files, fleet_csv, fleet_workbook, render_fleet
from vllm_opt.optimizer.procurement.answer import FleetAnswer
from vllm_opt.optimizer.procurement.demand_file import read_demand
from vllm_opt.optimizer.procurement.offers import Market
from vllm_opt.optimizer.procurement.problem import resolve_fleet
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
CHAT: dict[str, Any] = {
    "name": "chat", "model": "Qwen/Qwen2.5-7B-Instruct", "requests_per_s": 10, "input_tokens": 1000,
    "output_tokens": 200, "target_context": 4096, "max_tpot_ms": 60,
}  # fmt: skip


def demand(**changes: Any) -> FleetRequest:
    """One chat workload on two SKUs, without the comparisons that take most of the time."""
    fields: dict[str, Any] = {"workloads": [CHAT], "inventory": {"gpu": ["l40s", "h100-sxm"]}, "comparisons": False}
    return FleetRequest(**{**fields, **changes})


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture(scope="module")
def answer(catalog: Catalog) -> FleetAnswer:
    return procure(demand(comparisons=True, money={"price": {"l40s": 1.0, "h100-sxm": 3.0}}), catalog)


def test_the_bill_is_gpus_times_price_times_730_hours(answer: FleetAnswer) -> None:
    assert answer.status == "optimal"
    assert answer.totals is not None
    prices = {"l40s": 1.0, "h100-sxm": 3.0}
    hourly = sum(prices[order.gpu] * order.gpus for order in answer.nodes)
    assert answer.totals.usd_per_hour == hourly
    assert answer.totals.usd_per_month == pytest.approx(730 * hourly)
    assert answer.objectives[0].value == pytest.approx(730 * hourly)
    assert answer.objectives[0].gap == 0.0
    tokens = 10 * 1200 * 730 * 3600
    assert answer.totals.tokens_per_month == tokens
    assert answer.totals.usd_per_million_tokens == pytest.approx(730 * hourly / tokens * 1e6, abs=1e-4)


def test_capacity_covers_the_peak_and_utilisation_says_how_much(answer: FleetAnswer) -> None:
    mine = [item for item in answer.assignments if item.workload == "chat"]
    assert sum(item.capacity for item in mine) >= 10
    assert sum(item.load for item in mine) == pytest.approx(10)
    for item in mine:
        assert item.utilisation == pytest.approx(item.load / item.capacity, abs=1e-3)
        assert item.gpus == item.replicas * item.plan.tensor_parallel_size * item.gpu_part
        assert item.plan.replicas == item.replicas


def test_no_cheaper_fleet_on_one_kind_of_gpu(answer: FleetAnswer) -> None:
    assert answer.totals is not None
    assert {fleet.name for fleet in answer.single_gpu_fleets} == {"l40s", "h100-sxm"}
    for fleet in answer.single_gpu_fleets:
        assert fleet.usd_per_month is not None
        assert fleet.usd_per_month >= answer.totals.usd_per_month
        assert fleet.relative == pytest.approx(fleet.usd_per_month / answer.totals.usd_per_month - 1, abs=1e-4)


def test_more_demand_and_higher_prices_never_make_it_cheaper(answer: FleetAnswer) -> None:
    relative = {change.name: change.relative for change in answer.sensitivity}
    assert relative["demand -20 %"] is not None
    assert relative["demand +20 %"] is not None
    assert relative["demand -20 %"] <= 0 <= relative["demand +20 %"]
    for name, change in relative.items():
        if name.startswith("price"):
            assert change is not None
            assert (change <= 0) == name.endswith("-20 %") or change == 0


def test_owning_costs_depreciation_power_and_hosting(catalog: Catalog) -> None:
    request = demand(
        inventory={"gpu": ["h100-sxm"], "gpus_per_node": {"h100-sxm": 8}},
        money={
            "acquire": "buy",
            "purchase": {
                "years": 4, "usd_per_gpu": {"h100-sxm": 30000}, "usd_per_server": 100000, "watts_per_server": 4400,
                "usd_per_kwh": 0.1, "pue": 1.5, "hosting_usd_per_kw_month": 146,
            },
        },
    )  # fmt: skip
    (offer,) = Market(request, catalog).offers()
    assert offer.node.capex_cents == (8 * 30000 + 100000) * 100
    assert offer.node.watts == 8 * 700 + 4400
    # 340,000 USD over 35,040 hours; 10 kW x 1.5 x 0.10 USD + 10 kW x 146 USD / 730 h = 1.50 + 2.00 USD per hour
    assert offer.node.amortised_micro_usd_per_hour == ceil(Fraction(340_000 * 10**6, 4 * 8760))
    assert offer.node.micro_usd_per_hour == 3_500_000


def test_break_even_is_price_over_rent_less_running_cost(catalog: Catalog) -> None:
    bought = procure(
        demand(
            comparisons=True,
            inventory={"gpu": ["h100-sxm"]},
            money={
                "acquire": ["rent", "buy"], "price": {"h100-sxm": 2.0},
                "purchase": {"usd_per_gpu": {"h100-sxm": 30000}, "usd_per_kwh": 0.1, "pue": 1.0},
            },
        ),
        catalog,
    )  # fmt: skip
    (case,) = bought.break_even
    assert case.rent_usd_per_gpu_month == 1460.0
    assert case.running_usd_per_gpu_month == pytest.approx(0.7 * 0.1 * 730)
    assert case.months == pytest.approx(30000 / (1460 - 51.1), abs=0.05)


def test_rented_nodes_come_whole_and_show_their_idle_gpus(catalog: Catalog) -> None:
    request = demand(
        inventory={"gpu": ["h100-sxm"], "gpu_sharing": False}, money={"node_price": {"h100-sxm": 16.0}}
    )  # fmt: skip
    fleet = procure(request, catalog)
    (order,) = fleet.nodes
    assert order.gpus == 8 * order.nodes
    assert order.usd_per_hour == 16.0 * order.nodes
    assert order.idle_gpus == order.gpus - sum(item.gpus for item in fleet.assignments)


def test_peak_and_headroom_multiply_and_round_up(catalog: Catalog) -> None:
    request = demand(workloads=[{**CHAT, "requests_per_s": 0.1, "peak_factor": 1.1}], headroom=0.3)
    (asked,) = resolve_fleet(request, catalog).problem.demands
    assert asked.units == (143_000,)
    (third,) = resolve_fleet(demand(workloads=[{**CHAT, "requests_per_s": 0.33333333}]), catalog).problem.demands
    assert third.units == (333_334,)


def test_servers_that_share_a_gpu_keep_their_budgets_and_contexts_within_it(catalog: Catalog) -> None:
    asked = resolve_fleet(demand(), catalog)
    shared = [plan for plan in asked.plans.values() if plan.cut > 1]
    assert shared
    for plan in shared:
        terms = plan.candidate.unit.facts.terms
        choice = plan.choice(1)
        outside = terms.headroom_needed_bytes(
            choice.max_num_batched_tokens, choice.max_num_seqs, plan.setting.request.confidence
        )
        assert ceil(choice.gpu_memory_utilization * terms.total_bytes) + outside <= terms.total_bytes // plan.cut


def test_a_budget_that_is_short_is_explained_and_the_relaxation_holds(catalog: Catalog) -> None:
    poor = demand(limits={"budget_usd_per_month": 100})
    refused = procure(poor, catalog)
    assert refused.status == "infeasible"
    assert refused.explanation is not None
    assert {conflict.rule for conflict in refused.explanation.conflict} == {"demand:chat", "budget"}
    helped = {relaxation.change: relaxation.to for relaxation in refused.explanation.relaxations}
    enough = helped["limits.budget_usd_per_month"]
    assert procure(demand(limits={"budget_usd_per_month": enough}), catalog).status == "optimal"
    assert procure(demand(limits={"budget_usd_per_month": enough - 0.02}), catalog).status == "infeasible"


def test_a_quota_that_is_short_says_by_how_much(catalog: Catalog) -> None:
    refused = procure(
        demand(
            workloads=[{**CHAT, "requests_per_s": 60}],
            inventory={"gpu": ["l40s", "h100-sxm"], "quota": {"l40s": 1, "h100-sxm": 1}},
        ),
        catalog,
    )
    assert refused.explanation is not None
    assert [conflict.rule for conflict in refused.explanation.conflict] == [
        "demand:chat",
        "quota:h100-sxm",
        "quota:l40s",
    ]
    more = next(r for r in refused.explanation.relaxations if r.change == "inventory.quota.h100-sxm")
    assert f"short by {more.to - 1}" in more.message
    again = {"gpu": ["l40s", "h100-sxm"], "quota": {"l40s": 1, "h100-sxm": more.to}}
    assert procure(demand(workloads=[{**CHAT, "requests_per_s": 60}], inventory=again), catalog).status == "optimal"


def test_a_workload_without_any_plan_names_the_rules_that_ruled_it_out(catalog: Catalog) -> None:
    refused = procure(demand(workloads=[{**CHAT, "max_ttft_ms": 0.5}]), catalog)
    assert refused.status == "infeasible"
    assert refused.explanation is not None
    assert "ttft" in refused.explanation.conflict[0].message


def test_most_demand_within_a_budget_serves_the_first_priority(catalog: Catalog) -> None:
    second = {**CHAT, "name": "batch", "requests_per_s": 200, "priority": 2}
    fleet = procure(
        demand(workloads=[CHAT, second], objective="served", limits={"budget_usd_per_month": 4000}), catalog
    )
    served = {item.workload: item.served for item in fleet.workloads}
    assert served["chat"] == 1.0
    assert 0 < served["batch"] < 1
    assert fleet.totals is not None
    assert fleet.totals.usd_per_month <= 4000


def test_stock_is_taken_before_anything_is_rented(catalog: Catalog) -> None:
    stock = [{"gpu": "a100-sxm4-80gb", "nodes": 1}]
    fleet = procure(demand(inventory={"gpu": ["l40s"], "stock": stock}), catalog)
    assert [order.kind for order in fleet.nodes] == ["stock"]
    assert fleet.totals is not None
    assert fleet.totals.new_usd_per_month == 0.0
    assert fleet.nodes[0].usd_per_hour == pytest.approx(3.2 * 1.3 * 0.12)


def test_synthetic_prices_only_when_asked_and_marked_so(catalog: Catalog) -> None:
    unpriced = next(g.id for g in catalog.gpus if not catalog.offers_of(g) and g.vendor == "nvidia" and
                    g.memory_gb_nominal >= 24)  # fmt: skip
    with pytest.raises(InvalidRequest, match="no GPU can be had"):
        procure(demand(inventory={"gpu": [unpriced]}), catalog)
    offers = Market(demand(inventory={"gpu": [unpriced]}, money={"synthetic_prices": True}), catalog).offers()
    assert [offer.synthetic for offer in offers] == [True]


def test_unknown_names_are_answered_with_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UnknownProfile, match="h100"):
        procure(demand(inventory={"gpu": ["h10"]}), catalog)
    with pytest.raises(UnknownProfile, match="provider 'lamda' is not in the price list; did you mean 'Lambda'"):
        procure(demand(money={"provider": ["lamda"]}), catalog)


def test_json_yaml_csv_and_html_say_the_same(answer: FleetAnswer) -> None:
    document = json.loads(render_fleet(answer, "json", Screen()))
    assert document == answer.model_dump(mode="json")
    assert document["schema"] == "vllm-opt/fleet/1"
    orders, servers, workloads = (
        list(csv.DictReader(io.StringIO(fleet_csv(answer, name)))) for name in ("orders", "servers", "workloads")
    )
    assert [float(row["usd_per_month"]) for row in orders] == [order.usd_per_month for order in answer.nodes]
    assert [float(row["usd_1_year"]) for row in orders] == [
        round(order.usd_per_hour * 8760, 2) for order in answer.nodes
    ]
    assert [row["workload"] for row in servers] == [item.workload for item in answer.assignments]
    assert all(row["command"].startswith("vllm serve ") for row in servers)
    assert [float(row["served"]) for row in workloads] == [item.served for item in answer.workloads]
    with pytest.raises(InvalidRequest, match="--table 'floppy' is not one of"):
        fleet_csv(answer, "floppy")
    page = fleet_page(answer)
    for order in answer.nodes:
        assert order.gpu in page
        assert order.as_of in page


def test_the_report_of_a_fleet_draws_it_and_hostile_names_stay_names(answer: FleetAnswer) -> None:
    page = fleet_page(answer)
    assert page.count("<svg") >= 2
    for item in answer.assignments:
        for curve in ("Time to first token over load", "Time per output token over load", "Throughput over load"):
            assert f"<h3>{item.workload} on {item.gpu}: {curve}</h3>" in page
    assert fleet_summary(answer) in html.unescape(page)
    hostile = "<script>alert(1)</script>"
    assignments = tuple(item.model_copy(update={"workload": hostile}) for item in answer.assignments)
    orders = tuple(order.model_copy(update={"provider": hostile, "source": hostile}) for order in answer.nodes)
    request = {**answer.request, "name": hostile}
    assert "<script" not in fleet_page(
        answer.model_copy(update={"assignments": assignments, "nodes": orders, "request": request})
    )


def test_a_purchase_is_paid_once_and_run_every_year(answer: FleetAnswer) -> None:
    order = answer.nodes[0].model_copy(update={"kind": "buy", "capex_usd": 30_000.0, "usd_per_hour": 2.0})
    running = 2.0 * 8760 - 30_000 / 3
    assert paid_in(order, 1, 3.0) == pytest.approx(30_000 + running)
    assert paid_in(order, 3, 3.0) == pytest.approx(30_000 + 3 * running)
    rented = order.model_copy(update={"kind": "rent", "capex_usd": 0.0})
    assert paid_in(rented, 3, 3.0) == pytest.approx(3 * 2.0 * 8760)


def test_a_workbook_holds_the_tables_of_the_fleet(answer: FleetAnswer) -> None:
    book = load_workbook(io.BytesIO(fleet_workbook(answer)))
    assert book.sheetnames == ["orders", "servers", "workloads"]
    assert book["orders"].max_row == 1 + len(answer.nodes)


def test_deployable_files_are_one_a_node_or_one_a_service(answer: FleetAnswer) -> None:
    nodes = sum(host.hosts for order in answer.nodes for host in order.hosts if host.servers)
    scripts = [name for name in deployable_files(answer, "command") if name.endswith(".sh")]
    assert len(scripts) == nodes == len([n for n in deployable_files(answer, "compose") if n.startswith("node-")])
    assert len(deployable_files(answer, "env")) == len(answer.assignments)
    with pytest.raises(InvalidRequest, match="--deploy 'floppy' is not one of"):
        deployable_files(answer, "floppy")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("procure_*.yaml")), ids=lambda path: path.stem)
def test_the_examples_are_decided_with_proof_and_dated_prices(path: Path, catalog: Catalog) -> None:
    fleet = procure(read_demand(path).replaced(comparisons=False, time_limit=600), catalog)
    assert fleet.status == "optimal"
    assert all(order.source and order.as_of and not order.synthetic for order in fleet.nodes)
    assert all(item.served == 1.0 for item in fleet.workloads)
    table = render_fleet(fleet, "table", Screen())
    assert "What to order" in table
    assert "Price sources" in table


def test_the_command_answers_and_its_exit_codes_tell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "demand.json"
    path.write_text(json.dumps(demand().model_dump(mode="json", exclude_unset=True)), encoding="utf-8")
    assert main(["procure", str(path), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "optimal"
    poor = demand(limits={"budget_usd_per_month": 1}).model_dump(mode="json", exclude_unset=True)
    path.write_text(json.dumps(poor), encoding="utf-8")
    assert main(["procure", str(path)]) == 1
    assert "What cannot hold together" in capsys.readouterr().out
    assert main(["procure", str(tmp_path / "none.yaml")]) == 2
    assert main(["procure"]) == 2
    assert capsys.readouterr().out == ""


def test_the_same_demand_gives_the_same_answer(catalog: Catalog) -> None:
    first, second = (procure(demand(), catalog).model_dump(mode="json") for _ in range(2))
    first["solver"].pop("wall_ms")
    second["solver"].pop("wall_ms")
    assert first == second


def test_a_model_too_large_for_one_node_spans_two_whole_ones(catalog: Catalog) -> None:
    large = {**CHAT, "model": "deepseek-ai/DeepSeek-V3", "requests_per_s": 0.2, "max_tpot_ms": None}
    large["quantization"] = "native"  # 671 GB of FP8; the published AWQ fits one node
    node = {"gpu": ["h100-sxm"], "max_gpus_per_replica": 16}
    alone = procure(demand(workloads=[large], inventory=node, money={"node_price": {"h100-sxm": 20}}), catalog)
    assert alone.status == "infeasible"
    linked = procure(
        demand(workloads=[large], inventory={**node, "internode_gbps": 400}, money={"node_price": {"h100-sxm": 20}}),
        catalog,
    )
    assert [item.plan.gpu_count // item.replicas for item in linked.assignments] == [16]
    assert linked.nodes[0].nodes == 2 * linked.assignments[0].replicas


def test_a_fault_of_one_workload_says_which(catalog: Catalog) -> None:
    with pytest.raises(UnknownProfile, match="workload 'chat': "):
        procure(demand(workloads=[{**CHAT, "model": "Qwen/Qwen2.5-7B-Instrukt"}]), catalog)


def test_every_allowed_gpu_is_used_or_said_why_not(answer: FleetAnswer) -> None:
    used = {order.gpu for order in answer.nodes}
    told = {sentence.partition(":")[0] for sentence in answer.rejected}
    assert used | told == {"l40s", "h100-sxm"}
    assert not used & told
