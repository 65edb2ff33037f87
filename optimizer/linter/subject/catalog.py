"""A catalogue for one run of the linter, which estimates the same model many times."""

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.model import ModelProfile


class ReadOnceCatalog(Catalog):
    """Builds each model once, a `config.json` on disk included; everything else is what `known` has read so far."""

    def __init__(self, known: Catalog) -> None:
        super().__init__()
        self.__dict__.update(known.__dict__)
        self._known = known
        self.reads_files = known.reads_files
        self._models: dict[str, ModelProfile] = {}

    def gpu(self, name: str) -> GpuProfile:
        """Return a SKU as `Catalog.gpu` does; 'local' is this machine's, with the memory that it reports."""
        if name == "local":
            self._local = self.local_gpus[0]
            return self._local
        local = getattr(self, "_local", None)
        return local if local is not None and name == local.id else super().gpu(name)

    def model(self, name: str) -> ModelProfile:
        """Return a model as `Catalog.model` does, and remember it."""
        if name not in self._models:
            self._models[name] = self._known.model(name)
        return self._models[name]
