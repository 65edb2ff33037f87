"""The catalogue as requests from outside see it: names only, no path of this machine and no download."""

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.model import ModelProfile

MODELS_KEPT = 64


class NamesOnlyCatalog(Catalog):
    """A catalogue that looks at no file that a request names, and keeps the last models it built."""

    reads_files = False

    def __init__(self) -> None:
        super().__init__()
        self._kept: dict[str, ModelProfile] = {}

    def model(self, name: str) -> ModelProfile:
        """Return a model by any name of the catalogue.

        Raises:
            UnknownProfile: the catalogue does not hold it.
        """
        from vllm_opt.profiles.catalogues.models import catalogued_model

        if name not in self._kept:
            found = catalogued_model(name, self.model_names)
            if len(self._kept) >= MODELS_KEPT:
                self._kept.pop(next(iter(self._kept)))
            self._kept[name] = found
        return self._kept[name]
