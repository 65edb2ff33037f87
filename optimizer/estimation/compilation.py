"""`--compilation-config`: which CUDA graphs are captured.

Source: vLLM 0.33 `config/compilation.py`: cudagraph_mode NONE, PIECEWISE, FULL, FULL_DECODE_ONLY, FULL_AND_PIECEWISE;
mode (level in older releases) 0 compiles and captures nothing.
"""

from typing import NamedTuple

from vllm_opt.optimizer.contract.features import Features, json_value
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.model import ModelProfile

MODES = ("NONE", "PIECEWISE", "FULL", "FULL_DECODE_ONLY", "FULL_AND_PIECEWISE")
MOST_SIZES = 4096
LARGEST_SIZE = 2**20


class GraphChoice(NamedTuple):
    """What the config asks for; None leaves the release's own choice."""

    enforce_eager: bool = False
    full_graphs: bool | None = None
    sizes: tuple[int, ...] | None = None


def graph_choice(request: Features, model: ModelProfile) -> GraphChoice:
    """Read the CUDA-graph part of the config.

    Raises:
        InvalidRequest: a mode or sizes that vLLM does not take.
    """
    config = json_value(request.compilation_config)
    asked = config.get("cudagraph_mode")
    mode = None if asked is None else str(asked).upper()
    if mode is not None and mode not in MODES:
        raise InvalidRequest(f"compilation_config: cudagraph_mode must be one of {', '.join(MODES)}")
    off = mode == "NONE" or config.get("mode", config.get("level")) in (0, "0", "NONE")
    full = None if mode is None else mode.startswith("FULL")
    if full is None and model.runner == "pooling":
        full = False
    return GraphChoice(enforce_eager=off, full_graphs=full, sizes=_sizes(config.get("cudagraph_capture_sizes")))


def _sizes(value: object) -> tuple[int, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MOST_SIZES:
        raise InvalidRequest("compilation_config: cudagraph_capture_sizes must be a list of batch sizes")
    if any(isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= LARGEST_SIZE for size in value):
        raise InvalidRequest("compilation_config: cudagraph_capture_sizes must hold positive whole numbers")
    return tuple(sorted(set(value)))
