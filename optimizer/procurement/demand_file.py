"""Reading a DEMAND.yaml: every fault is named with its line."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from vllm_opt.optimizer.procurement.request import FleetRequest, InvalidDemand
from vllm_opt.profiles.errors import InvalidRequest, did_you_mean
from vllm_opt.profiles.reading.user_files import read_user_text

MOST_NODES = 50_000
Lines = dict[tuple[str | int, ...], int]


def read_demand(path: str | Path, workload: str | None = None) -> FleetRequest:
    """Read a fleet request from YAML, JSON or a table of workloads; `workload` is the preset of those that name none.

    Raises:
        InvalidRequest: one sentence with file, line and what is wrong.
    """
    from vllm_opt.optimizer.procurement.demand_table import is_table, read_demand_table

    if is_table(path):
        return read_demand_table(path, workload)
    return parse_demand(read_user_text(path), str(path), workload)


def parse_demand(text: str, shown: str = "demand", workload: str | None = None) -> FleetRequest:
    """Read a fleet request from text.

    Raises:
        InvalidRequest: one sentence with file, line and what is wrong.
    """
    reader = _Reader()
    lines = reader.lines
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = reader.plain(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}" if mark else ""
        raise InvalidRequest(f"{shown}{where}: not readable as YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise InvalidRequest(f"{shown}: not readable as YAML: {str(error).splitlines()[0][:200]}") from None
    except RecursionError:
        raise InvalidRequest(f"{shown} is nested too deeply to be a demand file") from None
    except _Fault as fault:
        raise InvalidRequest(f"{shown} line {fault.line}: {fault}") from None
    if not isinstance(content, dict):
        raise InvalidRequest(f"{shown} must be a mapping that has 'workloads'; see examples/procure_*.yaml")
    if content.pop("schema", "vllm-opt/demand/1") != "vllm-opt/demand/1":
        raise InvalidRequest(f"{shown} line {lines.get(('schema',), 1)}: schema must be 'vllm-opt/demand/1'")
    if workload is not None and isinstance(content.get("workloads"), list):
        content["workloads"] = [
            {"workload": workload, **each} if isinstance(each, dict) else each for each in content["workloads"]
        ]
    try:
        return FleetRequest(**content)
    except InvalidDemand as fault:
        raise InvalidRequest(_sentence(fault.error, lines, shown)) from None


class _Fault(Exception):  # noqa: N818 - carries a line to the sentence
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class _Reader:
    """Turns YAML nodes into plain data and remembers the line of every path."""

    def __init__(self) -> None:
        self.lines: Lines = {}
        self._seen = 0
        self._scalars = yaml.SafeLoader("")

    def plain(self, node: yaml.Node, path: tuple[str | int, ...] = ()) -> Any:
        """Return the data of a node, aliases written out."""
        self._seen += 1
        line = node.start_mark.line + 1
        if self._seen > MOST_NODES:
            raise _Fault(line, f"more than {MOST_NODES} values, counted through aliases")
        self.lines[path] = line
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError, OverflowError):
            raise _Fault(line, f"cannot read the value '{str(node.value)[:60]}'") from None

    def _mapping(self, node: yaml.MappingNode, path: tuple[str | int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise _Fault(line, "a key must be a plain word")
            key = key_node.value
            if key in result:
                raise _Fault(line, f"'{key[:60]}' is given twice")
            result[key] = self.plain(value_node, (*path, key))
            self.lines[(*path, key)] = line
        return result


def _sentence(error: ValidationError, lines: Lines, shown: str) -> str:
    faults = error.errors(include_url=False)
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    path = tuple(fault["loc"])
    known_path = path
    while known_path and known_path not in lines:
        known_path = known_path[:-1]
    where = f"{shown} line {lines.get(known_path, 1)}"
    name = ".".join(str(part) for part in path) or "the file"
    if fault["type"] == "extra_forbidden":
        return f"{where}: unknown key '{name[:80]}'{did_you_mean(str(path[-1]), known_keys())}"
    if fault["type"] == "missing":
        return f"{where}: '{name[:80]}' is missing"
    message = fault["msg"].removeprefix("Value error, ").rstrip(".")
    if fault["type"] == "too_long" and not isinstance(fault["input"], str):
        message = f"must hold at most {fault['ctx']['max_length']:,} entries"
    given = repr(fault.get("input"))
    tail = f" (got {given})" if len(given) <= 60 else ""
    return f"{where}: {name[:80]}: {message[0].lower()}{message[1:]}{tail}"


def known_keys() -> tuple[str, ...]:
    """Return every key that may stand in a demand file."""
    schema = demand_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return tuple(sorted({key for part in parts for key in part.get("properties", {})}))


def demand_schema() -> dict[str, Any]:
    """Return the JSON schema of a demand file: pydantic's, in the words of JSON Schema 2020-12."""
    schema: dict[str, Any] = standard_schema(FleetRequest.model_json_schema(mode="validation"))
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "vllm-opt demand"
    schema["properties"] = {"schema": {"const": "vllm-opt/demand/1"}, **schema["properties"]}
    return schema


STANDARD_WORDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def standard_schema(part: Any) -> Any:
    """Spell limits as the standard does, take one value where a list of words is, and '8k' where a count is."""
    if isinstance(part, list):
        return [standard_schema(item) for item in part]
    if not isinstance(part, dict):
        return part
    found = {STANDARD_WORDS.get(key, key): standard_schema(value) for key, value in part.items()}
    if found.get("type") == "integer" and "default" not in found:
        words = {key: found.pop(key) for key in ("title", "description") if key in found}
        return {"anyOf": [found, {"type": "string", "pattern": "^[0-9.]+[kKmM]?$"}], **words}
    if found.get("type") == "array" and isinstance(found.get("items"), dict):
        if "minLength" in found:
            found["minItems"] = found.pop("minLength")
        if found["items"].get("type") == "string" or "enum" in found["items"]:
            outer = {key: found.pop(key) for key in ("title", "description", "default") if key in found}
            return {"anyOf": [found["items"], found], **outer}
    return found
