"""The base of every type that describes something: frozen, and strict about its keys."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

Basis = Literal["measured", "fitted", "datasheet", "derived"]
"""How well a number is known, best first: read from a machine, fitted to measurements, printed by the vendor,
computed from another number by a stated rule."""


class Noun(BaseModel):
    """A frozen description; an unknown key or a wrong type is an error, never a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False, protected_namespaces=())
