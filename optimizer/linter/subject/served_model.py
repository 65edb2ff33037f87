"""Which model a command serves, by the catalogue's one resolver, and whether --quantization agrees with it."""

from dataclasses import dataclass, replace

from vllm_opt.optimizer.estimation.resolution import native_quantization_id
from vllm_opt.optimizer.serve_lines.command_line import load_flag_value
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile, VllmOptError
from vllm_opt.profiles.nouns.engine import EngineProfile
from vllm_opt.profiles.nouns.model import ModelProfile


@dataclass(frozen=True)
class ServedModel:
    """What the configuration says of the model. `problem` is an (error) sentence about --quantization."""

    name: str | None
    quantization: str | None = None
    note: str = ""
    problem: str = ""
    base: str | None = None
    """The model that was quantised, where the command names a checkpoint of it."""
    at_load: bool = False
    """Whether vLLM makes the format from the 16-bit checkpoint while loading."""


def served_model(name: str, quantization: str | None, engine: EngineProfile, catalog: Catalog) -> ServedModel:
    """Find the model, and how its weights are stored once --quantization is taken into account."""
    try:
        model = catalog.model(name)
    except VllmOptError as error:
        return ServedModel(None, note=str(error))
    note = _by_its_name(model)
    if model.quantized_from is not None and model.id not in catalog.model_ids:
        problem = _mismatch(native_quantization_id(model), quantization, catalog)
        return ServedModel(name, None, note, problem, model.quantized_from)
    served = _with_flag(model, name, quantization, engine, catalog)
    return replace(served, note=served.note or note)


def _by_its_name(model: ModelProfile) -> str:
    """What was concluded from the name alone; empty where the catalogue lists the very id."""
    return next((text for text in model.assumptions[:1] if text.endswith("by its name")), "")


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
