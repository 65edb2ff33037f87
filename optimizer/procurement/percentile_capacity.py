"""What one replica serves at random arrivals so that limits hold for a share of the requests."""

from dataclasses import dataclass, replace

from vllm_opt.constraints.queueing.engine import Demand
from vllm_opt.optimizer.estimation.performance import Engines
from vllm_opt.optimizer.estimation.rate_within_limits import rate_within_limits
from vllm_opt.optimizer.space.points import Candidate, Unit


@dataclass(frozen=True)
class PercentileTarget:
    """Limits on TTFT and TPOT in ms at a percentile over requests, and how evenly a router spreads them.

    `imbalance`: by how much the busiest replica gets more than the average. Requests go to replicas at random, so each
    sees random arrivals of its own.
    """

    max_ttft_ms: float | None
    max_tpot_ms: float | None
    ttft_percentile: float | None
    tpot_percentile: float | None
    burstiness: float
    imbalance: float
    utilization_cap: float
    """Share of its capacity that a fleet asks of a replica: here the percentile says that, so it is divided out."""

    def capacity(self, candidate: Candidate, sequences: int) -> float:
        """Requests/s of one replica at which the limits hold at the confidence asked, the router's excess taken off."""
        return self.rate(candidate.unit, sequences, candidate.max_num_batched_tokens)

    def rate(self, unit: Unit, sequences: int, max_num_batched_tokens: int) -> float:
        """The same of one replica of a unit; infinite where its speed is not known."""
        facts, setting = unit.facts, unit.facts.setting
        served = Engines(
            facts.coefficients, unit.engines, sequences, max_num_batched_tokens, setting.lengths,
            facts.layout.enable_chunked_prefill,
            setting.request.prefix_hit_share if facts.layout.enable_prefix_caching else 0.0,
        )  # fmt: skip
        rate = rate_within_limits(
            served, Demand("poisson", burstiness=self.burstiness), (self.max_ttft_ms, self.ttft_percentile),
            (self.max_tpot_ms, self.tpot_percentile), setting.request.confidence,
        )  # fmt: skip
        return float("inf") if rate is None else rate / (1.0 + self.imbalance) / self.utilization_cap

    def in_turns(self, turns: int) -> "PercentileTarget":
        """The limits as a server must meet them that gets one of so many turns of a GPU.

        A server at 1/n of the speed is one at full speed on a clock that runs n times slower: it serves 1/n of the rate
        at which the limits divided by n hold there.
        """
        ttft, tpot = (None if limit is None else limit / turns for limit in (self.max_ttft_ms, self.max_tpot_ms))
        return replace(self, max_ttft_ms=ttft, max_tpot_ms=tpot)
