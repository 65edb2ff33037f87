"""A start predicted once more, with what was learned."""

from dataclasses import replace

from vllm_opt.optimizer.calibration.startup_compare import ComparedStart
from vllm_opt.optimizer.estimation.estimate import estimate_setting
from vllm_opt.optimizer.estimation.resolution import resolve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.own_calibration import OwnCalibration


def predicted_with(start: ComparedStart, calibration: OwnCalibration, catalog: Catalog) -> ComparedStart:
    """The same start under a calibration."""
    setting = resolve(start.request, catalog)
    gpu = setting.gpu.model_copy(update={"own": calibration.of(setting.gpu.id)})
    return replace(start, predicted=estimate_setting(replace(setting, gpu=gpu), start.request))
