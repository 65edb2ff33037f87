"""The catalogue of models: one file each, and what to do with a name that leads to none of them."""

import re
from pathlib import Path
from typing import Any

from vllm_opt.profiles.catalogues.checkpoints import checkpoint_of_row, ordered, storage_of
from vllm_opt.profiles.catalogues.model_names import ModelNames, NamedModel
from vllm_opt.profiles.catalogues.suggestions import similar_models
from vllm_opt.profiles.configs.huggingface import model_from_config, model_from_path
from vllm_opt.profiles.configs.model_paths import is_path
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.checkpoint import Checkpoint
from vllm_opt.profiles.nouns.model import ModelProfile, VisionTower
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import read_data_file
from vllm_opt.profiles.reading.user_files import with_home

_HUB_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}")
_LONGEST_NAME = 4096


def model_ids() -> list[str]:
    """Hugging Face ids of the models in the catalogue, in alphabetical order."""
    return list(read_data_file("models/index.json")["models"])


def load_model(name: str, names: ModelNames | None = None) -> ModelProfile:
    """Return one model by Hugging Face id or short name (letter case does not count), or by path.

    A path is a `config.json` or the folder that holds it; where nothing is there, a path that ends in a known name
    means that model. The id of a published checkpoint, or a known name with an ending that says the format, gives the
    base model with its weights stored so, and keeps that format. An id whose checkpoint has the shapes of a catalogued
    model takes its sizes and says so. Any other id is looked up on Hugging Face when `huggingface_hub` is installed
    (extra `hub`). Only the model's own file is read.

    Raises UnknownProfile for a name that leads nowhere or an architecture without a rule, and InvalidRequest for a
    config that cannot be understood.
    """
    names = names or ModelNames()
    if not name.strip():
        raise InvalidRequest("the model name is empty; vllm-opt models lists what is known")
    if is_path(name) or name.endswith(".json"):
        return _from_path(name, names)
    bare = name.strip()
    if len(name) <= _LONGEST_NAME:
        listed = names.listed(bare)
        if listed is not None:
            return _beside_a_folder(_profile(listed, names), name)
        if _is_folder(name):
            return model_from_path(name)
        found = names.find(bare)
        if found is not None:
            return _profile(found, names)
        deep = _at_the_end(bare, names) if bare.count("/") > 1 else None
        if deep is not None:
            return deep
    return _from_hub(bare, names)


def catalogued_model(name: str, names: ModelNames | None = None) -> ModelProfile:
    """Return one model of the catalogue by any of its names: no file of this machine is looked at and nothing is
    downloaded. A path that ends in a known name means that model, as in `load_model`.

    Raises:
        UnknownProfile: the catalogue does not hold it.
    """
    names = names or ModelNames()
    bare = name.strip()
    if bare and len(name) <= _LONGEST_NAME:
        found = None if is_path(bare) else names.find(bare)
        if found is not None:
            return _profile(found, names)
        deep = _at_the_end(bare, names) if bare.count("/") > 1 or is_path(bare) else None
        if deep is not None:
            return deep
    hint = similar_models(name[:_LONGEST_NAME], names.known(owners="/" in name))
    raise UnknownProfile(f"model {printable(repr(name[:120]))} is not in the catalogue{hint}")


def _beside_a_folder(model: ModelProfile, name: str) -> ModelProfile:
    """A folder that carries the name of a model in the catalogue is another model: say which one is meant."""
    if not _is_folder(name):
        return model
    note = f"the catalogue's {model.id} is meant, not the folder {name} beside it; write ./{name} for the folder"
    return model.model_copy(update={"assumptions": (*model.assumptions, note)})


def stored_as(model: ModelProfile, checkpoint: Checkpoint, names: ModelNames | None = None) -> ModelProfile:
    """Return the model with its weights as `checkpoint` stores them; id and everything else stay the model's.

    A checkpoint with an entry of its own is stored as its config says; any other by its format, with the size that was
    published or else a margin (`CheckpointTable.margin`). What `load_model(checkpoint.id)` returns is stored the same.
    """
    names = names or ModelNames()
    file = names.index["models"].get(checkpoint.id)
    if file is not None:
        native = _model(_entry(file), names).native_quantization
    else:
        native = storage_of(checkpoint, names.checkpoints.margin(model, checkpoint))
    return model.model_copy(update={"native_quantization": native})


def _from_path(name: str, names: ModelNames) -> ModelProfile:
    """The config at a path, else the known model whose name the path ends in."""
    try:
        # No shell fills the home folder in once the command is quoted.
        return model_from_path(with_home(name) if name.startswith("~") else name)
    except InvalidRequest:
        found = None if name.endswith(".json") or _is_there(name) else _at_the_end(name, names)
        if found is None:
            raise
        return found


def _at_the_end(path: str, names: ModelNames) -> ModelProfile | None:
    """The model that the last parts of a path name: .../owner/name, .../name, or a folder of the Hub's cache."""
    parts = [part for part in path.rstrip("/").split("/") if part]
    cached = next((part for part in parts if part.startswith("models--")), None)
    candidates = [cached.removeprefix("models--").replace("--", "/", 1)] if cached else []
    candidates += ["/".join(parts[-2:])]
    found = next((found for name in candidates if (found := names.listed(name)) is not None), None)
    for candidate in (None, *parts[-1:]):
        found = found or (names.find(candidate) if candidate and not candidate.startswith((".", "~")) else None)
        if found is not None:
            meant = found.checkpoint.base if found.checkpoint else found.id
            note = f"nothing was read at {printable(path[:200])}: taken for {meant}, by its name"
            profile = _profile(found, names)
            return profile.model_copy(update={"id": path, "assumptions": (note, *profile.assumptions)})
    return None


def _is_there(name: str) -> bool:
    try:
        return (Path(name).expanduser() / "config.json").is_file()
    except (OSError, ValueError, RuntimeError):
        return False


def _is_folder(name: str) -> bool:
    try:
        return (Path(name) / "config.json").is_file()
    except (OSError, ValueError):
        return False


def _entry(file: str) -> dict[str, Any]:
    return read_data_file(f"models/{file}")


def _profile(named: NamedModel, names: ModelNames) -> ModelProfile:
    entry = _entry(names.index["models"][named.shapes_of])
    if named.id == named.shapes_of:
        return _model(entry, names)
    if named.checkpoint is not None:
        return _published(named, named.checkpoint, entry, names)
    return _twin(named, entry, names)


def _published(named: NamedModel, checkpoint: Checkpoint, entry: dict[str, Any], names: ModelNames) -> ModelProfile:
    """The base model with its weights as a published checkpoint stores them; it offers no other format."""
    base = names.find(checkpoint.base)
    known = base is not None and base.checkpoint is None
    model = _profile(base, names) if base is not None and known else _model(entry, names)
    kept = stored_as(model, checkpoint, names)
    native = kept.native_quantization
    assumptions = [named.note, *model.assumptions]
    if native is not None and native.size_margin:
        assumptions.insert(
            1, f"its size is not known: {native.size_margin:.0%} is added for layers that may be left in 16 bits"
        )
    changes: dict[str, Any] = {"id": named.id, "checkpoints": (), "quantized_from": checkpoint.base, "verification": ""}
    return kept.model_copy(update={**changes, "assumptions": tuple(assumptions)})


def _model(entry: dict[str, Any], names: ModelNames) -> ModelProfile:
    model = model_from_config(
        entry["config"],
        entry["id"],
        source=entry["config_source"],
        checkpoints=_checkpoints(entry["id"], entry.get("checkpoints", ()), names),
        verification=entry["verification"],
        **({"runner": entry["runner"], "has_lm_head": False} if "runner" in entry else {}),
    )
    changes: dict[str, Any] = {"assumptions": (*entry["config_notes"], *model.assumptions)}
    row = names.checkpoints.by_id.get(entry["id"].lower())
    if row is not None:
        changes["quantized_from"] = row["base"]
    encoder = entry.get("encoder_parameters")
    if encoder is not None:
        vision = model.vision or VisionTower(parameters=0)
        changes["vision"] = vision.model_copy(update={"parameters": encoder["parameters"]})
    return model.model_copy(update=changes)


def _checkpoints(model_id: str, listed: Any, names: ModelNames) -> tuple[Checkpoint, ...]:
    """Those of the table, and those that only the model's own file lists."""
    rows = list(names.checkpoints.of(model_id))
    rows += [checkpoint_of_row(row) for row in listed if row["id"].lower() not in names.checkpoints.by_id]
    entries = names.index["models"]
    return ordered(row.model_copy(update={"certainty": "read"}) if row.id in entries else row for row in rows)


def _twin(named: NamedModel, entry: dict[str, Any], names: ModelNames) -> ModelProfile:
    """The profile of a checkpoint whose weights have the shapes of the model of `entry`."""
    base = _model(entry, names)
    context = entry.get("same_weight_shapes_context", {}).get(named.id)
    length = base.max_model_len if context is None else context["max_model_len"]
    known = "may differ" if context is None else f"is its own ({context['source']})"
    listed = entry.get("same_weight_shapes_checkpoints", {}).get(named.id, [])
    return base.model_copy(
        update={
            "id": named.id,
            "max_model_len": length,
            "default_max_model_len": base.default_max_model_len if context is None else None,
            "context_of": base.id if context is None else None,
            "checkpoints": _checkpoints(named.id, listed, names),
            "assumptions": (
                f"config of {base.id}, which has the same weight shapes; the context limit {known}",
                *([named.note] if named.note else []),
                *base.assumptions,
            ),
        }
    )


def _from_hub(name: str, names: ModelNames) -> ModelProfile:
    hint = similar_models(name, names.known(owners="/" in name))
    shown = printable(repr(name[:120]))
    if not _HUB_ID.fullmatch(name):
        raise UnknownProfile(
            f"model {shown} is unknown{hint or '; give a Hugging Face id or the path of a config.json'}"
        )
    from vllm_opt.profiles.catalogues.hub import read_hub_config

    try:
        config = read_hub_config(name)
    except InvalidRequest as error:
        raise UnknownProfile(f"model {shown} is not in the catalogue{hint.rstrip('?')}, and {error}") from None
    return model_from_config(config, name, source=f"https://huggingface.co/{name}/blob/main/config.json")
