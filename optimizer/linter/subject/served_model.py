"""Which model a command serves: a catalogue name, a published quantised checkpoint of one, or a name that says both."""

import json
import re
from dataclasses import dataclass

from vllm_opt.optimizer.estimation.resolution import native_quantization_id
from vllm_opt.optimizer.serve_lines.command_line import load_flag_value
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.reading.data_files import DATA

SUFFIXES = (
    (re.compile(r"-awq(?:-int4)?(?:-int8)?$", re.I), "awq"),
    (re.compile(r"-gptq-int8$", re.I), "gptq_int8"),
    (re.compile(r"-gptq(?:-int4)?$", re.I), "gptq"),
    (re.compile(r"[-.](?:quantized\.)?w4a16$", re.I), "w4a16"),
    (re.compile(r"[-.](?:quantized\.)?w8a8$", re.I), "int8"),
    (re.compile(r"-fp8(?:-dynamic|_dynamic|-static)?$", re.I), "fp8"),
    (re.compile(r"-(?:nv)?fp4$", re.I), "nvfp4"),
)
"""Endings of checkpoint names on Hugging Face -> weight format."""

OWNERS = ("", "meta-llama/", "Qwen/", "mistralai/", "google/", "deepseek-ai/", "microsoft/")


@dataclass(frozen=True)
class ServedModel:
    """What the configuration says of the model. `problem` is an (error) sentence about --quantization."""

    name: str | None
    quantization: str | None = None
    note: str = ""
    problem: str = ""
    at_load: bool = False
    """Whether vLLM makes the format from the 16-bit checkpoint while loading."""


def served_model(name: str, quantization: str | None, engine: EngineProfile, catalog: Catalog) -> ServedModel:
    """Find the model, and how its weights are stored once --quantization is taken into account."""
    listed = _listed_checkpoint(name) if _in_catalogue(name, catalog) is None else None
    if listed is not None:
        return ServedModel(*listed, problem=_mismatch(listed[1], quantization, catalog))
    try:
        model = catalog.model(name)
    except VllmOptError as error:
        base, stored, note = _by_name(name, catalog)
        if base is None or stored is None:
            return ServedModel(None, note=str(error))
        return ServedModel(base, stored, note, _mismatch(stored, quantization, catalog))
    return _with_flag(model, name, quantization, engine, catalog)


def _with_flag(
    model: ModelProfile, name: str, quantization: str | None, engine: EngineProfile, catalog: Catalog
) -> ServedModel:
    native = native_quantization_id(model)
    if quantization is None:
        return ServedModel(name)
    if native != "bf16":
        return ServedModel(name, None, problem=_mismatch(native, quantization, catalog))
    try:
        wanted = catalog.quantization(quantization)
    except VllmOptError:
        wanted = None
    if wanted is not None and load_flag_value(wanted, engine) is not None:
        return ServedModel(name, wanted.id, at_load=True)
    if wanted is None and quantization == "bitsandbytes":
        return ServedModel(name, None, note="bitsandbytes weights are not in the catalogue: counted as 16-bit")
    known = [each.id for each in model.checkpoints if wanted is not None and each.quantization == wanted.id]
    hint = f"serve {known[0]}" if known else "serve a checkpoint that is stored so, or drop the flag"
    return ServedModel(
        name,
        None,
        problem=(
            f"--quantization {quantization} reads a checkpoint that is already stored so, and {model.id} holds "
            f"16-bit weights: vLLM stops with 'Cannot find the config file for {quantization}'; {hint}"
        ),
    )


def _mismatch(stored: str, quantization: str | None, catalog: Catalog) -> str:
    """Whether --quantization contradicts what the checkpoint holds; containers such as compressed-tensors fit any."""
    if quantization is None:
        return ""
    try:
        wanted = catalog.quantization(quantization).id
    except (InvalidRequest, UnknownProfile):
        return ""
    family = ("fp8", "fp8_per_tensor", "fp8_block")
    if (
        wanted == stored
        or (wanted in family and stored in family)
        or wanted.partition("_")[0] == stored.partition("_")[0]
    ):
        return ""
    return (
        f"Quantization method specified in the model config ({stored}) does not match the quantization method "
        f"specified in the `quantization` argument ({quantization}); drop --quantization"
    )


def _by_name(name: str, catalog: Catalog) -> tuple[str | None, str | None, str]:
    """A checkpoint of a catalogued model, recognised by the ending of its name."""
    for pattern, stored in SUFFIXES:
        base = pattern.sub("", name)
        if base == name:
            continue
        short = base.rsplit("/", 1)[-1]
        for candidate in (base, *(owner + short for owner in OWNERS), short.removeprefix("Meta-")):
            known = _in_catalogue(candidate, catalog)
            if known is not None and _exists(stored, catalog):
                return known, stored, f"{name} is taken for {known} with {stored} weights, by its name"
    return None, None, ""


def _exists(stored: str, catalog: Catalog) -> bool:
    try:
        return bool(catalog.quantization(stored))
    except VllmOptError:
        return False


def _in_catalogue(name: str, catalog: Catalog) -> str | None:
    if name.startswith(("/", ".", "~")):
        return None
    lowered = name.lower()
    for known in catalog.model_ids:
        if lowered in (known.lower(), known.rsplit("/", 1)[-1].lower()):
            return known
    return None


def _listed_checkpoint(name: str) -> tuple[str, str] | None:
    """Search the models' files for a checkpoint of this id; its text is looked for before a file is parsed."""
    wanted = name.lower()
    if "/" not in wanted or len(wanted) > 200:
        return None
    for file in sorted((DATA / "models").glob("*.json")):
        text = file.read_text(encoding="utf-8")
        if file.name == "index.json" or f'"{wanted}"' not in text.lower():
            continue
        entry = json.loads(text)
        twins = entry.get("same_weight_shapes_checkpoints", {})
        for base, rows in ((entry["id"], entry["checkpoints"]), *twins.items()):
            for row in rows:
                if row["id"].lower() == wanted:
                    return base, row["quantization"]
    return None
