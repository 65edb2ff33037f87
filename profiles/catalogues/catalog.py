"""The catalogue: every model, GPU, weight format, vLLM release and price, found by name, read only when asked for."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.price import MarketRange, Offer, PurchasePrice
from vllm_opt.profiles.nouns.quantization import Quantization

if TYPE_CHECKING:
    from vllm_opt.profiles.catalogues.engines import Engine, EngineFile
    from vllm_opt.profiles.catalogues.model_names import ModelNames
    from vllm_opt.profiles.catalogues.offers import OfferTerms
    from vllm_opt.profiles.catalogues.prices import PriceList
    from vllm_opt.profiles.catalogues.quality import QualityTable
    from vllm_opt.profiles.nouns.checkpoint import Checkpoint
    from vllm_opt.profiles.nouns.engine import EngineProfile
    from vllm_opt.profiles.nouns.kv_cache_dtype import KvCacheDtype
    from vllm_opt.profiles.nouns.model import ModelProfile
    from vllm_opt.profiles.nouns.own_calibration import OwnCalibration


class Catalog:
    """Finds nouns by id, alias or another spelling; letter case and punctuation do not count.

    Cheap to make: each file is read when something in it is first asked for, and one model or release is read alone.
    Every lookup raises UnknownProfile with the nearest known names. A user's `gpu_file` adds or changes GPUs
    (`gpus.load_gpus`), a `prices_file` stands in place of the price list (`prices.load_user_prices`);
    a fault in either raises InvalidRequest when its content is first asked for.
    """

    reads_files = True
    """Whether what a request names may be looked for on this machine."""

    def __init__(self, gpu_file: str | Path | None = None, prices_file: str | Path | None = None) -> None:
        self._gpu_file = Path(gpu_file) if gpu_file is not None else None
        self._prices_file = Path(prices_file) if prices_file is not None else None

    def model(self, name: str) -> "ModelProfile":
        """Return a model by any name that `models.load_model` knows, or by the path of its config.json or folder."""
        from vllm_opt.profiles.catalogues.models import load_model

        return load_model(name, self.model_names)

    def stored_as(self, model: "ModelProfile", checkpoint: "Checkpoint") -> "ModelProfile":
        """Return a model with its weights as one of its published checkpoints stores them."""
        from vllm_opt.profiles.catalogues.models import stored_as

        return stored_as(model, checkpoint, self.model_names)

    @cached_property
    def model_names(self) -> "ModelNames":
        """Every name of a model, read when a model is first asked for."""
        from vllm_opt.profiles.catalogues.model_names import ModelNames

        return ModelNames()

    @cached_property
    def quality(self) -> "QualityTable":
        """What weight formats and KV-cache dtypes keep of a model's scores."""
        from vllm_opt.profiles.catalogues.quality import QualityTable

        return QualityTable()

    @cached_property
    def model_ids(self) -> tuple[str, ...]:
        """Hugging Face ids of the models in the catalogue."""
        from vllm_opt.profiles.catalogues.models import model_ids

        return tuple(model_ids())

    @cached_property
    def gpus(self) -> tuple[GpuProfile, ...]:
        """Every SKU, the user's last."""
        from vllm_opt.profiles.catalogues.gpus import load_gpus

        return load_gpus(self._gpu_file)

    def gpu(self, name: str) -> GpuProfile:
        """Return one SKU by id, alias or CUDA device name."""
        from vllm_opt.profiles.catalogues.gpus import find_gpu

        return find_gpu(name, self._gpus_by_id, self._gpu_index)

    @cached_property
    def local_gpus(self) -> tuple[GpuProfile, ...]:
        """The NVIDIA GPUs of this machine, with the memory that each reports."""
        from vllm_opt.profiles.catalogues.local_gpus import read_local_gpus

        return read_local_gpus(self.gpus)

    @cached_property
    def quantizations(self) -> tuple[Quantization, ...]:
        """Every weight format."""
        from vllm_opt.profiles.catalogues.quantizations import load_quantizations

        return load_quantizations()

    def quantization(self, name: str) -> Quantization:
        """Return one weight format by id or another spelling, vLLM's own included."""
        from vllm_opt.profiles.catalogues.quantizations import find_quantization

        return find_quantization(name, self.quantizations, self._quantization_containers)

    @cached_property
    def kv_cache_dtypes(self) -> "tuple[KvCacheDtype, ...]":
        """Every value of --kv-cache-dtype."""
        from vllm_opt.profiles.catalogues.quantizations import load_kv_cache_dtypes

        return load_kv_cache_dtypes()

    def kv_cache_dtype(self, name: str) -> "KvCacheDtype":
        """Return one KV-cache dtype by name."""
        from vllm_opt.profiles.catalogues.quantizations import find_kv_cache_dtype

        return find_kv_cache_dtype(name, self.kv_cache_dtypes)

    @cached_property
    def engines(self) -> "tuple[EngineProfile, ...]":
        """Every vLLM release with a profile, oldest first."""
        from vllm_opt.profiles.catalogues.engines import load_engine

        return tuple(load_engine(file) for file in self._engine_files)

    def engine(self, version: str | None = None, engine: "Engine | None" = None) -> "tuple[EngineProfile, str | None]":
        """Return the profile that stands for a release (None: the newest), and a sentence when it is not its own.

        Raises:
            InvalidRequest: the version cannot be read, or the release lacks the engine asked for.
            UnknownProfile: the release is older than every profile.
        """
        from vllm_opt.profiles.catalogues.engines import choose_engine, load_engine

        file, note = choose_engine(version, engine, self._engine_files)
        if file not in self._loaded_engines:
            self._loaded_engines[file] = load_engine(file)
        return self._loaded_engines[file], note

    def release_after(self, version: str | None, taken: "EngineProfile") -> str | None:
        """Return the release that a development build leads to, beside the one `taken` for it; None for releases."""
        from vllm_opt.profiles.catalogues.engines import release_after

        return release_after(version, self._engine_files, taken.version, taken.engine)

    def release_after_series(self, version: str | None, taken: "EngineProfile") -> str | None:
        """Return the release after a version of two numbers, beside the one `taken` for it; None for exact ones."""
        from vllm_opt.profiles.catalogues.engines import release_after_series

        return release_after_series(version, self._engine_files, taken.version, taken.engine)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Every machine on offer, by the user's list where one is given."""
        return self.price_list.offers

    @property
    def purchase_prices(self) -> tuple[PurchasePrice, ...]:
        """Every purchase price."""
        return self.price_list.purchase

    @property
    def market_ranges(self) -> tuple[MarketRange, ...]:
        """What a GPU-hour costs across the market, for orientation."""
        return self.price_list.market_ranges

    def offers_of(self, gpu: GpuProfile, terms: "OfferTerms | None" = None) -> tuple[Offer, ...]:
        """Every offer of a SKU that a request's terms allow; without terms what is rented on demand.

        Raises:
            InvalidRequest: a price or kind of billing that makes no sense.
            UnknownProfile: a provider or region that the price list does not hold.
        """
        from vllm_opt.profiles.catalogues.offers import OfferTerms, offers_for

        return offers_for(gpu, self.offers, terms or OfferTerms())

    @cached_property
    def _gpus_by_id(self) -> dict[str, GpuProfile]:
        return {gpu.id: gpu for gpu in self.gpus}

    @cached_property
    def _gpu_index(self) -> dict[str, str]:
        from vllm_opt.profiles.catalogues.gpus import index_gpus

        return index_gpus(self.gpus)

    @cached_property
    def price_list(self) -> "PriceList":
        """The price list with its date: the file given, else the package's own with what the user imported."""
        from vllm_opt.profiles.catalogues.own_prices import load_own_prices
        from vllm_opt.profiles.catalogues.prices import load_prices, load_user_prices, with_own_prices

        if self._prices_file is not None:
            return load_user_prices(self._prices_file, self.gpu)
        return with_own_prices(load_prices(), load_own_prices())

    def own_calibration(self, path: str | None = None) -> "OwnCalibration | None":
        """What the user measured: of the file named, else of the user's data folder, where there is any; read once.

        Raises:
            InvalidRequest: the file is missing or cannot be used.
        """
        from vllm_opt.profiles.catalogues.own_calibration import load_own_calibration

        if path not in self._calibrations:
            self._calibrations[path] = load_own_calibration(None if path is None else Path(path))
        return self._calibrations[path]

    @cached_property
    def _calibrations(self) -> "dict[str | None, OwnCalibration | None]":
        return {}

    @cached_property
    def _quantization_containers(self) -> dict[str, list[str]]:
        from vllm_opt.profiles.catalogues.quantizations import load_containers

        return load_containers()

    @cached_property
    def _engine_files(self) -> "tuple[EngineFile, ...]":
        from vllm_opt.profiles.catalogues.engines import engine_files

        return engine_files()

    @cached_property
    def _loaded_engines(self) -> "dict[EngineFile, EngineProfile]":
        return {}
