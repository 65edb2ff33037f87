"""startup_headroom: what lives outside the budget fits beside it.

    total - round(u * total) >= context_and_communication                          graphs in the budget: 0.20 and later
    total - round(u * total) >= context_and_communication + graphs(S, T)           V1 before
    total - round(u * total) >= context_and_communication + after_profile(S, T)    V2 runner of 0.22 to 0.28
    total - round(u * total) >= context_and_communication + max(0, graphs - peak)  V0

vLLM 0.33 refuses at start-up when free memory is below the budget (`v1/worker/utils.py:request_memory`). Where no graph
estimate is part of the budget, V0 captures graphs into what the activation peak left free; V1 runs the sampler once
more afterwards (`v1/worker/gpu_worker.py:compile_or_warm_up_model`), and needs that peak beside them. The V2 runner
samples then with parameters that its profile left out (`memory/sampler_warmup.py`).
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.startup_errors import format_gib, free_memory_below_request


def _not_free(deployment: Deployment, needed: int, available: int) -> Violation:
    """Return vLLM's refusal of a budget that is not free at start-up."""
    terms, utilization = deployment.terms, deployment.flags.gpu_memory_utilization
    free = terms.total_bytes - terms.taken_at_start_bytes
    budget = terms.budget_bytes(utilization)
    message = free_memory_below_request(free, terms.total_bytes, utilization, budget)
    return Violation(rule="startup_headroom", message=message, needed=needed, available=available, unit="bytes")


class StartupHeadroom:
    """The CUDA context and NCCL (and, in older releases, CUDA graphs) fit outside the budget."""

    name = "startup_headroom"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare total - budget with what must live there."""
        flags, terms = deployment.flags, deployment.terms
        available = terms.headroom_bytes(flags.gpu_memory_utilization)
        needed = terms.headroom_needed_bytes(flags.max_num_batched_tokens, flags.max_num_seqs, deployment.confidence)
        if available >= needed:
            return ()
        if terms.taken_at_start_bytes > available:
            return (_not_free(deployment, needed, available),)
        return (
            Violation(
                rule=self.name,
                message=(
                    f"gpu_memory_utilization {flags.gpu_memory_utilization:g} leaves {format_gib(available)} GiB for "
                    "the CUDA context, communication buffers and whatever is captured after profiling, which need "
                    f"{format_gib(needed)} GiB; lower gpu_memory_utilization"
                ),
                needed=needed,
                available=available,
                unit="bytes",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Keep the budget below what each point must leave untouched."""
        for mode, point, picked in space.points():
            most = mode.terms.total_bytes - point.headroom_needed_bytes
            room = space.model.add(space.budget_of(mode) <= most).only_enforce_if(picked)
            room.with_name(f"{mode.terms.total_bytes} total - {point.headroom_needed_bytes} outside the budget")
