"""From a plan's JSON to what can be checked: each service with its load, its predictions and its limits.

Read are answers of `solve` (vllm-opt/plan/1), `procure` (fleet/1) and `estimate` (estimate/1), and the `expected.json`
(expected/1) of a folder that --save-dir wrote.
"""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import with_home

LARGEST_PLAN_BYTES = 64 << 20
NAMES_IN_A_FOLDER = ("expected.json", "plan.json", "answer.json")
MOST_SERVICES = 1_000
LARGEST_COUNT = 2**31 - 1
LIMITS = {"ttft_ms": "max_ttft_ms", "tpot_ms": "max_tpot_ms", "output_tokens_per_s": "min_output_tokens_per_s"}


@dataclass(frozen=True)
class Promise:
    """One service: what it is, the load that its predictions hold for, and what was predicted."""

    name: str
    model: str
    served: str
    gpu: str
    gpus: int
    replicas: int
    layout: dict[str, Any]
    """What a benchmark's metadata has to say for `calibrate`: sizes, formats, release, flags."""
    users: int
    requests_per_s: float | None
    lengths: tuple[int, int]
    predicted: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    limits: dict[str, float]
    prefix_hit_share: float = 0.0
    notes: tuple[str, ...] = field(default=())


def read_promises(path: str) -> tuple[Promise, ...]:
    """Every service of a plan's file or folder that has a prediction of speed.

    Raises:
        InvalidRequest: there is no such file, or it is no plan, or holds no plan.
    """
    place = _plan_file(path)
    shown = printable(str(place)[-200:])
    document = _document(place, shown)
    kind = document.get("schema")
    try:
        found = _promises(document, kind)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        what = printable(str(error)[:80])
        raise InvalidRequest(
            f"'{shown}' is not as vllm-opt writes it ({what}); write it again with --format json"
        ) from None
    if found is None:
        raise InvalidRequest(
            f"'{shown}' is no plan of vllm-opt (schema {printable(repr(str(kind)[:40]))}); give what `solve --format "
            "json` or --save-dir wrote"
        )
    if not found:
        raise InvalidRequest(f"'{shown}' holds no plan with a prediction of speed, so there is nothing to verify")
    return found


def _plan_file(path: str) -> Path:
    place = with_home(path)
    shown = printable(path[-200:])
    try:
        if place.is_dir():
            inside = next((place / name for name in NAMES_IN_A_FOLDER if (place / name).is_file()), None)
            if inside is None:
                raise InvalidRequest(f"the folder '{shown}' holds no expected.json; give one that --save-dir wrote")
            return inside
        if not place.is_file():
            raise InvalidRequest(f"there is no plan '{shown}'; give what `solve --format json` or --save-dir wrote")
    except (OSError, ValueError):
        raise InvalidRequest(f"'{shown}' is not a usable path") from None
    return place


def _document(place: Path, shown: str) -> dict[str, Any]:
    try:
        with place.open("rb") as stream:
            raw = stream.read(LARGEST_PLAN_BYTES + 1)
    except OSError as error:
        raise InvalidRequest(f"cannot read '{shown}': {error.strerror}") from None
    if len(raw) > LARGEST_PLAN_BYTES:
        raise InvalidRequest(f"'{shown}' is larger than {LARGEST_PLAN_BYTES >> 20} MiB, which no plan is")
    try:
        content = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        raise InvalidRequest(f"'{shown}' is not JSON; write the plan with --format json") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"'{shown}' is no plan: it must be a JSON object")
    return content


def _promises(document: dict[str, Any], kind: object) -> tuple[Promise, ...] | None:
    """The services of a document; None where it is no plan at all."""
    if kind == "vllm-opt/plan/1":
        plan = document["plan"]
        return () if plan is None else (promise_of("plan", plan, document["request"]),)
    if kind == "vllm-opt/expected/1":
        services = [one for one in document["services"][:MOST_SERVICES] if one.get("plan") is not None]
        return tuple(
            promise_of(str(one["name"]), one["plan"], {**document["request"], **_own_request(one)}) for one in services
        )
    if kind == "vllm-opt/fleet/1":
        request = document.get("request") or {}
        return tuple(
            promise_of(str(one["workload"]), one["plan"], {**_workload(request, str(one["workload"]))})
            for one in document["assignments"][:MOST_SERVICES]
            if one.get("plan") is not None
        )
    if kind == "vllm-opt/estimate/1":
        if document.get("performance") is None:
            return ()
        return (_estimated(document),)
    return None


def _own_request(service: dict[str, Any]) -> dict[str, Any]:
    """What one service of a fleet is asked, where it differs from the request of the whole."""
    own = service.get("request")
    if isinstance(own, dict):
        return dict(own)
    lengths = service.get("lengths")
    if isinstance(lengths, list) and len(lengths) == 2:
        return {"input_tokens": lengths[0], "output_tokens": lengths[1]}
    return {}


def _workload(request: dict[str, Any], name: str) -> dict[str, Any]:
    """One workload of a demand file: its lengths and limits have the names that a solve request gives them."""
    rows = request.get("workloads") or ()
    return next((dict(row) for row in rows if isinstance(row, dict) and row.get("name") == name), {})


def promise_of(name: str, plan: dict[str, Any], request: dict[str, Any]) -> Promise:
    """One plan with the request that it answers."""
    performance, flags = plan["performance"], plan["flags"]
    load = performance.get("load") or {}
    length = int(flags.get("max-model-len") or 8192)
    replicas = whole(plan["replicas"])
    return Promise(
        name=printable(name[:80]), model=str(plan["model"]), served=str(plan.get("checkpoint") or plan["model"]),
        gpu=str(plan["gpu"]), gpus=whole(plan["gpu_count"]), replicas=replicas,
        layout=_layout(plan, flags), users=whole(load.get("users") or performance["concurrency"]),
        requests_per_s=rate_of(load), lengths=lengths_of(request, length),
        predicted=predicted_of(performance), intervals=intervals_of(performance), limits=limits_of(request),
        prefix_hit_share=_hits(request),
    )  # fmt: skip


def _hits(request: dict[str, Any]) -> float:
    """The share of prompts that a benchmark must find again, in the prefix cache or in the KV offload tier."""
    return sum(float(request.get(name) or 0.0) for name in ("prefix_hit_share", "offload_hit_share"))


def _layout(plan: dict[str, Any], flags: dict[str, Any]) -> dict[str, Any]:
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization", "kv_cache_dtype",
             "vllm_version", "replicas")  # fmt: skip
    found = {name: plan[name] for name in names}
    for flag in ("max-num-seqs", "max-num-batched-tokens"):
        if flag in flags:
            found[flag.replace("-", "_")] = flags[flag]
    if plan.get("expert_parallel"):
        found["enable_expert_parallel"] = True
    if flags.get("enforce-eager"):
        found["enforce_eager"] = True
    return found


def _estimated(document: dict[str, Any]) -> Promise:
    request, performance = document["request"], document["performance"]
    names = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization", "kv_cache_dtype",
             "vllm_version", "replicas", "max_num_seqs", "max_num_batched_tokens")  # fmt: skip
    layout = {name: request.get(name, 1) for name in names}
    gpus = math.prod(whole(request.get(name, 1)) for name in (*names[:3], "replicas"))
    load = performance.get("load") or {}
    return Promise(
        name="estimate", model=str(request["model"]), served=str(request["model"]), gpu=str(request["gpu"]), gpus=gpus,
        replicas=whole(request.get("replicas", 1)), layout={**layout, "kv_cache_dtype": str(layout["kv_cache_dtype"])},
        users=whole(performance["concurrency"]), requests_per_s=rate_of(load), lengths=lengths_of(request, 8192),
        predicted=predicted_of(performance), intervals=intervals_of(performance), limits=limits_of(request),
        prefix_hit_share=_hits(request),
    )  # fmt: skip


def whole(value: Any) -> int:
    """A positive whole number; raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value <= LARGEST_COUNT:
        raise ValueError(f"{str(value)[:40]} is no count")
    return int(value)


def rate_of(load: dict[str, Any]) -> float | None:
    """Requests per second of an open loop."""
    rate = load.get("requests_per_s")
    return float(rate) if load.get("pattern") == "poisson" and rate else None


def lengths_of(request: dict[str, Any], length: int) -> tuple[int, int]:
    """The typical request: as answered, else by the contract's defaults."""
    output = request.get("output_tokens") or max(2, length // 8)
    given = request.get("input_tokens") or max(1, length - int(output))
    return whole(given), whole(output)


def predicted_of(performance: dict[str, Any]) -> dict[str, float]:
    """The predicted means."""
    found = {name: performance.get(name) for name in LIMITS}
    return {name: float(value) for name, value in found.items() if value is not None and float(value) > 0}


def intervals_of(performance: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """The predicted intervals."""
    found = performance.get("interval") or {}
    return {name: (float(found[name][0]), float(found[name][1])) for name in LIMITS if name in found}


def limits_of(request: dict[str, Any]) -> dict[str, float]:
    """The limits that were asked for."""
    found = {name: request.get(limit) for name, limit in LIMITS.items()}
    return {name: float(value) for name, value in found.items() if value is not None}
