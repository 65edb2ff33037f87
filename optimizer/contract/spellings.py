"""Spellings of a request that people use and that mean one of its fields: `users`, `2xrtx-4090`."""

import re
from typing import Any

from vllm_opt.optimizer.contract.field_types import _one
from vllm_opt.profiles.printable import printable

OTHER_NAMES = {"users": "concurrency"}
_COUNT_FIRST = re.compile(r"(\d{1,6})\s*[xX×*]\s*(\S.*)")
_COUNT_LAST = re.compile(r"(\S.*?)\s*[:×]\s*(\d{1,6})")
SIZES = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "replicas")


def renamed(data: dict[str, Any]) -> dict[str, Any]:
    """Read other names of fields.

    Raises:
        ValueError: a field is given under both names.
    """
    fields = dict(data)
    for other, name in OTHER_NAMES.items():
        if other in fields:
            value = fields.pop(other)
            if value is not None and fields.get(name) is not None:
                raise ValueError(f"{other} and {name} are the same; give one of them")
            fields = {**fields, name: value} if value is not None else fields
    return fields


def with_gpu_count(data: dict[str, Any]) -> dict[str, Any]:
    """Read '2xrtx-4090' (also 'rtx-4090:2') as the SKU and `gpus` 2.

    Raises:
        ValueError: several SKUs with different numbers, or another number beside it.
    """
    names, counts = _counted_names(data.get("gpu"))
    if not counts:
        return data
    if len(set(counts)) > 1 or len(counts) < len(names):
        raise ValueError("gpu names several SKUs with different numbers of GPUs; name them plainly and give gpus")
    if data.get("gpus") is not None and str(data["gpus"]) != str(counts[0]):
        raise ValueError(
            f"gpu says {counts[0]} GPUs and gpus says {printable(str(data['gpus'])[:20])}; give one of them"
        )
    return {**data, "gpu": names, "gpus": counts[0]}


def with_server_size(data: dict[str, Any]) -> dict[str, Any]:
    """Read '2xrtx-4090' as the SKU and, where no size is given, tensor_parallel_size 2.

    Raises:
        ValueError: the sizes that are given make another number of GPUs.
    """
    names, counts = _counted_names(data.get("gpu"))
    if not counts or len(names) != 1:
        return data
    given = {size: data[size] for size in SIZES if data.get(size) is not None}
    if not given:
        return {**data, "gpu": names[0], "tensor_parallel_size": counts[0]}
    product = 1
    for value in given.values():
        product *= int(value) if str(value).isdigit() else 0
    if product not in (0, counts[0]):
        raise ValueError(f"gpu says {counts[0]} GPUs and the sizes make {product}: {', '.join(given)}")
    return {**data, "gpu": names[0]}


def _counted_names(value: Any) -> tuple[list[Any], list[int]]:
    """The names without their numbers, and the numbers."""
    items = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
    names: list[Any] = []
    counts: list[int] = []
    for item in items:
        first = _COUNT_FIRST.fullmatch(item.strip()) if isinstance(item, str) else None
        last = _COUNT_LAST.fullmatch(item.strip()) if isinstance(item, str) and not first else None
        if first or last:
            number, name = (first.group(1), first.group(2)) if first else (last.group(2), last.group(1))  # type: ignore[union-attr]
            counts.append(int(number))
            names.append(name.strip())
        else:
            names.append(item)
    return names, counts


def without_negation(data: dict[str, Any]) -> dict[str, Any]:
    """Read `no_default_limits`, the option's own name, as the field `default_limits` the other way round."""
    if "no_default_limits" not in data:
        return data
    fields = dict(data)
    negated = _one(fields.pop("no_default_limits"))
    if negated is not None and not isinstance(negated, bool):
        raise ValueError("no_default_limits must be true or false")
    return fields if negated is None else {**fields, "default_limits": not negated}
