"""What an order comes to over years."""

from vllm_opt.optimizer.procurement.answer import FleetAnswer, NodeOrder

HOURS_PER_YEAR = 8760


def paid_in(order: NodeOrder, years: float, depreciation_years: float) -> float:
    """Dollars paid for an order in so many years: rent or running cost, and the purchase price once.

    usd_per_hour of what is bought holds its price spread over `depreciation_years`; that part is taken out again.
    """
    running = order.usd_per_hour * HOURS_PER_YEAR
    running -= order.capex_usd / depreciation_years if order.capex_usd else 0.0
    return order.capex_usd + running * years


def depreciation_years(answer: FleetAnswer) -> float:
    """Years over which the answer spreads what is bought."""
    return float(answer.request.get("money", {}).get("purchase", {}).get("years", 3.0))
