"""The catalogue of models: one file each, an index of their names, and what to do with a name that is in neither."""

import re
from pathlib import Path
from typing import Any

from vllm_opt.profiles.configs.huggingface import model_from_config, model_from_path
from vllm_opt.profiles.configs.model_paths import is_path
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, did_you_mean
from vllm_opt.profiles.nouns.checkpoint import Checkpoint
from vllm_opt.profiles.nouns.model import ModelProfile, VisionTower
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import read_data_file
from vllm_opt.profiles.reading.user_files import with_home

_HUB_ID = re.compile(r"\w[\w.-]{0,95}/\w[\w.-]{0,95}")
_LONGEST_NAME = 4096


def model_ids() -> list[str]:
    """Hugging Face ids of the models in the catalogue, in alphabetical order."""
    return list(_index()["models"])


def load_model(name: str) -> ModelProfile:
    """Return one model by Hugging Face id or short name (letter case does not count), or by path.

    A path is a `config.json` or the folder that holds it. An id whose checkpoint has the shapes of a catalogued model
    takes its sizes and says so. Any other id is looked up on Hugging Face when `huggingface_hub` is installed (extra
    `hub`). Only the model's own file is read.

    Raises UnknownProfile for a name that leads nowhere or an architecture without a rule, and InvalidRequest for a
    config that cannot be understood.
    """
    if not name.strip():
        raise InvalidRequest("the model name is empty; vllm-opt models lists what is known")
    if is_path(name) or name.endswith(".json"):
        # No shell fills the home folder in once the command is quoted.
        return model_from_path(with_home(name) if name.startswith("~") else name)
    found = _from_catalogue(name.strip())
    if found is not None:
        return _beside_a_folder(found, name)
    if len(name) <= _LONGEST_NAME and _is_folder(name):
        return model_from_path(name)
    return _from_hub(name.strip())


def _beside_a_folder(model: ModelProfile, name: str) -> ModelProfile:
    """A folder that carries the name of a model in the catalogue is another model: say which one is meant."""
    if not _is_folder(name):
        return model
    note = f"the catalogue's {model.id} is meant, not the folder {name} beside it; write ./{name} for the folder"
    return model.model_copy(update={"assumptions": (*model.assumptions, note)})


def refuse_unless_generating(model: ModelProfile) -> ModelProfile:
    """Return `model` where it generates text.

    Raises UnknownProfile with one sentence for an embedding, scoring or speech model, which has shapes here and no
    rule for its memory at run time.
    """
    if model.runner == "generate":
        return model
    gives = {"pooling": "vectors or scores of a text", "transcription": "the text of speech"}[model.runner]
    raise UnknownProfile(
        f"the model {model.id[:200]} ({model.architecture}) gives {gives} and generates none, and there is no rule yet "
        "for the memory of such a server; `vllm-opt models` lists those that generate"
    )


def _index() -> dict[str, Any]:
    return read_data_file("models/index.json")


def _is_folder(name: str) -> bool:
    try:
        return (Path(name) / "config.json").is_file()
    except (OSError, ValueError):
        return False


def _from_catalogue(name: str) -> ModelProfile | None:
    index = _index()
    wanted = name.lower()
    by_name: dict[str, str] = index["names"]
    by_lower = {model_id.lower(): model_id for model_id in index["models"]}
    twins = {model_id.lower(): model_id for model_id in index["same_weight_shapes"]}
    wanted = by_name.get(wanted, wanted).lower()
    if wanted in by_lower:
        return _model(_entry(index["models"][by_lower[wanted]]))
    if wanted in twins:
        return _twin(twins[wanted], index["models"][index["same_weight_shapes"][twins[wanted]]])
    return None


def _entry(file: str) -> dict[str, Any]:
    return read_data_file(f"models/{file}")


def _model(entry: dict[str, Any]) -> ModelProfile:
    model = model_from_config(
        entry["config"],
        entry["id"],
        source=entry["config_source"],
        checkpoints=tuple(entry["checkpoints"]),
        verification=entry["verification"],
        **({"runner": entry["runner"], "has_lm_head": False} if "runner" in entry else {}),
    )
    changes: dict[str, Any] = {"assumptions": (*entry["config_notes"], *model.assumptions)}
    encoder = entry.get("encoder_parameters")
    if encoder is not None:
        vision = model.vision or VisionTower(parameters=0)
        changes["vision"] = vision.model_copy(update={"parameters": encoder["parameters"]})
    return model.model_copy(update=changes)


def _twin(model_id: str, file: str) -> ModelProfile:
    """The profile of a checkpoint whose weights have the shapes of the model in `file`."""
    entry = _entry(file)
    base = _model(entry)
    context = entry.get("same_weight_shapes_context", {}).get(model_id)
    length = base.max_model_len if context is None else context["max_model_len"]
    known = "may differ" if context is None else f"is its own ({context['source']})"
    checkpoints = entry.get("same_weight_shapes_checkpoints", {}).get(model_id, [])
    return base.model_copy(
        update={
            "id": model_id,
            "max_model_len": length,
            "default_max_model_len": base.default_max_model_len if context is None else None,
            "checkpoints": tuple(Checkpoint.model_validate(row) for row in checkpoints),
            "assumptions": (
                f"config of {base.id}, which has the same weight shapes; the context limit {known}",
                *base.assumptions,
            ),
        }
    )


def _from_hub(name: str) -> ModelProfile:
    hint = did_you_mean(name, _known_names())
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


def _known_names() -> list[str]:
    index = _index()
    return [*index["models"], *index["names"], *index["same_weight_shapes"]]
