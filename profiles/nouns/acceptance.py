"""AcceptanceRate: what share of drafted tokens is accepted, per method of speculative decoding, with its evidence."""

from importlib.resources import files
from typing import Literal

from pydantic import Field

from vllm_opt.profiles.noun import Noun


class AcceptanceRate(Noun):
    """The default of one method: conditional acceptance per position, and where published cases lie."""

    method: str
    acceptance: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    basis: Literal["published", "assumed", "given"]
    sources: tuple[str, ...] = Field(min_length=1)


class AcceptanceRates(Noun):
    """The data file."""

    about: str
    methods: tuple[AcceptanceRate, ...]

    def of(self, method: str) -> AcceptanceRate:
        """Return the default of a method.

        Raises:
            ValueError: the file holds none.
        """
        found = next((rate for rate in self.methods if rate.method == method), None)
        if found is None:
            raise ValueError(f"no acceptance rate for the method {method}")
        return found


def load_acceptance() -> AcceptanceRates:
    """Read the data file."""
    text = files("vllm_opt.profiles").joinpath("data/acceptance.json").read_text(encoding="utf-8")
    return AcceptanceRates.model_validate_json(text)
