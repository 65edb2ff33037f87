"""The published checkpoints of the catalogue: which model each is of, how it stores the weights, how sure that is."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vllm_opt.profiles.nouns.checkpoint import Checkpoint, CheckpointQuantization
from vllm_opt.profiles.nouns.model import Experts, ModelProfile, StateSpace
from vllm_opt.profiles.reading.data_files import read_data_file

LOADERS = {"redhatai": "compressed-tensors", "neuralmagic": "compressed-tensors", "nvidia": "modelopt"}
"""Publishers who write one kind of file: owner -> `quant_method`."""


def base_key(model_id: str) -> str:
    """What a model and its mirrors share: the name without owner, letter case and Meta's former prefix.

    A fine-tune has another name, so its checkpoints are never taken for those of the model that it was made from.
    """
    return model_id.rsplit("/", 1)[-1].lower().removeprefix("meta-")


@dataclass(frozen=True)
class CheckpointTable:
    """`profiles/data/checkpoints.json`; rows become nouns when they are asked for."""

    content: Mapping[str, Any]

    @cached_property
    def by_id(self) -> dict[str, dict[str, Any]]:
        """Lower-case Hugging Face id -> row."""
        return {row["id"].lower(): row for row in self.content["checkpoints"]}

    @cached_property
    def refused(self) -> dict[str, str]:
        """Lower-case Hugging Face id -> why no plan can serve it."""
        return {row["id"].lower(): row["reason"] for row in self.content["refused"]}

    @cached_property
    def _by_base(self) -> dict[str, list[dict[str, Any]]]:
        found: dict[str, list[dict[str, Any]]] = {}
        for row in self.content["checkpoints"]:
            found.setdefault(base_key(row["base"]), []).append(row)
        return found

    def of(self, model_id: str) -> tuple[Checkpoint, ...]:
        """The checkpoints of exactly this model, the best of each format first."""
        rows = [checkpoint_of_row(row) for row in self._by_base.get(base_key(model_id), ())]
        return ordered(row for row in rows if row.id.lower() != model_id.lower())

    def margin(self, model: ModelProfile, checkpoint: Checkpoint) -> float:
        """The share added to the count of a format where neither the size nor the layers left out are known.

        The largest excess over a uniform count among published checkpoints of the same kind (`checkpoints.json`,
        margins): of models with attention and dense feed-forward alone it is about 1 %.
        """
        margins = self.content["margins"]
        kinds = (kind for kind, formats in margins["formats"].items() if checkpoint.quantization in formats)
        other = checkpoint.mixed or has_parts_that_recipes_leave_out(model)
        share: float = margins[next(kinds, "8-bit")]["other" if other else "plain"]
        return share


def load_checkpoints() -> CheckpointTable:
    """Return the table, read once per catalogue."""
    return CheckpointTable(read_data_file("checkpoints.json"))


def checkpoint_of_row(row: Mapping[str, Any]) -> Checkpoint:
    """One row as a noun; `shapes_of` is for sizing a base that has no entry, and no part of it."""
    return Checkpoint.model_validate({key: value for key, value in row.items() if key != "shapes_of"})


def ordered(checkpoints: Any) -> tuple[Checkpoint, ...]:
    """Best first within each format; where a surer one exists, names that leave the format open come last of all."""
    rows: list[Checkpoint] = list(checkpoints)
    sure = {row.quantization for row in rows if row.certainty != "low"}
    return tuple(sorted(rows, key=lambda row: (row.certainty == "low" and row.quantization in sure, row.order)))


def has_parts_that_recipes_leave_out(model: ModelProfile) -> bool:
    """Whether it holds what quantisation recipes often leave in 16 bits: experts, recurrent layers, a vision tower."""
    kinds = model.layer_kinds
    special = any(isinstance(kind.feed_forward, Experts) or isinstance(kind.mixer, StateSpace) for kind in kinds)
    return special or model.vision is not None


def storage_of(checkpoint: Checkpoint, margin: float) -> CheckpointQuantization:
    """How a checkpoint without a config in the catalogue stores its weights: its format, and its size or a margin."""
    owner = checkpoint.id.partition("/")[0].lower()
    grouped = checkpoint.quantization not in ("awq", "gptq", "gptq_int8")
    return CheckpointQuantization(
        quantization=checkpoint.quantization,
        group_size=checkpoint.group_size,
        method=LOADERS.get(owner, "") if grouped else "",
        ignored_modules=("lm_head",) if grouped else (),
        static_activation_scales=checkpoint.quantization == "fp8_per_tensor",
        stored_bytes=checkpoint.stored_bytes,
        size_margin=0.0 if checkpoint.stored_bytes else margin,
    )
