"""A pasted `vllm serve` line as the fields of an `EstimateRequest`, and what of it is left out."""

from typing import Any, Literal

from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.left_out import left_out_of
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.optimizer.serve_lines.stated import implied_fields, stated_values
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError
from vllm_opt.profiles.reading.quantities import counted

MOST_NAMED = 12
UNDERSTOOD = ("task", "optimization-level", "attention-config")
"""Flags without a field of their own: what they say stands in other fields."""


def fields_of_line(
    text: str,
    vllm_version: str | None = None,
    engine: Literal["v0", "v1"] | None = None,
    catalog: Catalog | None = None,
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the request fields that the command states, and sentences about what it states besides.

    Flags are read with those of the release asked, else of the image's tag, else of the newest.

    Raises:
        InvalidRequest: the text starts no vLLM server, or more than one.
        UnknownProfile: a release that the catalogue does not hold.
    """
    catalog = catalog or Catalog()
    commands = serve_commands(text)
    if len(commands) != 1:
        shown = " ".join(text.split())[:60]
        found = "no vLLM server is" if not commands else f"{counted(len(commands), 'vLLM server')} are"
        raise InvalidRequest(f"{found} started in '{shown}'; paste one command: \"vllm serve MODEL --flag …\"")
    command = commands[0]
    release, note = catalog.engine(vllm_version or command.image_version, engine)
    parsed = parse_flags(
        command.arguments, release, positional_model=command.positional_model, wrapper=command.wrapper_flags
    )
    fields: dict[str, Any] = {} if parsed.model is None else {"model": parsed.model}
    ignored: list[str] = []
    left_out, values = left_out_of(parsed), stated_values(parsed)
    for name, value in values.items():
        field = name.replace("-", "_")
        if field in EstimateRequest.model_fields and field != "model" and value is not None:
            fields[field] = value
        elif name not in ("model", *UNDERSTOOD) and name not in left_out:
            ignored.append(f"--{name}")
    fields |= implied_fields(values)
    fields, dropped = _known_quantization(fields, catalog)
    if vllm_version is None and command.image_version is not None:
        fields["vllm_version"] = release.version
    notes = [note] if note else []
    notes += dropped
    if ignored:
        more = f" and {len(ignored) - MOST_NAMED} more" if len(ignored) > MOST_NAMED else ""
        notes.append(
            f"ignored, since they concern neither memory nor speed here: {', '.join(ignored[:MOST_NAMED])}{more}"
        )
    notes += [f"--{name}: the prediction leaves out {words}; leave room" for name, words in left_out.items()]
    wrong = [each for each in parsed.problems if each.level == "error" or each.rule == "unresolved_variable"]
    notes += [f"left out: {problem.message}" for problem in wrong]
    return fields, tuple(notes)


def _known_quantization(fields: dict[str, Any], catalog: Catalog) -> tuple[dict[str, Any], list[str]]:
    """`--quantization compressed-tensors` and its kind name a container: the checkpoint says what is in it."""
    name = fields.get("quantization")
    if name is None:
        return fields, []
    try:
        catalog.quantization(str(name))
    except VllmOptError:
        rest = {field: value for field, value in fields.items() if field != "quantization"}
        return rest, [f"--quantization {name} names no weight format of its own: taken as the checkpoint is stored"]
    return fields, []
