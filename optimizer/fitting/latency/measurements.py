"""Published serving measurements as observations that the latency model can be compared with.

One row of the JSONL file is one measurement: model, gpu, parallel sizes, lengths, load, and what was measured. The free
text in `notes` says what kind of load it was; the kinds below are those that the model has a formula for.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.fitting.latency.observation import CONTROLLED_SOURCES, Kind, Observation
from vllm_opt.optimizer.fitting.latency.releases import release_of
from vllm_opt.optimizer.fitting.latency.scripts import Script, script_of
from vllm_opt.optimizer.fitting.latency.stated import checkpoint_of, stated_observation, why_not_stated
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.latency_constants import version_key

REQUIRED_KEYS = (
    *("source_id", "framework", "model", "gpu", "num_gpus", "tp", "dp", "ep", "weight_precision", "kv_precision"),
    *("isl", "osl", "request_rate", "max_concurrency", "num_prompts", "notes"),
)
MEASURED_KEYS = (
    *("request_throughput", "output_tok_s", "e2e_ms"),
    *("mean_ttft_ms", "median_ttft_ms", "mean_tpot_ms", "median_tpot_ms"),
)
SEQUENCES_BY_DEFAULT = 256.0
TOKENS_BY_DEFAULT = 8192.0
OTHER_TRUST, OLD_TRUST = 0.6, 0.35
FIRST_V1 = (0, 8)
RANDOM_LENGTH_SHARE = {"inferencex": 0.9}
"""InferenceX draws lengths uniformly in [0.8, 1] of the nominal ones."""

FIRST_ASYNCHRONOUS = "0.15"
"""The range of releases that schedules asynchronously without being asked."""


@cache
def names() -> dict[str, dict[str, str]]:
    """Catalogue ids by the names that measurements use."""
    text = files("vllm_opt.profiles").joinpath("data/measured_models.json").read_text(encoding="utf-8")
    return {key: value for key, value in json.loads(text).items() if isinstance(value, dict)}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSONL file; raises InvalidRequest naming the line that is not a JSON object."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"Cannot read the measurements '{path}': {error}.") from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InvalidRequest(f"Line {number} of '{path}' is not JSON: {error.msg}.") from None
        if not isinstance(row, dict) or not isinstance(row.get("measured"), dict):
            raise InvalidRequest(f"Line {number} of '{path}' is not a measurement: it needs an object 'measured'.")
        missing = [key for key in REQUIRED_KEYS if key not in row]
        if missing:
            raise InvalidRequest(f"Line {number} of '{path}' lacks '{missing[0]}'.")
        row["measured"] = {**dict.fromkeys(MEASURED_KEYS), **row["measured"]}
        rows.append(row)
    return rows


def number_after(pattern: str, notes: str) -> float | None:
    """The number that follows a word in the notes."""
    found = re.search(pattern + r"[= ](\d+(?:\.\d+)?)", notes)
    return float(found[1]) if found else None


def why_skipped(row: dict[str, Any]) -> str | None:
    """Why a row cannot be used, or None: other engines, unknown names, known bad series, unknown load."""
    if "estimate_request" in row:
        return why_not_stated(row)
    model = row["model"]
    rejected = {
        "other engine": row["framework"] != "vllm",
        "model not in the catalogue": model not in names()["models"],
        "GPU not in the catalogue": row["gpu"] not in names()["gpus"],
        "precision not stated": row["weight_precision"] not in names()["precisions"],
        "lengths not stated": not row["isl"] or not row["osl"] or row["osl"] < 2,
        "known bad: implies more than 60 % of the peak": model == "nvidia/Llama-3.1-8B-Instruct-FP8",
        "known bad: four times the roofline, probably eager": model.startswith("Qwen/Qwen3-235B"),
        "known bad: capped server": (model, row["gpu"], row["max_concurrency"])
        == ("openai/gpt-oss-120b", "H100-SXM", 512),
        "multimodal or unstated load": row["source_id"] in ("vllm-recipes", "price-compass", "ravichrn-a10"),
        "vendor-tuned submission": row["source_id"].startswith("mlperf"),
        "open loop beyond saturation": in_flight(row) is None and saturated(row),
        "burst in several waves": kind_of(row) == "burst" and (users_of(row) or 0) > SEQUENCES_BY_DEFAULT,
        "client that cannot keep up": row["source_id"] == "sariekr-gpu-conc",
        "users not stated": row["source_id"] in CONTROLLED_SOURCES and users_of(row) is None,
    }
    return next((reason for reason, holds in rejected.items() if holds), None)


def in_flight(row: dict[str, Any]) -> float | None:
    """Most requests in flight of a run at a request rate, where the notes tell it."""
    return number_after("max in flight", str(row["notes"] or ""))


def saturated(row: dict[str, Any]) -> bool:
    """Whether the server fell behind the request rate."""
    if not str(row["notes"] or "").startswith("request rate"):
        return False
    served = row["measured"]["request_throughput"]
    return served is None or served < 0.85 * float(row["request_rate"])


def kind_of(row: dict[str, Any]) -> Kind:
    """The kind of load, from the notes."""
    notes, prompts, users = str(row["notes"] or ""), row["num_prompts"], row["max_concurrency"]
    if row["request_rate"] == "offline" or "offline" in notes or "max_num_seqs=" in notes[:14]:
        return "offline"
    if notes.startswith("request rate"):
        return "closed" if saturated(row) else "open"
    if notes.startswith("burst") or "burst:" in notes or "simultaneous requests" in notes:
        return "burst"
    return "burst" if prompts and users and prompts < 2 * users else "closed"


def measured_of(row: dict[str, Any], kind: Kind, engines: float) -> dict[str, float]:
    """The trustworthy values of a row; a controlled closed loop implies its throughput by Little's law."""
    values, notes = row["measured"], str(row["notes"] or "")
    found: dict[str, float | None] = {
        "tpot": values["median_tpot_ms"] or values["mean_tpot_ms"],
        "ttft": values["median_ttft_ms"] or values["mean_ttft_ms"],
    }
    lockstep = row["source_id"] == "cloudrift" and (row["max_concurrency"] or 0) > 4
    if kind == "offline" or "cache" in notes or saturated(row) or lockstep:
        found["ttft"] = None
    if kind == "burst" and found["tpot"] is None:
        return {}
    if kind in ("offline", "closed") and not notes.startswith("request rate"):
        found["throughput"] = throughput_of(row, engines)
    if found["throughput" if "throughput" in found else "tpot"] is None and values["e2e_ms"]:
        found["e2e"] = values["e2e_ms"]
    return {name: value for name, value in found.items() if value}


def busy_engines(row: dict[str, Any]) -> float:
    """Data-parallel engines that have a request."""
    return min(float(row["dp"] or 1), users_of(row) or float("inf"))


def users_of(row: dict[str, Any]) -> float | None:
    """Requests in flight over all engines: stated, named in the notes, or all prompts at once."""
    noted = number_after("silicon_concurrency", str(row["notes"] or ""))
    return row["max_concurrency"] or in_flight(row) or noted or prompts_at_once(row)


def prompts_at_once(row: dict[str, Any]) -> float | None:
    """Prompts of a batch over all engines: what was served in the stated time, where that is a multiple of the prompts.

    Some sources state the prompts of one of several replicas, and the throughput of all.
    """
    prompts, served = row["num_prompts"], row["measured"]["request_throughput"]
    elapsed_s = number_after("elapsed", str(row["notes"] or ""))
    if not prompts or not served or not elapsed_s or (row["dp"] or 1) == 1:
        return float(prompts) if prompts else None
    return float(prompts * max(1.0, round(served * elapsed_s / prompts)))


def throughput_of(row: dict[str, Any], engines: float) -> float | None:
    """Output tokens/s of one engine."""
    values = row["measured"]
    if row["source_id"] in CONTROLLED_SOURCES:
        last = values["median_ttft_ms"] + (row["osl"] - 1) * values["median_tpot_ms"]
        return float((users_of(row) or 0) / engines * row["osl"] / last * 1e3)
    if values["output_tok_s"]:
        return float(values["output_tok_s"] / engines)
    if values["request_throughput"]:
        return float(values["request_throughput"] * row["osl"] / engines)
    return None


def observation(row: dict[str, Any]) -> Observation:
    """One usable row as an observation."""
    if "estimate_request" in row:
        return stated_observation(row)
    notes = str(row["notes"] or "")
    kind, engines, script = kind_of(row), busy_engines(row), script_of(row)
    precision = names()["precisions"][row["weight_precision"]]
    model = names()["models"][row["model"]]
    share = RANDOM_LENGTH_SHARE.get(row["source_id"], 1.0)
    users = users_of(row)
    stated = number_after("max_num_seqs", notes) or SEQUENCES_BY_DEFAULT
    controlled = row["source_id"] in CONTROLLED_SOURCES
    load = (
        float(row["request_rate"]) if kind == "open" else max(1.0, float(users or 4 * SEQUENCES_BY_DEFAULT) / engines)
    )
    return Observation(
        model=model,
        gpu=gpu_of(row, notes),
        quantization="mxfp4" if model.startswith("openai/gpt-oss") else fp8_kind(row, precision),
        kv_cache_dtype="fp8" if has_narrow_cache(row, script) else "auto",
        tensor_parallel_size=int(row["tp"] or row["num_gpus"] or 1),
        data_parallel_size=int(row["dp"] or 1) if row["ep"] and row["ep"] > 1 and "nginx" not in notes else 1,
        expert_parallel=bool(row["ep"] and row["ep"] > 1),
        enforce_eager="enforce-eager" in notes,
        kind=kind,
        load=load,
        max_num_seqs=max(load, stated) if controlled or kind == "offline" else stated,
        max_num_batched_tokens=number_after("max-num-batched-tokens", notes) or scripted_tokens(script, row),
        input_tokens=share * float(row["isl"]),
        output_tokens=max(2.0, share * float(row["osl"])),
        source=row["source_id"],
        release=release_of(row),
        trust=1.0 if controlled else trust_of(row),
        prefix_hit_share=0.0,
        memory_bound_load=kind != "open" and not controlled and (users is None or users / engines > 0.75 * stated),
        host_release=FIRST_ASYNCHRONOUS if script.asynchronous else "",
        checkpoint=checkpoint_of(row["model"]),
        prompts_per_user=prompts_per_user(row, users),
        largest_capture=script.largest_capture,
        mean_ttft=not row["measured"]["median_ttft_ms"],
        burstiness=(number_after("burstiness", notes) if kind == "open" else None) or 1.0,
        length_range=(number_after("range ratio", notes) if kind == "open" else None) or 0.0,
        measured=measured_of(row, kind, engines),
    )


def has_narrow_cache(row: dict[str, Any], script: Script) -> bool:
    """Whether the KV cache held 8 bits: the row says so, or the source's published script does."""
    return script.narrow_cache or "fp8" in str(row["kv_precision"]) or "kv=fp8" in str(row["notes"] or "")


def scripted_tokens(script: Script, row: dict[str, Any]) -> float:
    """Tokens of one step at most: what the source's script passes, else vLLM's default."""
    return TOKENS_BY_DEFAULT if script.prompts_per_step is None else script.prompts_per_step * float(row["isl"])


def prompts_per_user(row: dict[str, Any], users: float | None) -> float:
    """Requests that each user of a run sent one after another; infinite where the run's length is not stated."""
    prompts = row["num_prompts"]
    return max(1.0, float(prompts) / users) if prompts and users else float("inf")


def trust_of(row: dict[str, Any]) -> float:
    """Weight of a row that is not from a controlled source: the first engine tells little of today's."""
    return OTHER_TRUST if version_key(release_of(row)) >= FIRST_V1 else OLD_TRUST


def gpu_of(row: dict[str, Any], notes: str) -> str:
    """Catalogue id of the card; an RTX PRO 6000 whose edition is named is that one."""
    if row["gpu"] == "RTX-PRO-6000" and "Workstation" in notes:
        return "rtx-pro-6000-ws"
    return names()["gpus"][row["gpu"]]


def fp8_kind(row: dict[str, Any], precision: str) -> str:
    """Official FP8 releases of these makers scale in 128 x 128 blocks; a Marlin backend computes in 16 bit."""
    if "backend marlin" in str(row["notes"]):
        return {"fp8": "int8_w8a16", "nvfp4": "nvfp4_w4a16"}.get(precision, precision)
    block = ("MiniMaxAI/", "Qwen/", "deepseek-ai/")
    return "fp8_block" if precision == "fp8" and row["model"].startswith(block) else precision


def observations(rows: Iterable[dict[str, Any]]) -> tuple[list[Observation], Counter[str]]:
    """All usable rows, and how many rows were left out for which reason."""
    found, skipped = [], Counter[str]()
    for row in rows:
        reason = why_skipped(row)
        if reason:
            skipped[reason] += 1
            continue
        one = observation(row)
        if one.measured:
            found.append(one)
        else:
            skipped["nothing that the model predicts"] += 1
    return found, skipped
