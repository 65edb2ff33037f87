"""The report of a solved plan: its curves are the plan's own, its sums are the bill's, hostile names stay names."""

import re

import pytest

from vllm_opt.optimizer import solve
from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.rendering.answer_page import answer_document, answer_page
from vllm_opt.optimizer.rendering.plan_charts import limits_of
from vllm_opt.optimizer.rendering.plan_money import ORDER_HEADINGS, order_table, ownership, per_million
from vllm_opt.optimizer.rendering.plan_plots import load_plots
from vllm_opt.optimizer.rendering.plan_series import PlanSeries
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.report.document import Link
from vllm_opt.profiles.catalogues.catalog import Catalog

HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def answer() -> Answer:
    return solve(SolveRequest(model="Qwen/Qwen3-8B", gpu=("l40s", "h100-sxm"), concurrency=16, price=("l40s=1",)))


@pytest.fixture(scope="module")
def series(answer: Answer) -> PlanSeries:
    assert answer.plan is not None
    return PlanSeries(answer.plan, answer.request)


def test_the_curve_over_load_goes_through_the_plan_and_rises(series: PlanSeries) -> None:
    assert series.faithful
    points = series.over_load()
    mine = next(one for one in points if one.load.users == 16)
    assert mine.ttft_ms == pytest.approx(series.plan.performance.ttft_ms, rel=0.02)
    assert [one.load.users for one in points] == sorted({one.load.users for one in points})
    rates = [one.output_tokens_per_s for one in points]
    assert rates == sorted(rates)


def test_sequences_at_once_shrink_as_they_grow(series: PlanSeries) -> None:
    points = series.over_context()
    assert len(points) > 3
    held = [running for _, running in points]
    assert held == sorted(held, reverse=True)


def test_a_plan_that_its_command_does_not_return_has_no_curves(series: PlanSeries) -> None:
    slower = series.plan.performance.model_copy(update={"ttft_ms": 3 * series.plan.performance.ttft_ms})
    other = PlanSeries(series.plan.model_copy(update={"performance": slower}), series.request)
    unread = PlanSeries(series.plan.model_copy(update={"command": "echo no server"}), series.request)
    for one in (other, unread):
        assert one.over_load() == one.over_context() == ()
        assert one.usd_per_million() is None


def test_the_order_sums_the_bill_and_links_its_price(answer: Answer, series: PlanSeries) -> None:
    cost = series.plan.cost
    assert cost is not None
    priced = series.plan.model_copy(
        update={"cost": cost.model_copy(update={
            "usd_per_hour": 3.0, "gpus_bought": 2, "price_source": f"a/b:c.csv@{'0' * 40}", "price_date": "2026-08-10",
        })}
    )  # fmt: skip
    table = order_table(priced)
    assert table is not None
    row = dict(zip([name for name, _ in ORDER_HEADINGS], table.rows[0], strict=True))
    assert (row["GPUs"], row["each, per hour"], row["per month"]) == ("2", "$1.50", "$2,190")
    assert (row["1 year"], row["3 years"]) == ("$26,280", "$78,840")
    assert row["price of"] == Link("2026-08-10", f"https://github.com/a/b/blob/{'0' * 40}/c.csv")
    assert order_table(series.plan.model_copy(update={"cost": None})) is None
    assert per_million(3.6, 1000) == pytest.approx(1.0)


def test_buying_pays_after_price_by_saved_rent(series: PlanSeries) -> None:
    catalog = Catalog()
    plan = next(
        series.plan.model_copy(update={"gpu": row.gpu}) for row in catalog.purchase_prices if row.gpu == "h100-sxm"
    )
    found = ownership(plan, catalog)
    assert found is not None
    assert found.months == pytest.approx(found.capex_usd / (found.rent_usd_per_month - found.running_usd_per_month))
    cost = plan.cost
    assert cost is not None
    free = plan.model_copy(update={"cost": cost.model_copy(update={"usd_per_hour": 0.0, "billing": "owned"})})
    assert ownership(free, catalog) is None


def test_the_report_has_every_part_and_a_sentence_to_repeat(answer: Answer) -> None:
    document = answer_document(answer)
    titles = [section.title for section in document.sections]
    for title in ("Order", "Demand, limits and what is predicted", "Over load and context", "Money"):
        assert title in titles
    assert re.search(r"serves? Qwen/Qwen3-8B to 16 users at once of up to 8,192 tokens each, for \$", document.summary)
    assert answer_page(answer) == answer_page(answer)
    assert answer_page(answer).count("<svg") >= 7


def test_hostile_names_are_harmless_everywhere(answer: Answer) -> None:
    plan = answer.plan
    assert plan is not None
    changed = plan.model_copy(update={"model": HOSTILE, "gpu": HOSTILE, "quantization": HOSTILE, "notes": (HOSTILE,)})
    request = {**answer.request, "model": HOSTILE, "assumed": [{"field": HOSTILE, "value": HOSTILE, "why": HOSTILE}]}
    hostile = answer.model_copy(
        update={"alternatives": (changed, plan), "pareto": (changed, plan), "notes": (HOSTILE,), "request": request}
    )
    assert "<script" not in answer_page(hostile)


def test_the_terminal_draws_the_same_load(answer: Answer) -> None:
    text = "\n".join(load_plots(answer, Screen(80, unicode=False)))
    assert text.isascii()
    assert "TTFT over users at once" in text
    assert "@ asked" in text or "asked @" in text


def test_a_limit_on_a_percentile_stands_beside_that_percentile() -> None:
    answer = solve(SolveRequest(
        model="Qwen/Qwen3-8B", gpu="h100-sxm", target_context=8192, input_tokens=1000, output_tokens=200,
        requests_per_s=20.0, max_ttft_ms=500.0, ttft_percentile=95,
    ))  # fmt: skip
    assert answer.plan is not None
    speed = answer.plan.performance
    held = limits_of(answer.request, speed)[0]
    assert (held.name, held.value, held.limit) == ("TTFT p95", speed.percentiles["ttft_ms"]["p95"], 500.0)
    low, high = speed.interval["ttft_ms"]
    assert held.interval == pytest.approx((low * held.value / speed.ttft_ms, high * held.value / speed.ttft_ms))
    document = answer_document(answer)
    assert document.subtitle == "20 requests/s of up to 8,192 tokens"
    assert f"at 20 requests/s, {speed.load.users} requests in flight" in document.summary
    assert "over requests" in answer_page(answer)


def test_a_percentile_that_nobody_asked_for_is_none(answer: Answer) -> None:
    assert answer.plan is not None
    assert answer.plan.performance.at_percentile("ttft_ms", None) is None
    assert answer.plan.performance.at_percentile("ttft_ms", 61.5) is None
    assert all(" p" not in held.name for held in limits_of(answer.request, answer.plan.performance))
