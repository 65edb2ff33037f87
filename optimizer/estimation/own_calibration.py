"""Who asks for a user's own calibration, and how an answer names it."""

from collections.abc import Iterable
from typing import Protocol

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.catalogues.own_calibration import own_calibration_path
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.printable import printable
from vllm_opt.profiles.reading.quantities import counted


class AsksForCalibration(Protocol):
    """A request that says whether calibration counts, and which file."""

    @property
    def calibration(self) -> bool:
        """Whether learned factors count at all."""

    @property
    def calibration_file(self) -> str | None:
        """The file; None: the user's own, if there is one."""


def with_own_calibration(gpu: GpuProfile, request: AsksForCalibration, catalog: Catalog) -> GpuProfile:
    """The SKU with what the user's own logs and benchmarks say of it.

    Raises:
        InvalidRequest: the calibration file is missing or cannot be used.
    """
    if not request.calibration:
        return gpu
    known = catalog.own_calibration(request.calibration_file)
    own = known.of(gpu.id) if known is not None else None
    return gpu if own is None else gpu.model_copy(update={"own": own})


def calibration_notes(gpus: Iterable[GpuProfile], request: AsksForCalibration) -> tuple[str, ...]:
    """Name the calibration where it says something of these SKUs."""
    used = [gpu.own for gpu in gpus if gpu.own is not None]
    if not used:
        return ()
    parts = []
    for own in used:
        counts = [counted(own.points, "benchmark point")] if own.points else []
        counts += [counted(own.logs, "start-up log")] if own.logs else []
        parts.append(f"{own.gpu} ({' and '.join(counts)})" if counts else own.gpu)
    place = printable(str(request.calibration_file or own_calibration_path())[-200:])
    return (f"calibrated by your own measurements of {', '.join(parts)} in {place}; --no-calibration leaves them out",)
