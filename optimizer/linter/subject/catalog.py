"""A catalogue for one run of the linter, which estimates the same model many times."""

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.model import ModelProfile


class ReadOnceCatalog(Catalog):
    """Builds each model once, a `config.json` on disk included; everything else is what `known` has read so far."""

    def __init__(self, known: Catalog) -> None:
        super().__init__()
        self.__dict__.update(known.__dict__)
        self._models: dict[str, ModelProfile] = {}

    def model(self, name: str) -> ModelProfile:
        """Return a model as `Catalog.model` does, and remember it."""
        if name not in self._models:
            self._models[name] = super().model(name)
        return self._models[name]
