"""The `vllm serve` line of an estimated configuration: what was asked, in the words of that release."""

from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.estimation.features import feature_flags
from vllm_opt.optimizer.estimation.resolution import Setting, resolve
from vllm_opt.optimizer.serve_lines.command_line import FlagValue, command_of, flags_of, has_flag
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

POOL_FLAGS = ("num-gpu-blocks-override", "kv-cache-memory-bytes", "cpu-offload-gb")
"""Flags that `estimate` takes and a solved plan never uses."""


def command_of_estimate(estimate: Estimate) -> str:
    """Return the line that starts one server of the configuration.

    Raises:
        InvalidRequest: no checkpoint of the model in this weight format is known and vLLM cannot make one at load.
    """
    asked: dict[str, Any] = estimate.request
    request = EstimateRequest(**asked)
    setting = resolve(request, Catalog(gpu_file=asked.get("gpu_file"), prices_file=asked.get("prices")))
    features = feature_flags(request, setting.model, setting.layout, setting.engine)
    flags = {**_flags(setting), **features, **_pool_flags(setting, asked)}
    return command_of(_checkpoint(setting), flags, setting.engine)


def _flags(setting: Setting) -> dict[str, FlagValue]:
    return flags_of(setting.model, setting.quantization, setting.layout, setting.flags, setting.engine)


def _checkpoint(setting: Setting) -> str:
    if setting.layout.checkpoint is not None:
        return setting.layout.checkpoint
    if "quantization" in _flags(setting):
        return setting.model.id
    raise InvalidRequest(
        f"no checkpoint of {setting.model.id} in {setting.quantization.id} is known, so no command starts it; "
        f"make one first ({setting.quantization.checkpoint_note or 'llm-compressor can'})"
    )


def _pool_flags(setting: Setting, asked: dict[str, Any]) -> dict[str, FlagValue]:
    values = {name: asked.get(name.replace("-", "_")) for name in POOL_FLAGS}
    return {name: value for name, value in values.items() if value and has_flag(setting.engine, name)}
