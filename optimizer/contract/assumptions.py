"""What a request leaves open and which value was taken for it: from a workload preset, or the default."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.noun import Noun
from vllm_opt.profiles.nouns.workload_preset import find_workload_preset, load_workload_presets
from vllm_opt.profiles.reading.quantities import parse_count

if TYPE_CHECKING:
    from vllm_opt.optimizer.contract.request import EstimateRequest

LENGTHS = ("input_tokens", "output_tokens")


class Assumption(Noun):
    """One field that the request did not state."""

    field: str = Field(description="request field")
    value: Any
    why: str
    bent_from: Any = Field(None, description="the default, when it would have made the request infeasible")

    def row(self) -> dict[str, Any]:
        """The assumption as answers show it; the value of a limit that was left out is null."""
        return self.model_dump(mode="json", exclude=None if self.bent_from is not None else {"bent_from"})


def kept_assumptions(data: dict[str, Any]) -> dict[str, Any]:
    """Keep assumptions of a copied request whose values still hold; those of a request line are ignored."""
    if "assumed" not in data:
        return data
    fields = dict(data)
    given = fields.pop("assumed")
    kept = tuple(
        item
        for item in (given if isinstance(given, list | tuple) else ())
        if isinstance(item, Assumption) and fields.get(item.field) == item.value
    )
    return {**fields, "assumed": kept} if kept else fields


def with_workload(data: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """Fill in what the workload of a request says and the request does not, and note each as assumed.

    Lengths go together: where one of them or the context is stated, a preset value that contradicts it is left out.

    Raises:
        UnknownProfile: no preset has this name.
    """
    name = data.get("workload")
    name = name[0] if isinstance(name, list | tuple) and len(name) == 1 else name
    if not isinstance(name, str) or not name:
        return data
    preset = find_workload_preset(name, load_workload_presets())
    filled = {field: value for field, value in data.items() if value is not None} | {"workload": preset.id}
    found = list(data.get("assumed", ()))
    known = {item.field for item in found}
    for field in fields:
        value = getattr(preset, field)
        stated = field in known or filled.get(field) is not None
        if stated or field not in preset.model_fields_set or _contradicts(field, value, filled):
            continue
        filled[field] = value
        source = preset.sources.get(field, "").removeprefix("choice: ")
        found.append(
            Assumption(field=field, value=value, why=f"workload {preset.id}" + (f": {source}" if source else ""))
        )
    return {**filled, "assumed": tuple(found)}


def _contradicts(field: str, value: Any, filled: dict[str, Any]) -> bool:
    """Whether a length of the preset does not go with the context that is stated, or a context with the lengths."""
    stated = {name: _whole(filled.get(name)) for name in ("target_context", "input_tokens", "output_tokens")}
    if field == "target_context":
        return bool(stated["input_tokens"] + stated["output_tokens"] > value)
    if field in (*LENGTHS, "mean_context") and stated["target_context"]:
        other = stated["output_tokens" if field == "input_tokens" else "input_tokens"] or 1
        return bool(value + (other if field in LENGTHS else 0) > stated["target_context"])
    return False


def _whole(value: Any) -> int:
    """A number of tokens that is stated, as text or as a number; 0 where it is not, or cannot be read here."""
    try:
        return 0 if value is None else parse_count(value, "it")
    except InvalidRequest:
        return 0


def assumed_in_estimate(request: "EstimateRequest", lengths: tuple[int, int], *, pooling: bool) -> list[dict[str, Any]]:
    """Every default of the load that an estimate rests on; a pooling request has no output to assume."""
    found = list(request.assumed)
    defaults = {"model": request.model, "gpu": request.gpu}
    given = request.model_fields_set
    found += [
        Assumption(field=field, value=value, why=f"the default {field}")
        for field, value in defaults.items()
        if field not in given
    ]
    named = dict(zip(LENGTHS[:1] if pooling else LENGTHS, lengths, strict=False))
    return [item.row() for item in (*found, *_lengths(request, named))]


def _lengths(request: "EstimateRequest", lengths: dict[str, int]) -> list[Assumption]:
    why = {"input_tokens": "what the output leaves of the context", "output_tokens": "an eighth of the context"}
    return [
        Assumption(field=field, value=value, why=why[field])
        for field, value in lengths.items()
        if getattr(request, field) is None
    ]
