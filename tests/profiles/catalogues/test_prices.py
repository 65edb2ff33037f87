"""The price list and the price that a SKU takes."""

import math
from pathlib import Path

import pytest

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.prices import cheapest_price
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.price import HourlyPrice

CATALOG = Catalog()


def test_the_whole_list_is_there() -> None:
    assert len(CATALOG.hourly_prices) == 94
    assert len(CATALOG.purchase_prices) == 7
    assert len(CATALOG.market_ranges) == 5


@pytest.mark.parametrize("price", CATALOG.hourly_prices, ids=lambda price: f"{price.provider}-{price.instance_type}")
def test_every_price_has_source_date_and_sane_numbers(price: HourlyPrice) -> None:
    assert price.source
    assert "20" in price.as_of or "snapshot" in price.as_of
    assert 0.1 < price.usd_per_gpu_hour < 20
    assert price.usd_per_instance_hour is not None
    assert price.gpus_per_instance is not None
    assert price.usd_per_instance_hour / price.gpus_per_instance == pytest.approx(price.usd_per_gpu_hour, rel=1e-3)
    assert CATALOG.gpu(price.gpu).id == price.gpu
    assert price.billing in ("on-demand", "serverless", "marketplace", "spot")
    if "public GitHub file #" in price.source:
        assert price.note is not None
        assert "cannot be opened" in price.note


def test_purchase_prices_and_ranges_have_sources() -> None:
    for row in (*CATALOG.purchase_prices, *CATALOG.market_ranges):
        assert row.source.startswith("https://")
        assert row.usd_low <= row.usd_high
        assert CATALOG.gpu(row.gpu).id == row.gpu


def test_the_default_is_the_cheapest_trusted_on_demand_row() -> None:
    price = CATALOG.price_of("h100")
    assert price is not None
    assert (price.provider, price.usd_per_gpu_hour, price.confidence) == ("FluidStack", 2.10, "medium")
    for gpu in CATALOG.gpus:
        chosen = CATALOG.price_of(gpu.id)
        rows = [
            row.usd_per_gpu_hour
            for row in CATALOG.hourly_prices
            if row.gpu == gpu.id and row.billing == "on-demand" and row.confidence != "low"
        ]
        assert (chosen.usd_per_gpu_hour if chosen else None) == min(rows, default=None)


def test_skus_without_an_on_demand_price_have_none() -> None:
    listed = {price.gpu for price in CATALOG.hourly_prices}
    assert len(CATALOG.gpus) - len(listed) == 41
    priced = {gpu.id for gpu in CATALOG.gpus if CATALOG.price_of(gpu.id)}
    assert listed - priced == {"rtx-3090", "rtx-4090", "rtx-5090", "rtx-pro-6000-ws", "a40"}
    assert CATALOG.price_of("gb300") is None


def test_a_named_provider_restricts_and_admits_other_billing() -> None:
    aws = CATALOG.price_of("h100-sxm", ["aws"])
    assert aws is not None
    assert (aws.provider, aws.usd_per_gpu_hour) == ("AWS", 6.88)
    vast = CATALOG.price_of("h100-sxm", ["vast.ai"])
    assert vast is not None
    assert (vast.billing, vast.usd_per_gpu_hour) == ("marketplace", 1.91)
    assert CATALOG.price_of("mi300x", ["AWS"]) is None
    with pytest.raises(UnknownProfile, match="provider 'AWSS' is not in the price list; did you mean 'AWS'"):
        CATALOG.price_of("h100", ["AWSS"])


def row(provider: str, usd: float, billing: str = "on-demand", confidence: str = "medium") -> HourlyPrice:
    return HourlyPrice.model_validate(
        {
            "gpu": "h100-sxm",
            "provider": provider,
            "usd_per_gpu_hour": usd,
            "billing": billing,
            "as_of": "2026",
            "confidence": confidence,
            "source": "test",
        }
    )


def test_low_confidence_and_spot_never_win_unnamed() -> None:
    prices = (row("a", 1.0, confidence="low"), row("b", 2.0, billing="spot"), row("c", 3.0), row("d", 3.0))
    assert cheapest_price("h100-sxm", prices) == prices[2]
    assert cheapest_price("h100-sxm", prices, ["b", "c"]) == prices[1]
    assert cheapest_price("h100-sxm", prices, ["a"]) == prices[0]
    assert cheapest_price("h100-sxm", prices, ["a", "d"]) == prices[3]
    assert cheapest_price("l4", prices) is None


def test_an_override_wins_under_any_name() -> None:
    price = CATALOG.price_of("h100-sxm", overrides={"H100": 1.25, "l4": 0.1})
    assert price is not None
    assert (price.usd_per_gpu_hour, price.provider, price.source) == (1.25, "user", "--price")
    other = CATALOG.price_of("l40s", overrides={"H100": 1.25})
    assert other is not None
    assert other.provider != "user"
    with pytest.raises(UnknownProfile, match="GPU 'h1000' is unknown"):
        CATALOG.price_of("l4", overrides={"h1000": 1.0})
    for usd in (0, -1, math.nan, math.inf, 1e300):
        with pytest.raises(InvalidRequest, match="the price of h100-sxm must be"):
            CATALOG.price_of("h100", overrides={"h100": usd})


def prices_file(folder: Path, text: str) -> Catalog:
    path = folder / "my-prices.yaml"
    path.write_text(text)
    return Catalog(prices_file=path)


def test_a_users_list_stands_in_place_of_the_own_one(tmp_path: Path) -> None:
    catalog = prices_file(tmp_path, "H100: 1.99\nmi300x: 2.5\n")
    price = catalog.price_of("h100-sxm")
    assert price is not None
    assert (price.gpu, price.usd_per_gpu_hour, price.as_of) == ("h100-sxm", 1.99, "not stated")
    assert "my-prices.yaml" in price.source
    assert catalog.price_of("l4") is None
    assert catalog.purchase_prices == ()


def test_a_users_list_may_hold_full_rows_and_purchases(tmp_path: Path) -> None:
    catalog = prices_file(
        tmp_path,
        "hourly:\n"
        "  - {gpu: h100, usd_per_gpu_hour: 2, provider: Ours, billing: reserved-1y, as_of: 2026-05-01}\n"
        "purchase:\n"
        "  - {gpu: l4, usd_low: 2000, usd_high: 2500}\n",
    )
    assert catalog.price_of("h100") is None
    reserved = catalog.price_of("h100", ["ours"])
    assert reserved is not None
    assert (reserved.billing, reserved.as_of) == ("reserved-1y", "2026-05-01")
    assert [(price.gpu, price.usd_low, price.as_of) for price in catalog.purchase_prices] == [
        ("l4", 2000, "not stated")
    ]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("h1000: 1\nh100: 2\nzzz: 3\n", ["hourly[0]: GPU 'h1000' is unknown", "hourly[2]: GPU 'zzz' is unknown"]),
        ("h100: -1\nl4: cheap\n", ["hourly[0].usd_per_gpu_hour (h100-sxm)", "hourly[1].usd_per_gpu_hour (l4)"]),
        ("- {gpu: h100, usd_per_gpu_hour: 1, colour: red}", ["hourly[0].colour (h100-sxm): extra inputs"]),
        ("- 5", ["hourly[0] must be a mapping with a 'gpu'"]),
        ("hourly: 5", ["'hourly' must be a list, not int"]),
        ("5", ["must hold a list of prices"]),
        ("{}", ["must hold a list of prices"]),
    ],
)
def test_a_wrong_list_names_every_fault(tmp_path: Path, text: str, problems: list[str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _ = prices_file(tmp_path, text).hourly_prices
    for problem in problems:
        assert problem in str(caught.value)
