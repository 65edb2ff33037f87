"""Relaxations that are a choice: another weight format, KV dtype, quality floor or SKU."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vllm_opt.optimizer.questions.points import is_feasible
from vllm_opt.optimizer.questions.questions import Atlas, Question
from vllm_opt.optimizer.questions.witness import witness
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

ASKS_KV_DTYPE, ASKS_QUALITY, ASKS_FORMAT, ASKS_SKU = 0.1, 0.3, 0.4, 0.7
"""How much a choice asks beside the logarithms of numbers: an fp8 cache about as much as 10 % fewer tokens, another
card about as much as half of them."""


def choices(atlas: Atlas, question: Question, catalog: Catalog) -> Iterator[tuple[dict[str, Any], float]]:
    """Yield each choice that alone makes the request feasible, with how much it asks."""
    yield from _kv_dtype(atlas, question, catalog)
    if question.setting.request.quantization or is_feasible(atlas, question.without("quality")):
        yield from _format(atlas, question, catalog)
    yield from _sku(atlas, question, catalog)


def _feasible(atlas: Atlas, setting: SolveSetting) -> bool:
    """Whether a changed setting has a plan; by the same deadline."""
    return witness(atlas.of(setting), Question(setting)) is not None


def _kv_dtype(atlas: Atlas, question: Question, catalog: Catalog) -> Iterator[tuple[dict[str, Any], float]]:
    """The dtypes that a request may choose between on its own, when one was named."""
    request = question.setting.request
    for dtype in ("auto", "fp8"):
        if request.kv_cache_dtype in ("any", dtype):
            continue
        if _feasible(atlas, resolve_solve(request.replaced(kv_cache_dtype=dtype), catalog)):
            yield {"kv_cache_dtype": dtype}, ASKS_KV_DTYPE
            return


def _format(atlas: Atlas, question: Question, catalog: Catalog) -> Iterator[tuple[dict[str, Any], float]]:
    """The best format that is named away or has no published accuracy, and the highest floor that admits one more."""
    setting, request = question.setting, question.setting.request
    wide = resolve_solve(request.replaced(quantization=()), catalog) if request.quantization else setting
    accepted = {item.quantization.id for item in setting.formats if item.accepted}
    others = sorted(
        (item for item in wide.formats if item.quantization.id not in accepted),
        key=lambda item: (-(item.quality.recovery or 0.0), item.publisher_rank),
    )
    for item in others:
        only = replace(setting, formats=(replace(item, accepted=True),))
        if not _feasible(atlas, only):
            continue
        low = item.quality.low(request.confidence)
        if not request.quantization and low is not None:
            floor = int(low * 1000) / 1000
            if _feasible(atlas, resolve_solve(request.replaced(min_quality=floor), catalog)):
                yield {"min_quality": floor}, ASKS_QUALITY
            return
        if _feasible(atlas, resolve_solve(request.replaced(quantization=item.quantization.id), catalog)):
            yield {"quantization": item.quantization.id}, ASKS_FORMAT
            return


def _sku(atlas: Atlas, question: Question, catalog: Catalog) -> Iterator[tuple[dict[str, Any], float]]:
    """The cheapest other SKU that would do, when some were named."""
    request = question.setting.request
    if not request.gpu or question.setting.machine_gpus:
        return
    try:
        everything = resolve_solve(request.replaced(gpu=()), catalog)
    except InvalidRequest:
        return  # nothing has a price, so there is nothing to choose from unless it is named
    named = {item.gpu.id for item in question.setting.gpus}
    others = tuple(item for item in everything.gpus if item.gpu.id not in named)
    if not others:
        return
    setting = replace(everything, gpus=others)
    plan = witness(atlas.of(setting), Question(setting))
    if plan is not None and _feasible(atlas, resolve_solve(request.replaced(gpu=plan.gpu), catalog)):
        yield {"gpu": plan.gpu}, ASKS_SKU
