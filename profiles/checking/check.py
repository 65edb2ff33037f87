"""All files of facts, checked: the report behind `vllm-opt check-data`."""

from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.checking.engines import check_engines
from vllm_opt.profiles.checking.fault import Fault, FileReport, fault, file_name
from vllm_opt.profiles.checking.formats import check_formats, check_references
from vllm_opt.profiles.checking.gpus import check_gpus
from vllm_opt.profiles.checking.models import check_model_file, check_models
from vllm_opt.profiles.checking.prices import check_prices, check_user_prices
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.noun import Noun


class DataReport(Noun):
    """What was looked at, and what is wrong with it."""

    files: tuple[FileReport, ...] = Field(description="every file in turn")

    @property
    def faults(self) -> tuple[Fault, ...]:
        """Everything said about any file."""
        return tuple(one for report in self.files for one in report.faults)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; notes do not count."""
        return all(one.level == "note" for one in self.faults)


def check_data(
    *, gpu_file: str | Path | None = None, prices: str | Path | None = None, model_file: str | Path | None = None
) -> DataReport:
    """Check what the catalogue ships; where files of a user are named, these instead.

    Looked at: the schema of every row; sources that a reader can open, by their form (nothing is fetched); figures
    whose unit cannot be right; the same thing given twice; ids that refer to nothing; that every model can be read.
    A fault of a file is part of the report, never an exception.
    """
    given = [path for path in (gpu_file, prices, model_file) if path is not None]
    reports = _own_files(gpu_file, prices, model_file) if given else _shipped()
    return DataReport(files=tuple(reports))


def _own_files(
    gpu_file: str | Path | None, prices: str | Path | None, model_file: str | Path | None
) -> list[FileReport]:
    reports = []
    if gpu_file is not None:
        reports += _tried(file_name(gpu_file), lambda: [check_gpus(Path(gpu_file))])
    if prices is not None:
        catalog = Catalog(gpu_file=gpu_file if reports and not reports[0].faults else None)
        known = {gpu.id: gpu for gpu in catalog.gpus}
        reports += _tried(file_name(prices), lambda: [check_user_prices(Path(prices), known, catalog.gpu)])
    if model_file is not None:
        reports += _tried(file_name(model_file), lambda: [check_model_file(str(model_file))])
    return reports


def _shipped() -> list[FileReport]:
    catalog = Catalog()
    reports = _tried("gpus.json", lambda: [check_gpus()])
    reports += _tried("quantizations.json", check_formats)
    if any(report.faults for report in reports):
        return reports  # what refers to them cannot be judged yet
    gpus = {gpu.id: gpu for gpu in catalog.gpus}
    caches = {name: row for row in catalog.kv_cache_dtypes for name in (row.id, *row.names)}
    models = dict.fromkeys(catalog.model_ids)
    reports += _tried("prices.json", lambda: [check_prices(gpus)])
    reports += _tried("engines", lambda: check_engines(dict(caches)))
    reports += _tried("models", lambda: check_models(catalog.model_names))
    reports += _tried("checkpoints.json", lambda: check_references(gpus, dict(models)))
    return reports


def _tried(file: str, check: Callable[[], list[FileReport]]) -> list[FileReport]:
    """A file that cannot be read at all is a fault of that file, and the others are checked all the same."""
    try:
        return check()
    except VllmOptError as error:
        return [FileReport(file=file, rows=0, faults=(fault(file, "", str(error)),))]
