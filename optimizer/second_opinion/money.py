"""The bill counted again: servers are put on machines one by one, on every offer that the request allows."""

from vllm_opt.optimizer.second_opinion.subject import Subject
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.offers import OfferTerms
from vllm_opt.profiles.nouns.price import Offer

MICRO = 1_000_000


def terms_of(request: dict[str, object], catalog: Catalog) -> OfferTerms:
    """What a resolved request says about money."""

    def listed(name: str) -> list[object]:
        value = request.get(name) or []
        return list(value) if isinstance(value, list | tuple) else [value]

    def by_gpu(name: str) -> dict[str, object]:
        value = request.get(name) or []
        pairs = value.items() if isinstance(value, dict) else value
        return {catalog.gpu(str(gpu)).id: number for gpu, number in pairs}  # type: ignore[attr-defined]

    return OfferTerms(
        providers=tuple(str(name) for name in listed("provider")),
        billing=tuple(str(name) for name in listed("billing")),
        regions=tuple(str(name) for name in listed("region")),
        usd_per_gpu_hour={gpu: float(usd) for gpu, usd in by_gpu("price").items()},  # type: ignore[arg-type]
        stock_gpus={gpu: int(count) for gpu, count in by_gpu("owned").items()},  # type: ignore[call-overload]
    )


def hourly(offer: Offer, servers: int, server_gpus: int, nodes: int) -> int | None:
    """Millionths of a dollar per hour for so many servers on one offer; None when it cannot hold them."""
    each, price = server_gpus // nodes, round(offer.usd_per_hour * MICRO)
    size = offer.up_to_gpus or offer.gpus
    left = offer.stock_gpus
    machines: list[int] = []
    """Free GPUs of each machine that is taken."""
    for _ in range(servers * nodes):
        free = next((at for at, count in enumerate(machines) if count >= each), None)
        if free is None:
            take = size if left is None else min(size, left)
            if take < each:
                return None
            if left is not None:
                left -= take
            machines.append(take)
            free = len(machines) - 1
        machines[free] -= each
    if offer.up_to_gpus is not None:
        return servers * server_gpus * price
    return len(machines) * price


def cheapest(subject: Subject, catalog: Catalog) -> int | None:
    """The least that the plan's servers cost per hour on any offer allowed; None without a price."""
    offers = catalog.offers_of(subject.gpu, terms_of(subject.request, catalog))
    each = subject.server_gpus
    ray = subject.plan.flags.get("distributed-executor-backend") == "ray"
    nodes = -(-each // subject.gpu.gpus_per_node) if ray else 1
    bills = [hourly(offer, subject.plan.replicas, each, nodes) for offer in offers]
    return min((bill for bill in bills if bill is not None), default=None)
