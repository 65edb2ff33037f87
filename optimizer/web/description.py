"""OpenAPI of the API, from the pydantic types that the verbs take and give."""

from typing import TYPE_CHECKING, Any, Literal

from vllm_opt.optimizer.procurement.demand_file import standard_schema
from vllm_opt.optimizer.web.answering import MEDIA_TYPES
from vllm_opt.optimizer.web.listings import KINDS
from vllm_opt.optimizer.web.verbs import Verb, verbs

if TYPE_CHECKING:
    from fastapi import FastAPI

ERROR = {
    "type": "object",
    "required": ["schema", "error"],
    "properties": {"schema": {"const": "vllm-opt/error/1"}, "error": {"type": "string"}},
}
WAYS_TO_FAIL = {
    "400": "bad input: one sentence", "401": "no token, or another one", "408": "the body came too slowly",
    "413": "the body is too large", "415": "the body is not sent as JSON", "421": "another host name was asked for",
    "429": "every place in the queue is taken", "500": "a fault of vllm-opt", "503": "no answer in time",
}  # fmt: skip


def described(app: "FastAPI") -> dict[str, Any]:
    """The document behind /openapi.json, made once."""
    from fastapi.openapi.utils import get_openapi

    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        app.openapi_schema = _completed(document)
    return app.openapi_schema


def _completed(document: dict[str, Any]) -> dict[str, Any]:
    from pydantic.json_schema import models_json_schema

    pairs: dict[tuple[Any, Literal["validation", "serialization"]], None] = {}
    for verb in verbs():
        pairs.update({(verb.request_type, "validation"): None, (verb.answer_type, "serialization"): None})
    names, definitions = models_json_schema(list(pairs), ref_template="#/components/schemas/{model}")
    components = document.setdefault("components", {})
    components["schemas"] = {**definitions["$defs"], "Error": ERROR}
    requests = {names[verb.request_type, "validation"]["$ref"].rsplit("/", 1)[-1] for verb in verbs()}
    for name in _reachable(components["schemas"], requests):
        components["schemas"][name] = standard_schema(components["schemas"][name])
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for verb in verbs():
        operation = document["paths"][f"/v1/{verb.name}"]["post"]
        schema = names[verb.request_type, "validation"]
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
        operation["responses"] = _responses(_contents(verb, names[verb.answer_type, "serialization"]))
    for kind in (*KINDS, "choices"):
        listed = {"type": "object", "required": ["schema"], "properties": {"schema": {"const": f"vllm-opt/{kind}/1"}}}
        document["paths"][f"/v1/{kind}"]["get"]["responses"] = _responses({"application/json": {"schema": listed}})
    document["paths"]["/metrics"]["get"]["responses"] = _responses({"text/plain": {"schema": {"type": "string"}}})
    document["paths"]["/healthz"]["get"]["responses"] = _responses({"application/json": {"schema": {"type": "object"}}})
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path == "/healthz" else [{"token": []}, {}]
    return document


def _contents(verb: Verb, schema: dict[str, Any]) -> dict[str, Any]:
    others = {MEDIA_TYPES.get(name, "text/plain") for name in verb.formats} - {"application/json"}
    return {"application/json": {"schema": schema}, **{media: {} for media in sorted(others)}}


def _responses(content: dict[str, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    failures = {code: {"description": words, "content": error} for code, words in WAYS_TO_FAIL.items()}
    return {"200": {"description": "the answer; infeasible is one", "content": content}, **failures}


def _reachable(schemas: dict[str, Any], names: set[str]) -> set[str]:
    """The schemas that the named ones refer to, themselves included."""
    found, left = set(), list(names)
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += _references(schemas[name])
    return found


def _references(part: Any) -> list[str]:
    if isinstance(part, list):
        return [name for item in part for name in _references(item)]
    if not isinstance(part, dict):
        return []
    here = [part["$ref"].rsplit("/", 1)[-1]] if isinstance(part.get("$ref"), str) else []
    return here + [name for value in part.values() for name in _references(value)]
