"""Weights that no node on offer holds: the defaults that keep plans on one node give way (`default_limits.py`)."""

from typing import Any

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.weights.parameter_bytes import weight_bytes
from vllm_opt.optimizer.contract.assumptions import Assumption
from vllm_opt.optimizer.contract.request import PINS
from vllm_opt.optimizer.space.setting import SolveSetting, resolve_solve
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.catalogues.catalog import Catalog

USUAL_INTERNODE_GBPS = 400.0
MOST_GPUS = 64
MOST_WEIGHTS_SHARE = 0.85
"""Of a node's memory: what stands beside the weights needs the rest."""

ROOM = 2
"""More GPUs are allowed until they hold so many times the weights."""


def over_nodes(setting: SolveSetting, catalog: Catalog) -> SolveSetting:
    """The same with nodes joined by a usual network, and more GPUs, where no node on offer holds the weights.

    Only where the request leaves cards, counts, cost and network open. The network is that of a DGX H100, one adapter
    of 400 Gbit/s per GPU (https://docs.nvidia.com/dgx/dgxh100-user-guide/introduction-to-dgxh100.html).
    """
    request = setting.request
    said = request.gpu, request.owned, request.gpus, request.max_gpus, request.internode_gbps, request.max_hourly_cost
    pinned = any(getattr(request, name) is not None for name in PINS)
    if any(said) or pinned or setting.machine_gpus is not None:
        return setting
    smallest = min((_weight_bytes(item) for item in setting.formats if item.accepted), default=0)
    node = max(item.gpu.memory_bytes * item.gpu.gpus_per_node for item in setting.gpus)
    if smallest <= node * MOST_WEIGHTS_SHARE:
        return setting
    changes: dict[str, Any] = {"internode_gbps": USUAL_INTERNODE_GBPS}
    assumed = [
        Assumption(
            field="internode_gbps",
            value=USUAL_INTERNODE_GBPS,
            why="no node on offer holds the weights: nodes are taken to be joined by 400 Gbit/s per GPU",
        )
    ]
    largest = max(item.gpu.memory_bytes for item in setting.gpus)
    needed = -(-smallest * ROOM // largest)
    if needed > setting.targets.max_gpus:
        changes["max_gpus"] = min(MOST_GPUS, 1 << (needed - 1).bit_length())
        why = "the weights need more GPUs than the default allows"
        assumed.append(
            Assumption(field="max_gpus", value=changes["max_gpus"], why=why, bent_from=setting.targets.max_gpus)
        )
    kept = {**request.model_dump(exclude_unset=True), **changes, "assumed": (*request.assumed, *assumed)}
    return resolve_solve(type(request)(**kept), catalog, setting.bends)


def _weight_bytes(weights: WeightFormat) -> int:
    return sum(weight_bytes(weights.model, weights.quantization, Layout(gpu="", quantization=weights.quantization.id)))
