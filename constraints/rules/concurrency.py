"""concurrency: the sequences asked are admitted, and the KV pool holds whatever the flags admit.

    S >= ceil(concurrency / engines) + reserve          reserve: max(1, 10 %) of it, where one is kept
    N >= held_blocks(S, T)                              `constraints/kv/held_blocks.py`

so that nothing is preempted when every sequence reaches its mean context (by default the full target context). Running
sequences hold what vLLM leaves them at every step, and one more prompt may start when a sequence ends. Host memory
(swap space, KV offload) holds blocks that a later request may reuse, and runs nothing.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.kv.held_blocks import held_blocks, tokens_held
from vllm_opt.profiles.reading.quantities import counted


def blocks_for_sequences(deployment: Deployment, sequences: int) -> int:
    """KV blocks that `sequences` sequences take in one engine, the null block included."""
    return held_blocks(deployment.terms.kv, deployment.targets, sequences, deployment.flags.max_num_batched_tokens)


class Concurrency:
    """Every sequence that the flags admit has its KV blocks, and enough are admitted."""

    name = "concurrency"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Check admission over all engines, then the blocks of one engine."""
        flags, targets = deployment.flags, deployment.targets
        admitted = flags.max_num_seqs * deployment.engines
        least = targets.sequences_admitted(deployment.engines)
        found = []
        if flags.max_num_seqs < least:
            found.append(
                Violation(
                    rule=self.name,
                    message=(
                        f"max_num_seqs {flags.max_num_seqs} on {counted(deployment.engines, 'engine')} holds "
                        f"{counted(admitted, 'sequence')}, and {targets.concurrency} are asked"
                        f"{' with a reserve' * targets.admission_reserve}; raise max_num_seqs or add replicas"
                    ),
                    needed=least * deployment.engines if targets.admission_reserve else targets.concurrency,
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
                        f"{counted(flags.max_num_seqs, 'sequence')} of "
                        f"{counted(tokens_held(deployment.terms.kv, targets, flags.max_num_seqs), 'token')} "
                        f"need {counted(needed, 'KV block')} in one engine, and the pool has {available}"
                    ),
                    needed=needed,
                    available=available,
                    unit="blocks",
                )
            )
        return tuple(found)

    def add(self, space: DecisionSpace) -> None:
        """S >= what the mode's engines must admit; N >= fixed + blocks of a sequence x S, under each point."""
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            least = space.targets.sequences_admitted(mode.engines)
            space.model.add(space.max_num_seqs >= least).only_enforce_if(chosen).with_name("sequences to admit")
        for _, point, picked in space.points():
            fixed = point.blocks_needed - point.blocks_each * point.max_num_seqs
            pool = space.num_gpu_blocks - point.blocks_each * space.max_num_seqs >= fixed
            space.model.add(pool).only_enforce_if(picked).with_name("blocks of the sequences admitted")
