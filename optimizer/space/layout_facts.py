"""One layout with everything that its memory and speed are made of."""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.held_blocks import held_blocks
from vllm_opt.constraints.kv.kv_plan import KvPlan
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.speed.coefficients import CardSpeed
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.estimation.kv_tiers.host_loads import with_loads
from vllm_opt.optimizer.estimation.media import media_key, with_encoder
from vllm_opt.optimizer.space.setting import PricedGpu, SolveSetting
from vllm_opt.optimizer.space.shared import KnownCoefficients, KnownGraphs
from vllm_opt.optimizer.space.weights import WeightFormat
from vllm_opt.profiles.nouns.gpu import GpuProfile
from vllm_opt.profiles.nouns.latency_constants import LatencyConstants

UTILIZATION_STEP = 0.005
LOWEST_UTILIZATION = 0.5


def utilization_steps(ceiling: float) -> tuple[float, ...]:
    """The values of gpu_memory_utilization that are tried: every 0.5 % up to the ceiling, which is one of them."""
    first = min(LOWEST_UTILIZATION, ceiling)
    count = math.floor((ceiling - first) / UTILIZATION_STEP + 1e-9)
    steps = {round(first + index * UTILIZATION_STEP, 3) for index in range(count + 1)}
    return tuple(sorted(steps | {ceiling}))


def fed(
    setting: SolveSetting, plain: LatencyCoefficients, layout: Layout, plan: Callable[[], KvPlan | Violation],
    gpu: GpuProfile,
) -> LatencyCoefficients:  # fmt: skip
    """The speed of a layout with what its prompts bring: items to encode, and prefixes from the KV offload tier.

    `plan` is asked where prompts come from the tier, which a layout without prefix caching has no use for.
    """
    encoded = with_encoder(plain, setting.model, setting.request, gpu, layout.tensor_parallel_size)
    share = setting.request.offload_hit_share if layout.enable_prefix_caching else 0.0
    found = plan() if share else None
    per_token = math.ceil(max(found.bytes_per_token, default=0)) if isinstance(found, KvPlan) else 0
    return with_loads(encoded, share, setting.lengths[0], per_token, gpu)


def fed_key(setting: SolveSetting, *of_the_cache: object) -> tuple[object, ...]:
    """What `fed` reads of a request, and of the cache where prompts are loaded into it."""
    request = setting.request
    if not request.offload_hit_share:
        return (media_key(request),)
    return media_key(request), request.offload_hit_share, setting.lengths[0], *of_the_cache


@dataclass(frozen=True, eq=False)
class LayoutFacts:
    """One layout with its physics. `budgets` holds the budget bytes of every utilisation step, ascending."""

    setting: SolveSetting
    layout: Layout
    sku: PricedGpu
    weights: WeightFormat
    terms: MemoryTerms
    utilizations: tuple[float, ...]
    budgets: tuple[int, ...]
    constants: LatencyConstants
    known_graphs: KnownGraphs
    """Bytes of CUDA graphs by (max_num_seqs, max_num_batched_tokens, confidence), shared where graphs are equal."""
    known_coefficients: KnownCoefficients
    """By `enforce_eager`, shared among the layouts that differ in nothing else that speed depends on."""
    speed: CardSpeed

    @property
    def confidence(self) -> float:
        """The confidence at which memory must hold."""
        return self.setting.request.confidence

    @cached_property
    def coefficients(self) -> LatencyCoefficients:
        """Latency coefficients of the layout."""
        return self.coefficients_in(eager=self.layout.enforce_eager)

    def coefficients_in(self, *, eager: bool) -> LatencyCoefficients:
        """Latency coefficients of the layout in eager mode, or as it is."""
        known = self.known_coefficients
        if eager not in known:
            layout = self.layout
            if eager and not layout.enforce_eager:
                layout = layout.model_copy(update={"enforce_eager": True})
            known[eager] = fed(self.setting, self.speed.of(layout), layout, lambda: self.terms.kv, self.sku.gpu)
        return known[eager]

    @property
    def monotone(self) -> bool:
        """Whether the pool that is left never grows with max_num_seqs or max_num_batched_tokens.

        Where graphs are captured outside the budget, into what the activation peak leaves free, a higher peak can
        lower the headroom that is needed, and with it raise the highest utilisation.
        """
        return self.terms.engine.graphs_in_budget or self.terms.graphs is None

    def highest_budget(self, headroom_needed: int) -> int:
        """The largest budget that leaves the headroom; -1 when even the lowest step does not."""
        index = bisect_right(self.budgets, self.terms.total_bytes - headroom_needed)
        return self.budgets[index - 1] if index else -1

    def blocks_needed(self, sequences: int, tokens: int) -> int:
        """KV blocks that `sequences` sequences hold, the null block included."""
        return held_blocks(self.terms.kv, self.setting.targets, sequences, tokens)

    @cached_property
    def budget_without_graphs(self) -> int:
        """The highest budget where nothing but the context and communication buffers must stay outside."""
        return self.highest_budget(self.terms.context.at(self.confidence))
