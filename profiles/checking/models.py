"""The models: every entry is listed, can be read, and carries the address of its config."""

from typing import Any

from vllm_opt.profiles.catalogues.models import load_model
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, file_name
from vllm_opt.profiles.checking.sources import source_faults
from vllm_opt.profiles.configs.huggingface import model_from_path
from vllm_opt.profiles.errors import CannotBeSized, UnknownProfile, VllmOptError
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.reading.data_files import DATA, read_data_file

FOLDER = "models"
INDEX = f"{FOLDER}/index.json"


def check_models(names: Any) -> list[FileReport]:
    """Check the index against the files, and every file by reading it as `solve` would."""
    index = read_data_file(INDEX)
    listed: dict[str, str] = index["models"]
    files = {path.name for path in (DATA / FOLDER).glob("*.json")} - {"index.json"}
    faults = [fault(INDEX, name, "no such file; add it or drop the line") for name in set(listed.values()) - files]
    faults += [fault(INDEX, name, "the file is not listed under 'models'") for name in files - set(listed.values())]
    faults += [
        fault(INDEX, short, f"'{model_id}' is no entry of the catalogue")
        for short, model_id in {**index["names"], **index["same_weight_shapes"]}.items()
        if model_id not in listed and model_id not in index["same_weight_shapes"]
    ]
    entries = [_entry(model_id, file, names) for model_id, file in listed.items() if file in files]
    return [FileReport(file=INDEX, rows=len(listed), faults=tuple(faults)), *entries]


def check_model_file(path: str) -> FileReport:
    """Check a user's config.json, or the folder that holds it."""
    file = file_name(path)
    model = model_from_path(path)
    notes = tuple(fault(file, "", said, note=True) for said in model.assumptions)
    return FileReport(file=file, rows=1, faults=(*_sizes(file, model), *notes))


def _entry(model_id: str, name: str, names: Any) -> FileReport:
    file = f"{FOLDER}/{name}"
    entry = read_data_file(file)
    faults = source_faults(file, "config_source", [entry.get("config_source")])
    if entry.get("id") != model_id:
        faults.append(fault(file, "id", f"the index calls it '{model_id}'"))
    try:
        model = load_model(model_id, names)
    except (CannotBeSized, UnknownProfile):
        pass  # refused by name, which `vllm-opt models` shows with the reason
    except VllmOptError as error:
        faults.append(fault(file, "config", str(error)))
    else:
        faults += _sizes(file, model)
    return FileReport(file=file, rows=1, faults=tuple(faults))


def _sizes(file: str, model: ModelProfile) -> list[Fault]:
    wrong = [
        name
        for name, least, most in (("hidden_size", 32, 10**6), ("vocab_size", 16, 10**8), ("max_model_len", 1, 10**9))
        if not least <= (getattr(model, name) or least) <= most
    ]
    return [fault(file, name, f"{getattr(model, name):,} is not plausible") for name in wrong]
