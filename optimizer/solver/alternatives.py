"""What else there is: other ways to divide the chosen GPUs, and the best plan on each other SKU."""

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.search.search import Search, SearchResult
from vllm_opt.optimizer.solver.accepted import accepted_plan, best_of_groups
from vllm_opt.optimizer.solver.close_calls import best_for_at_most
from vllm_opt.optimizer.space.objective import unit_cost_microusd
from vllm_opt.optimizer.space.points import Candidate, Unit

MOST_VARIANTS = 3
"""Variants of the chosen SKU that are listed."""
DEARER_WITHOUT_STAGES = 2.0
"""A plan without pipeline stages is listed up to this many times the cost."""


def alternatives(search: Search, result: SearchResult, main: Choice, most: int | None = None) -> tuple[Plan, ...]:
    """The best variants of the chosen SKU and the best plan on each other one; the N best layouts for `top`.

    What a rule rejects after all is left out. `most`: no more than the first so many are made.
    """
    setting, order, scores = search.setting, search.order, search.scores
    top, used = setting.request.top, main.unit
    variants = () if top else _variants(search, main)
    groups: dict[object, list[Candidate]] = {}
    for candidate in result.candidates:
        unit = candidate.unit
        if top is None and unit.facts.sku.gpu.id != used.facts.sku.gpu.id:
            groups.setdefault(unit.facts.sku.gpu.id, []).append(candidate)
        elif top is not None and (key := _shown_as(unit)) != _shown_as(used):
            groups.setdefault(key, []).append(candidate)
    wanted = min(len(groups) if top is None else top, len(groups) if most is None else max(0, most - len(variants)))
    found = best_of_groups(setting, groups.values(), order, scores, wanted)
    return (*variants, *(plan for _, plan in found))[:most]


def _shown_as(unit: Unit) -> tuple[object, ...]:
    """What counts as one layout in a list of the best: with CUDA graphs or without, it is the same one."""
    return unit.facts.layout.model_copy(update={"enforce_eager": False}), unit.replicas


def _variants(search: Search, main: Choice) -> tuple[Plan, ...]:
    """Other ways to divide the same model over the same GPUs, in the same formats: the best of each, three at most."""
    setting, used = search.setting, main.unit
    sku, layout = used.facts.sku, used.facts.layout
    servers = [
        server.with_replicas(used.gpu_count // server.shape.gpus)
        for server in search.servers.of(sku)
        if server.weights is used.facts.weights
        and server.shape.kv_cache_dtype == layout.kv_cache_dtype
        and server.shape.block_size == layout.block_size
        and used.gpu_count % server.shape.gpus == 0
        and server.replicas <= used.gpu_count // server.shape.gpus <= server.most
    ]
    groups: dict[object, list[Candidate]] = {}
    for candidate in search.solve_servers(servers):
        way = _division(candidate.unit)
        if way != _division(used):
            groups.setdefault(way, []).append(candidate)
    found = best_of_groups(setting, groups.values(), search.order, search.scores, MOST_VARIANTS)
    return (*_without_stages(search, main), *(plan for _, plan in found))[:MOST_VARIANTS]


def _without_stages(search: Search, main: Choice) -> tuple[Plan, ...]:
    """The best plan on the chosen SKU that passes no layers on, where the chosen one does: what most people run."""
    setting, used = search.setting, main.unit
    if used.shape.pipeline == 1 or setting.request.pipeline_parallel_size is not None or search.is_over():
        return ()
    best = best_for_at_most(
        search, search.order, unit_cost_microusd(used) * DEARER_WITHOUT_STAGES,
        lambda server: server.sku.gpu.id == used.facts.sku.gpu.id and server.shape.pipeline == 1,
    )  # fmt: skip
    plan = None if best is None else accepted_plan(setting, best.choice)
    return () if plan is None else (plan,)


def _division(unit: Unit) -> tuple[object, ...]:
    shape = unit.shape
    return shape.tensor, shape.pipeline, shape.data, shape.context, shape.experts
