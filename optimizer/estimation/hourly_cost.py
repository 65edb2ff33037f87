"""What GPUs cost per hour, and what that makes of a million output tokens."""

from vllm_opt.constraints.rules.budget import MICRO, microusd
from vllm_opt.optimizer.contract.answer import Cost, Performance
from vllm_opt.profiles.nouns.price import HourlyPrice

SECONDS_PER_HOUR = 3600


def cost_of(price: HourlyPrice | None, gpu_count: int, performance: Performance | None) -> Cost | None:
    """Money per hour and per million output tokens; None for a SKU without a price."""
    if price is None:
        return None
    hourly = microusd(price.usd_per_gpu_hour) * gpu_count / MICRO
    tokens_per_hour = performance.output_tokens_per_s * SECONDS_PER_HOUR if performance else 0
    return Cost(
        usd_per_hour=hourly,
        usd_per_million_output_tokens=hourly / tokens_per_hour * 1e6 if tokens_per_hour > 0 else None,
        price_source=price.source,
        price_date=price.as_of,
        provider=price.provider,
    )
