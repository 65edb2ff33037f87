"""Drafter: a published draft head by its id, with the keys of its config.json that decide bytes."""

from importlib.resources import files
from typing import Any, Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class Drafter(Noun):
    """One published drafter; keys are named as its config.json names them."""

    id: str
    method: Literal["eagle", "eagle3", "dflash"]
    hidden_size: int = Field(gt=0)
    target_hidden_size: int | None = Field(None, gt=0, description="None: the target's")
    intermediate_size: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int = Field(gt=0)
    head_dim: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    draft_vocab_size: int | None = Field(None, gt=0, description="None: the target's")
    target_layers: int = Field(1, gt=0, description="target layers whose hidden states a DFlash drafter joins")
    sources: tuple[str, ...] = Field(min_length=1)

    @property
    def config(self) -> dict[str, Any]:
        """The same as its config.json would say it."""
        keys = {"id", "method", "sources", "target_layers"}
        layers = {"dflash_config": {"target_layer_ids": list(range(self.target_layers))}}
        return {**self.model_dump(exclude=keys, exclude_none=True), **layers}


class Drafters(Noun):
    """The data file."""

    about: str
    drafters: tuple[Drafter, ...]

    def named(self, name: str) -> Drafter | None:
        """Return the drafter of an id, whatever its case; None where it is not known."""
        wanted = name.strip().lower()
        return next((drafter for drafter in self.drafters if drafter.id.lower() == wanted), None)


def load_drafters() -> Drafters:
    """Read the data file."""
    text = files("vllm_opt.profiles").joinpath("data/drafters.json").read_text(encoding="utf-8")
    return Drafters.model_validate_json(text)
