"""Every name under which a model is known, and which entry, format and checkpoint each means: one resolver for all.

Ids of models and of published checkpoints mean themselves. Then come mirrors and former names (the same name under
another owner, with or without `Meta-`), and names whose ending says the format. Nothing here builds a profile.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vllm_opt.profiles.catalogues.checkpoints import CheckpointTable, base_key, checkpoint_of_row, load_checkpoints
from vllm_opt.profiles.catalogues.name_endings import ending_of, unreadable
from vllm_opt.profiles.errors import CannotBeSized
from vllm_opt.profiles.nouns.checkpoint import Checkpoint, Publisher
from vllm_opt.profiles.nouns.model import ModelProfile
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.data_files import read_data_file


@dataclass(frozen=True)
class NamedModel:
    """What a name means. `id` is served; `shapes_of` is the catalogue entry that sizes it."""

    id: str
    shapes_of: str
    checkpoint: Checkpoint | None = None
    note: str = ""


class ModelNames:
    """The names of the catalogue, read once and indexed on the first question that needs it."""

    @cached_property
    def index(self) -> Mapping[str, Any]:
        """`models/index.json`: entries, short names, and ids with the weight shapes of an entry."""
        return read_data_file("models/index.json")

    @cached_property
    def checkpoints(self) -> CheckpointTable:
        """The published checkpoints."""
        return load_checkpoints()

    @cached_property
    def _served(self) -> Mapping[str, Any]:
        return read_data_file("model_names.json")

    @cached_property
    def _models(self) -> dict[str, NamedModel]:
        """Lower-case id -> model, of all that have an entry or the shapes of one."""
        models, twins = self.index["models"], self.index["same_weight_shapes"]
        found: dict[str, NamedModel] = {}
        for model_id, alias in self._served["aliases"].items():
            target = twins.get(alias["shapes_of"], alias["shapes_of"])
            if target in models:
                note = f"taken to have the weight shapes of {alias['shapes_of']}: {alias['why']}"
                found[model_id.lower()] = NamedModel(model_id, target, note=note)
        found |= {model_id.lower(): NamedModel(model_id, target) for model_id, target in twins.items()}
        return found | {model_id.lower(): NamedModel(model_id, model_id) for model_id in models}

    @cached_property
    def _bare(self) -> dict[str, str]:
        """Name without owner -> id; entries first, then ids with their shapes, aliases, and published checkpoints."""
        found: dict[str, str] = {}
        listed = [*self.index["models"], *self.index["same_weight_shapes"], *self._served["aliases"]]
        listed += [row["id"] for row in self.checkpoints.by_id.values()]
        for key in (_last_part, base_key):
            for known in listed:
                found.setdefault(key(known), known)
        return found

    def known(self, *, owners: bool) -> Iterator[str]:
        """Every id and short name that can be meant, for suggestions; ids first where owners are written."""
        ids = [model.id for model in self._models.values()]
        short = list(self.index["names"])
        yield from (*ids, *short) if owners else (*short, *ids)

    def publisher_of(self, model: ModelProfile) -> Publisher:
        """Who published a model as it is: its maker, or whoever quantised it where it was made from another one."""
        if model.quantized_from is None:
            return "native"
        row = self.checkpoints.by_id.get(model.id.lower())
        return checkpoint_of_row(row).publisher if row is not None else "community"

    def find(self, name: str) -> NamedModel | None:
        """Return what a name means, or None where it is in no list and its ending tells nothing.

        Raises:
            CannotBeSized: the name is known and nothing can be said of its size, or no vLLM could load it.
        """
        exact = self.listed(name)
        return exact if exact is not None else self._by_name(name)

    def listed(self, name: str) -> NamedModel | None:
        """Return what a name means that is itself in a list: an id, a short name or a published checkpoint."""
        wanted = self.index["names"].get(name.lower(), name).lower()
        if wanted in self._models:
            return self._models[wanted]
        return self._published(wanted)

    def _published(self, lowered: str) -> NamedModel | None:
        table = self.checkpoints
        if lowered in table.refused:
            raise CannotBeSized(f"no plan can be made with {printable(lowered)}: {table.refused[lowered]}")
        row = table.by_id.get(lowered)
        if row is None:
            return None
        base = self._models.get(row["base"].lower()) or self._same_name(row["base"])
        shapes = base.shapes_of if base is not None else row.get("shapes_of")
        if shapes is None or shapes not in self.index["models"]:
            raise CannotBeSized(
                f"{row['id']} is {_a(row['quantization'])} checkpoint of {row['base']}, which cannot be sized: its "
                "config is not in the catalogue; give the path of its config.json"
            )
        note = f"{_a(row['quantization'])} checkpoint of {row['base']}"
        if base is None:
            note += f", which is taken to have the weight shapes of {shapes}"
        return NamedModel(row["id"], shapes, checkpoint_of_row(row), note)

    def _same_name(self, name: str) -> NamedModel | None:
        known = self._bare.get(_last_part(name)) or self._bare.get(base_key(name))
        return self._models.get(known.lower()) if known is not None else None

    def _by_name(self, name: str) -> NamedModel | None:
        """A mirror, a former name, or a known name with an ending that says the format."""
        for unsized, facts in self._served["unsized"].items():
            if unsized.lower() == name.lower():
                raise CannotBeSized(
                    f"{unsized} ({facts['architecture'] or 'architecture not read'}) is known and cannot be sized: its "
                    "config is not in the catalogue; give the path of its config.json"
                )
        known = self._bare.get(_last_part(name)) or self._bare.get(base_key(name))
        if known is not None:
            found = self.listed(known)
            if found is None:
                alias = self._served["aliases"][known]["shapes_of"]
                raise CannotBeSized(
                    f"{known} is known and cannot be sized: the config of {alias}, whose shapes it has, is not in the "
                    "catalogue; give the path of its config.json"
                )
            return self._called(found, name, f"{printable(name)} is taken for {known}, by its name")
        reason = unreadable(name)
        if reason is not None:
            raise CannotBeSized(f"{printable(name[:200])} {reason}; serve the model itself or another checkpoint of it")
        ending = ending_of(name)
        base = self._model_called(ending.base) if ending is not None else None
        if ending is None or base is None:
            return None
        row = Checkpoint(
            id=name, base=base.id, quantization=ending.quantization, certainty="convention",
            group_size=ending.group_size, source="its name",
        )  # fmt: skip
        note = f"{printable(name)} is taken for {base.id} with {ending.quantization} weights, by its name"
        return NamedModel(name, base.shapes_of, row, note)

    def _model_called(self, name: str) -> NamedModel | None:
        """The unquantised model of this name, whoever publishes it."""
        found = self._models.get(self.index["names"].get(name.lower(), name).lower())
        return found or self._same_name(name)

    @staticmethod
    def _called(found: NamedModel, name: str, note: str) -> NamedModel:
        row = found.checkpoint
        kept = row.model_copy(update={"id": name}) if row is not None else None
        return replace(found, id=name, checkpoint=kept, note=note)


def _last_part(model_id: str) -> str:
    return model_id.rsplit("/", 1)[-1].lower()


def _a(quantization: str) -> str:
    """'an awq', 'a gptq', 'an nvfp4', 'an fp8'."""
    return f"{'an' if quantization[0] in 'aefionm' and not quantization.startswith('moe') else 'a'} {quantization}"
