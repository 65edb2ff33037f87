"""concurrency: the sequences asked are admitted, and the KV pool holds whatever the flags admit.

    (S + parked) * engines >= concurrency
    N >= null_block + S * blocks_per_request(mean_context, T)

so that nothing is preempted when every sequence reaches its mean context (by default the full target context). `parked`
sequences wait in the CPU tier (swap space in V0, KV offload), when one was asked for.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.profiles.reading.quantities import counted


def blocks_for_sequences(deployment: Deployment, sequences: int) -> int:
    """KV blocks that `sequences` sequences of the mean context take in one engine, the null block included."""
    terms, tokens = deployment.terms, deployment.flags.max_num_batched_tokens
    per_sequence = terms.kv.blocks_per_request(deployment.targets.mean_context, tokens)
    return terms.null_blocks + sequences * per_sequence


def flags_have_tier(deployment: Deployment) -> bool:
    """Whether the configuration asks for a CPU tier beyond what the release reserves by default."""
    flags = deployment.flags
    return bool(flags.kv_offloading_size_gib) or flags.swap_space_gib != deployment.engine.default_swap_space_gib


class Concurrency:
    """Every sequence that the flags admit has its KV blocks, and enough are admitted."""

    name = "concurrency"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Check admission over all engines, then the blocks of one engine."""
        flags, targets = deployment.flags, deployment.targets
        parked = deployment.terms.host_tier_tokens(flags) // targets.mean_context if flags_have_tier(deployment) else 0
        admitted = (flags.max_num_seqs + parked) * deployment.engines
        found = []
        if admitted < targets.concurrency:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"max_num_seqs {flags.max_num_seqs} on {counted(deployment.engines, 'engine')} holds "
                        f"{counted(admitted, 'sequence')}, and {targets.concurrency} are asked; "
                        "raise max_num_seqs or add replicas"
                    ),
                    needed=targets.concurrency,
                    available=admitted,
                    unit="sequences",
                )
            )
        needed, available = blocks_for_sequences(deployment, flags.max_num_seqs), deployment.num_gpu_blocks
        if available < needed:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"{counted(flags.max_num_seqs, 'sequence')} of {counted(targets.mean_context, 'token')} "
                        f"need {counted(needed, 'KV block')} in one engine, and the pool has {available}"
                    ),
                    needed=needed,
                    available=available,
                    unit="blocks",
                )
            )
        return tuple(found)

    def add(self, space: DecisionSpace) -> None:
        """Admission is a constant bound per mode (its replicas are fixed); the pool needed is a constant per point."""
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            least = -(-space.targets.concurrency // mode.engines) - mode.parked_sequences
            space.model.add(space.max_num_seqs >= least).only_enforce_if(chosen)
        for _, point, picked in space.points():
            space.model.add(space.num_gpu_blocks >= point.blocks_needed).only_enforce_if(picked)
