"""Parts of layouts that a process keeps between requests: a slider moves the load and the limits, not the model."""

import json
from collections import OrderedDict

from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.space.shared import SharedLayouts

MODELS_KEPT = 6
REQUESTS_EACH = 100
"""After so many requests the parts are made anew, so that a process that lives for months does not grow."""
LOAD_AND_LIMITS = frozenset(
    (
        "gpu", "max_gpus", "gpus", "owned", "workload", "concurrency", "requests_per_s", "target_context",
        "input_tokens", "output_tokens", "max_ttft_ms", "max_tpot_ms", "min_output_tokens_per_s", "max_hourly_cost",
        "min_quality", "objective", "top", "pareto", "explain", "time_limit", "seed", "tolerance",
    )
)  # fmt: skip
"""Fields that may differ between requests that share; two that differ in any other field share nothing."""


class KeptLayouts:
    """The parts of the last few models that were asked about; nothing of a request's load or limits is in them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[SharedLayouts, int]] = OrderedDict()

    def of(self, request: SolveRequest) -> SharedLayouts:
        """What the layouts of this request's model already have in common."""
        key = json.dumps(request.model_dump(mode="json", exclude=set(LOAD_AND_LIMITS)), sort_keys=True)
        shared, used = self._kept.pop(key, (SharedLayouts(), 0))
        if used >= REQUESTS_EACH:
            shared, used = SharedLayouts(), 0
        self._kept[key] = shared, used + 1
        if len(self._kept) > MODELS_KEPT:
            self._kept.popitem(last=False)
        return shared
