"""The price list and the offers that a request may take."""

import json
import math
import re
from pathlib import Path

import pytest
from strategies import offer

from vllm_opt.constraints.money.bill import cheapest_bill, machine_gpus, microusd
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.offers import OfferTerms, names_region, offers_for
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.price import Offer

CATALOG = Catalog()
H100 = CATALOG.gpu("h100-sxm")
PROVIDERS = sorted({row.provider for row in CATALOG.offers})


def prices_of(offers: tuple[Offer, ...]) -> list[tuple[str, str, float]]:
    return [(row.provider, row.billing, row.usd_per_hour) for row in offers]


@pytest.mark.parametrize("row", CATALOG.offers, ids=lambda row: f"{row.provider}-{row.instance_type}")
def test_every_offer_has_an_address_a_date_and_sane_numbers(row: Offer) -> None:
    assert re.match(r"https://|[\w.-]+/[\w.-]+:.+@[0-9a-f]{40}$", row.source)
    assert re.match(r"20\d\d(-\d\d(-\d\d)?)?$", row.as_of)
    assert 0.05 < row.usd_per_gpu_hour < 20
    assert row.billing in ("on-demand", "reserved-1y", "reserved-3y", "spot", "marketplace")
    assert CATALOG.gpu(row.gpu).id == row.gpu
    assert row.up_to_gpus is None or row.gpus == 1


def test_corrections_of_the_older_list_are_in() -> None:
    by_name = {(row.provider, row.gpu, row.billing): row.usd_per_gpu_hour for row in CATALOG.offers}
    assert "FluidStack" not in PROVIDERS
    assert by_name["RunPod", "h100-sxm", "on-demand"] == 3.99
    assert by_name["RunPod", "h100-sxm", "marketplace"] == 2.69
    machines = {row.instance_type: row.usd_per_hour for row in CATALOG.offers if row.billing == "on-demand"}
    assert machines["g7e.2xlarge"] == 3.36312
    assert (machines["a3-highgpu-8g"], machines["p6-b200.48xlarge"]) == (88.49, 113.9328)
    assert not any(row.gpu == "l4" and row.provider == "RunPod" for row in CATALOG.offers)


def test_purchase_prices_and_ranges_have_sources() -> None:
    for row in (*CATALOG.purchase_prices, *CATALOG.market_ranges):
        assert re.match(r"https://|[\w.-]+/[\w.-]+:.+@[0-9a-f]{40}$", row.source)
        assert row.usd_low <= row.usd_high
        assert CATALOG.gpu(row.gpu).id == row.gpu


@pytest.mark.parametrize("provider", PROVIDERS)
def test_a_provider_never_bills_less_than_a_whole_machine(provider: str) -> None:
    """Every SKU, every number of GPUs of one server and of separate ones, against the machines of that provider."""
    for gpu in CATALOG.gpus:
        machines = CATALOG.offers_of(gpu, OfferTerms(providers=(provider,)))
        assert {row.provider for row in machines} <= {provider}
        for replicas, server in ((1, 1), (1, 2), (3, 1), (2, 4), (1, 8), (9, 1)):
            bill = cheapest_bill(machines, replicas, server)
            if bill is None:
                assert all(machine_gpus(row) < server for row in machines)
                continue
            row = bill.offer
            assert bill.gpus_bought >= replicas * server
            assert bill.gpus_bought % row.gpus == 0
            assert bill.microusd_per_hour == microusd(row.usd_per_hour) * (bill.gpus_bought // row.gpus)
            assert bill.microusd_per_hour >= min(microusd(row.usd_per_hour) for row in machines)


def test_on_demand_of_trusted_rows_unless_asked() -> None:
    for gpu in CATALOG.gpus:
        for row in CATALOG.offers_of(gpu):
            assert row.billing == "on-demand"
            assert row.confidence != "low"
    spot = CATALOG.offers_of(H100, OfferTerms(billing=("spot",)))
    assert {row.billing for row in spot} == {"spot"}
    assert {row.billing for row in CATALOG.offers_of(H100, OfferTerms(("RunPod",)))} == {"on-demand"}
    assert {row.billing for row in CATALOG.offers_of(H100, OfferTerms(("vast.ai",)))} == {"marketplace"}
    both = CATALOG.offers_of(CATALOG.gpu("l4"), OfferTerms(("gcp",), ("Reserved-3Y", "on demand")))
    assert {row.billing for row in both} == {"on-demand", "reserved-3y"}
    with pytest.raises(InvalidRequest, match="billing 'spott' is unknown; did you mean 'spot'"):
        CATALOG.offers_of(H100, OfferTerms(billing=("spott",)))
    with pytest.raises(UnknownProfile, match="provider 'AWSS' is not in the price list; did you mean 'AWS'"):
        CATALOG.offers_of(H100, OfferTerms(("AWSS",)))


def test_skus_without_an_on_demand_price_have_none() -> None:
    without = {gpu.id for gpu in CATALOG.gpus if not CATALOG.offers_of(gpu)}
    assert without >= {"h200-nvl", "gb10", "arc-pro-b60", "b100", "h20", "mi325x", "a30"}
    assert not without & {"h100-sxm", "l4", "a40", "gb300", "mi355x", "b200"}


def test_low_confidence_only_where_a_named_provider_has_no_better() -> None:
    rows = (offer(1, 1.0, provider="a", confidence="low"), offer(1, 2.0, provider="b", billing="spot"),
            offer(1, 3.0, provider="c"))  # fmt: skip
    assert prices_of(offers_for(H100, rows, OfferTerms())) == [("c", "on-demand", 3.0)]
    assert prices_of(offers_for(H100, rows, OfferTerms(("a", "c")))) == [("a", "on-demand", 1.0), ("c", "on-demand", 3)]
    assert offers_for(H100, rows, OfferTerms(("b",))) == ()
    assert offers_for(CATALOG.gpu("l4"), rows, OfferTerms()) == ()


def test_the_newest_price_of_a_machine_counts() -> None:
    rows = (offer(8, 10.0, as_of="2026-01-01"), offer(8, 12.0, as_of="2026-11"), offer(8, 9.0, region="eu-west-1"))
    assert {row.usd_per_hour for row in offers_for(H100, rows, OfferTerms())} == {12.0, 9.0}


@pytest.mark.parametrize(
    ("name", "region", "meant"),
    [
        ("us", "us-east-1", True), ("us", "eastus2", True), ("us", "australiaeast", False),
        ("eu", "europe-west4", True),
        ("us-east-1", "us-east-1", True), ("us-east-1", "us-east-2", False), ("US", "all regions (US, EU)", True),
        ("us", "", False), ("finland", "Finland", True), (".*", "us-east-1", False),
    ],
)  # fmt: skip
def test_regions_by_their_words(name: str, region: str, meant: bool) -> None:
    assert names_region(name, region) is meant


def test_a_region_restricts_and_an_unknown_one_is_refused() -> None:
    found = CATALOG.offers_of(H100, OfferTerms(("AWS",), regions=("eu",)))
    assert found
    assert all("eu" in (row.region or "") for row in found)
    with pytest.raises(UnknownProfile, match="no offer of the price list is in region 'atlantis'"):
        CATALOG.offers_of(H100, OfferTerms(regions=("atlantis",)))


def test_a_price_per_gpu_and_owned_gpus_stand_in_place_of_and_beside_the_list() -> None:
    (own,) = CATALOG.offers_of(H100, OfferTerms(usd_per_gpu_hour={"h100-sxm": 1.25}))
    assert (own.usd_per_hour, own.gpus, own.up_to_gpus, own.provider, own.source) == (1.25, 1, 8, "user", "--price")
    first, *rest = CATALOG.offers_of(H100, OfferTerms(stock_gpus={"h100-sxm": 12}))
    assert (first.billing, first.usd_per_hour, first.gpus, first.stock_gpus) == ("owned", 0.0, 8, 12)
    assert rest == list(CATALOG.offers_of(H100))
    for usd in (0, -1, math.nan, math.inf, 1e300):
        with pytest.raises(InvalidRequest, match="the price of h100-sxm must be"):
            CATALOG.offers_of(H100, OfferTerms(usd_per_gpu_hour={"h100-sxm": usd}))


def prices_file(folder: Path, text: str) -> Catalog:
    path = folder / "my-prices.yaml"
    path.write_text(text)
    return Catalog(prices_file=path)


def test_a_users_list_stands_in_place_of_the_own_one(tmp_path: Path) -> None:
    catalog = prices_file(tmp_path, "H100: 1.99\nmi300x: 2.5\n")
    (price,) = catalog.offers_of(H100)
    assert (price.gpu, price.usd_per_hour, price.up_to_gpus, price.as_of) == ("h100-sxm", 1.99, 8, "not stated")
    assert "my-prices.yaml" in price.source
    assert catalog.offers_of(catalog.gpu("l4")) == ()
    assert catalog.purchase_prices == ()


def test_machines_of_a_users_list_are_paid_whole(tmp_path: Path) -> None:
    catalog = prices_file(
        tmp_path,
        "offers:\n  - {gpu: h100, gpus: 8, usd_per_hour: 20, provider: Ours, as_of: 2026-05-01}\nhourly: []\n",
    )
    (machine,) = catalog.offers_of(H100)
    assert (machine.gpus, machine.usd_per_hour, machine.up_to_gpus, machine.instance_type) == (8, 20, None, "8 GPUs")
    older = prices_file(
        tmp_path,
        "hourly:\n"
        "  - {gpu: h100, usd_per_gpu_hour: 2, gpus_per_instance: 8, billing: reserved-1y, note: x}\n"
        "purchase:\n"
        "  - {gpu: l4, usd_low: 2000, usd_high: 2500}\n",
    )
    assert older.offers_of(H100) == ()
    (reserved,) = older.offers_of(H100, OfferTerms(billing=("reserved-1y",)))
    assert (reserved.gpus, reserved.usd_per_hour, reserved.notes) == (8, 16, "x")
    assert [(price.gpu, price.usd_low, price.as_of) for price in older.purchase_prices] == [("l4", 2000, "not stated")]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("h1000: 1\nh100: 2\nzzz: 3\n", ["offers[0]: GPU 'h1000' is unknown", "offers[2]: GPU 'zzz' is unknown"]),
        ("h100: -1\nl4: cheap\n", ["offers[0] (h100-sxm): usd_per_gpu_hour", "offers[1] (l4): usd_per_gpu_hour"]),
        ("- {gpu: h100, usd_per_gpu_hour: 1, colour: red}", ["offers[0].colour (h100-sxm): extra inputs"]),
        ("- {gpu: h100, gpus: 8}", ["offers[0].usd_per_hour (h100-sxm)"]),
        ("- {gpu: h100, gpus: 0, usd_per_gpu_hour: 1}", ["offers[0].gpus (h100-sxm)"]),
        ("- {gpu: h100, gpus: 8, up_to_gpus: 8, usd_per_hour: 1}", ["gpus must be 1"]),
        ("- {gpu: h100, usd_per_gpu_hour: 1, as_of: soon}", ["offers[0].as_of (h100-sxm)"]),
        ("- {gpu: h100, usd_per_gpu_hour: 1, billing: barter}", ["offers[0].billing (h100-sxm)"]),
        ("- 5", ["offers[0] must be a mapping with a 'gpu'"]),
        ("offers: 5", ["'offers' must be a list, not a number"]),
        ("5", ["must hold a list of prices"]),
        ("{}", ["must hold a list of prices"]),
    ],
)
def test_a_wrong_list_names_every_fault(tmp_path: Path, text: str, problems: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _ = prices_file(tmp_path, text).offers
    for problem in problems:
        assert problem in str(caught.value)


def test_the_shipped_list_is_sorted_and_says_what_is_left_out() -> None:
    content = json.loads((Path(__file__).parents[3] / "profiles" / "data" / "prices.json").read_text())
    assert content["schema"] == "vllm-opt/prices/2"
    assert [row["gpu"] for row in content["offers"]] == sorted(row["gpu"] for row in content["offers"])
    assert any("Left out" in note for note in content["notes"])
