"""Which rows of a landscape a question reaches, with how many replicas, and at which widths of a step."""

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens
from vllm_opt.constraints.money.bill import microusd
from vllm_opt.optimizer.questions.landscape import Landscape
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.questions.question import UNLIMITED, Question
from vllm_opt.optimizer.space.layouts import kv_cache_dtypes
from vllm_opt.optimizer.space.points import token_grid
from vllm_opt.optimizer.space.setting import SolveSetting


def accepted_storage(setting: SolveSetting) -> frozenset[str]:
    """The (weight format, KV dtype, SKU) that keep the quality asked, as `Landscape.stored` names them."""
    context = setting.targets.target_context
    return frozenset(
        f"{item.quantization.id} {dtype} {sku.gpu.id}"
        for item in setting.formats
        for dtype in kv_cache_dtypes(setting)
        for sku in setting.gpus
        if item.accepts(dtype, sku.gpu, context)
    )


def eligible_rows(question: Question, landscape: Landscape) -> Integers:
    """Rows whose SKU, formats and refusals the question allows."""
    setting, rows = question.setting, landscape.rows
    if not len(rows):
        return rows
    skus = question.skus or {item.gpu.id for item in setting.gpus}
    formats = {item.quantization.id for item in setting.formats}
    keep = landscape.sku.within(skus) & landscape.quantization.within(formats)
    keep &= landscape.kv_dtype.within(kv_cache_dtypes(setting)) & landscape.matches(setting.request)
    if "quality" in question.active:
        keep &= landscape.accepted(setting, accepted_storage)
    for rule, refused in landscape.refused.items():
        if rule in question.active:
            keep &= ~refused
    return rows[keep]


def replicas_allowed(question: Question, landscape: Landscape, rows: Integers) -> Integers:
    """The most replicas of each row; 0 where not even one is allowed. Rows of one fare have the same."""
    of_row = landscape.fare[rows]
    fares = np.flatnonzero(np.bincount(of_row, minlength=len(landscape.fares)))
    by_fare = np.zeros(len(landscape.fares), dtype=np.int64)
    by_fare[fares] = _replicas_of_fares(question, landscape, fares)
    allowed: Integers = by_fare[of_row]
    return allowed


def _replicas_of_fares(question: Question, landscape: Landscape, fares: Integers) -> Integers:
    targets = question.setting.targets
    gpus = np.array([landscape.fares[fare].server_gpus for fare in fares.tolist()], dtype=np.int64)
    most = np.full(len(fares), UNLIMITED, dtype=np.int64)
    exact = targets.gpus if "gpu_count" in question.active else None
    if "gpu_count" in question.active:
        most = (targets.gpus or targets.max_gpus) // gpus
    if exact is not None:
        most = np.where(exact % gpus == 0, exact // gpus, 0)
    fixed = exact is not None
    if "gpu_count" in question.active:
        held = landscape.by_fare(fares, ("obtainable",), lambda fare, count: fare.obtainable(count), most)
        most = np.where(held >= most, most, 0 if fixed else held)
    pinned = question.setting.request.replicas
    if pinned is not None:
        most = np.where((most >= pinned) & ((not fixed) | (most == pinned)), pinned, 0)
    limit = targets.max_hourly_cost
    if limit is not None and "budget" in question.active:
        allowed = microusd(limit)
        affordable = landscape.by_fare(
            fares, ("affordable", allowed), lambda fare, count: fare.most_at(allowed, 0, count), most
        )
        most = np.where(affordable >= most, most, 0 if fixed or pinned is not None else affordable)
    return most


def widths(question: Question, landscape: Landscape) -> dict[int, NDArray[np.bool_]]:
    """Every max_num_batched_tokens that is tried, with the kinds of rows that try it."""
    setting = question.setting
    found: dict[int, NDArray[np.bool_]] = {}
    for index, (gpu, chunked) in enumerate(landscape.kinds):
        default = default_max_num_batched_tokens(
            setting.engine, gpu, chunked_prefill=chunked, max_model_len=setting.targets.target_context,
            max_num_seqs=None,
        )  # fmt: skip
        for tokens in token_grid(setting, default, chunked_prefill=chunked):
            found.setdefault(tokens, np.zeros(len(landscape.kinds), dtype=bool))[index] = True
    return dict(sorted(found.items()))
