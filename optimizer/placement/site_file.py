"""Reading a SITE.yaml: every fault is named with its line. The schema is pydantic's, in the words of JSON Schema."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from vllm_opt.optimizer.placement.request import InvalidSite, PlaceRequest
from vllm_opt.optimizer.procurement.demand_file import standard_schema
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.user_files import line_of, parse_user_text, read_user_file

SITE_SCHEMA = "vllm-opt/site/1"

EXAMPLE = """\
# A site: the nodes that you own, what they should serve, and (optional) what runs on them today.
# vllm-opt place site.yaml            the JSON schema of this file: vllm-opt place --schema
schema: vllm-opt/site/1
nodes:
  - name: big
    gpu: h100
    gpus: 8
    islands: switch          # NVLink through a switch: a tensor-parallel group may take any of the 8
    host_memory_gib: 512     # room for the weights of sleeping servers
    zone: rack-1
    count: 2                 # big-1 and big-2
  - name: small
    gpu: l40s
    gpus: 4
    islands: 2               # pairs below one PCIe switch
    host_memory_gib: 256
    zone: rack-2
links:
  - nodes: [big]             # pipelines may span big-1 and big-2
    gbps: 400
services:
  - name: assistant
    model: meta-llama/Llama-3.3-70B-Instruct
    workload: chat
    requests_per_s: 6
    replicas: {least: 2, most: 4}
    priority: 1
    spread: node
  - name: rag
    model: [Qwen/Qwen3-32B, Qwen/Qwen3-14B]   # either will do
    workload: rag
    requests_per_s: 2
    priority: 1
  - name: autocomplete
    model: Qwen/Qwen2.5-Coder-7B-Instruct
    target_context: 4096
    input_tokens: 1500
    output_tokens: 60
    requests_per_s: 3
    max_ttft_ms: 600
    priority: 2
  - name: night-batch
    model: meta-llama/Llama-3.1-8B-Instruct
    concurrency: 16
    target_context: 8192
    priority: 3
    cold: true               # may sleep: its weights wait in host memory
# placement:                 # what runs today; a server that stays is not restarted
#   - {service: assistant, node: big-1, gpus: [0, 1, 2, 3], tensor_parallel_size: 4}
objective: [served, headroom, moves, gpus, blocks]
"""


def read_site(path: str | Path, given: Mapping[str, object] | None = None) -> PlaceRequest:
    """Read a placement request from a YAML or JSON file; `given` keys stand in place of the file's.

    Raises:
        InvalidRequest: one sentence with file, line and what is wrong.
    """
    content = read_user_file(path)
    if isinstance(content, dict) and given:
        content = {**content, **given}

    def line(keys: tuple[str | int, ...]) -> int | None:
        while keys:
            found = line_of(path, keys)
            if found is not None:
                return found
            keys = keys[:-1]
        return None

    return _request(content, str(path), line)


def parse_site(text: str, shown: str = "site.yaml") -> PlaceRequest:
    """Read a placement request from text.

    Raises:
        InvalidRequest: one sentence with what is wrong.
    """
    return _request(parse_user_text(text, shown), shown, lambda _: None)


def _request(content: object, shown: str, line: Any) -> PlaceRequest:
    shown = printable(shown)
    if not isinstance(content, dict):
        raise InvalidRequest(f"{shown} must be a mapping with 'nodes' and 'services'; vllm-opt place --init writes one")
    fields = {str(key): value for key, value in content.items()}
    schema = fields.pop("schema", SITE_SCHEMA)
    if schema != SITE_SCHEMA:
        raise InvalidRequest(f"{shown}: schema must be '{SITE_SCHEMA}'")
    try:
        return PlaceRequest(**fields)
    except InvalidSite as fault:
        raise InvalidRequest(_sentence(fault.error, shown, line)) from None


def _sentence(error: ValidationError, shown: str, line: Any) -> str:
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = tuple(key for key in fault["loc"] if not (isinstance(key, str) and ("[" in key or key in VARIANTS)))
    at = line(path)
    where = f"{shown} line {at}" if at else shown
    name = printable(".".join(str(part) for part in path)[:80]) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key '{name}'{did_you_mean(str(path[-1]), known_keys())}"
    if fault["type"] == "missing":
        return f"{where}: '{name}' is missing"
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    if fault["type"] == "too_long":
        message = f"must hold at most {fault['ctx']['max_length']:,} entries"
    given = printable(repr(fault.get("input")))
    tail = f" (got {given})" if len(given) <= 60 else ""
    return f"{where}: {name}: {message[0].lower()}{message[1:]}{tail}"


VARIANTS = ("constrained-int", "int", "list", "tuple")


def known_keys() -> tuple[str, ...]:
    """Return every key that may stand in a site file."""
    schema = site_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return tuple(sorted({key for part in parts for key in part.get("properties", {})}))


def site_schema() -> dict[str, Any]:
    """Return the JSON schema of a site file."""
    schema: dict[str, Any] = standard_schema(PlaceRequest.model_json_schema(mode="validation"))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "vllm-opt site"
    schema["properties"] = {"schema": {"const": SITE_SCHEMA}, **schema["properties"]}
    return schema
