"""What a plan would do at other loads, contexts and lengths: the same configuration, estimated again.

Only a report asks for this. A plan whose own figures the estimate does not return is left without curves: a curve
beside the plan's figures would belong to another configuration.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from vllm_opt.optimizer.contract.answer import Estimate, Plan
from vllm_opt.optimizer.contract.features import Features
from vllm_opt.optimizer.contract.performance import Performance
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError

SAME = 0.02
"""How far TTFT and throughput of the estimate may lie from the plan's own."""
LOADS, CONTEXTS = 9, 8
PAST_THE_POOL = 1.25
"""How far a curve over context runs past the point where the pool is full."""
CARRIED = (
    "input_tokens", "output_tokens", "prefix_hit_share", "kv_offloading_size", "offload_hit_share", "provider",
    "billing", "region", "owned", "price", "prices", "gpu_file", "internode_gbps", "confidence", "calibration",
    *Features.model_fields,
)  # fmt: skip
"""Fields of a solve request that describe its load, its prices or its features, and that an estimate takes as well."""


@dataclass(frozen=True)
class PlanSeries:
    """One plan and the request that it answers."""

    plan: Plan
    request: Mapping[str, Any]
    _found: dict[tuple[tuple[str, Any], ...], Estimate | None] = field(default_factory=dict)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The plan as fields of an `EstimateRequest`; empty where it cannot be read back."""
        from vllm_opt.optimizer.estimation.pasted_line import fields_of_line

        try:
            stated, _ = fields_of_line(self.plan.command, self.plan.vllm_version, None, self._catalog)
        except VllmOptError:
            return {}
        carried = {name: self.request[name] for name in CARRIED if self.request.get(name) not in (None, [], ())}
        carried = {name: value for name, value in carried.items() if name in EstimateRequest.model_fields}
        about = {
            "model": self.plan.model, "gpu": self.plan.gpu, "replicas": self.plan.replicas,
            "vllm_version": self.plan.vllm_version, "engine": self.request.get("engine"),
            "quantization": self.plan.quantization, "kv_cache_dtype": self.plan.kv_cache_dtype,
            "concurrency": self.plan.performance.load.users,
        }  # fmt: skip
        return {**carried, **stated, **about}

    @cached_property
    def _catalog(self) -> Catalog:
        return Catalog(gpu_file=self.request.get("gpu_file"), prices_file=self.request.get("prices"))

    def estimate(self, **changes: Any) -> Estimate | None:
        """The configuration with some fields changed; None where it cannot be estimated."""
        from vllm_opt.optimizer.estimation.estimate import estimate

        key = tuple(sorted(changes.items()))
        if key not in self._found:
            try:
                self._found[key] = estimate(EstimateRequest(**{**self.fields, **changes}), self._catalog)
            except VllmOptError:
                self._found[key] = None
        return self._found[key]

    @cached_property
    def faithful(self) -> bool:
        """Whether the estimate of the plan says what the plan says."""
        again = self.estimate() if self.fields else None
        if again is None or again.performance is None:
            return False
        mine, other = self.plan.performance, again.performance
        pairs = ((mine.ttft_ms, other.ttft_ms), (mine.output_tokens_per_s, other.output_tokens_per_s))
        return all(math.isclose(one, another, rel_tol=SAME) for one, another in pairs)

    @property
    def most_users(self) -> int:
        """The most users that the flags admit, or that were asked for."""
        return max(self.plan.performance_full.load.users, self.plan.performance.load.users)

    def over_load(self) -> tuple[Performance, ...]:
        """Speed at numbers of users from one to half as many again as run at once, where some wait."""
        if not self.faithful:
            return ()
        least, most = self.plan.replicas, math.ceil(1.5 * self.most_users)
        ratio = (max(most, 2) / least) ** (1 / (LOADS - 1))
        users = {round(least * ratio**step) for step in range(LOADS)} | {self.plan.performance.load.users}
        found = [self.estimate(concurrency=count) for count in sorted(users)]
        return tuple(one.performance for one in found if one is not None and one.performance is not None)

    def over_context(self) -> tuple[tuple[int, float], ...]:
        """Context -> sequences of that length that run at once, in all replicas, past what the users asked fill."""
        if not self.faithful:
            return ()
        memory, engines = self.plan.memory, self.plan.replicas * self.plan.data_parallel_size
        asked = int(self.fields.get("max_model_len") or memory.max_supported_model_len)
        full = asked * memory.running_concurrency * engines / self.plan.performance.load.users
        last = min(memory.max_supported_model_len, math.ceil(max(asked, full) * PAST_THE_POOL))
        contexts = sorted(
            {max(1, round(last * step / CONTEXTS)) for step in range(1, CONTEXTS + 1)} | {min(asked, last)}
        )
        found = [(context, self.estimate(max_model_len=context)) for context in contexts]
        return tuple(
            (context, one.memory.running_concurrency * engines)
            for context, one in found
            if one is not None and one.memory.running_concurrency > 0
        )

    def usd_per_million(self, **changes: Any) -> float | None:
        """Dollars per million output tokens of the plan's bill when something of its load changes."""
        if self.plan.cost is None or not self.faithful:
            return None
        changed = self.estimate(**changes)
        if changed is None or changed.performance is None or changed.performance.output_tokens_per_s <= 0:
            return None
        return per_million(self.plan.cost.usd_per_hour, changed.performance.output_tokens_per_s)


def per_million(usd_per_hour: float, output_tokens_per_s: float) -> float:
    """Dollars per million output tokens, day and night at this rate: usd_per_hour / (3600 x rate) x 10^6."""
    return usd_per_hour / (3600 * output_tokens_per_s) * 1e6
