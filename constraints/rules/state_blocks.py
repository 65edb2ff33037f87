"""state_blocks: with CUDA graphs, every sequence of a model with recurrent states has a block of its own.

    N >= S

for models with states, full CUDA graphs and releases that check it (vLLM 0.20 and later, `config/compilation.py:
resolve_cudagraph_mode_and_sizes`). The default of max_num_seqs is 256 or 1024, and a hybrid's blocks are large, so
plain commands meet it first.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.startup_errors import too_few_state_blocks


def needs_a_block_each(terms: MemoryTerms) -> bool:
    """Whether this release refuses more sequences than blocks in this layout."""
    full_graphs = terms.graphs is not None and terms.graphs.capture.full_graphs
    return full_graphs and terms.engine.state_blocks_cover_sequences and terms.kv.has_states


class StateBlocks:
    """A model with states has at least as many KV blocks as sequences."""

    name = "state_blocks"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare max_num_seqs with the pool, in blocks."""
        sequences, blocks = deployment.flags.max_num_seqs, deployment.num_gpu_blocks
        if not needs_a_block_each(deployment.terms) or sequences <= blocks:
            return ()
        return (
            Violation(
                rule=self.name,
                message=too_few_state_blocks(sequences, blocks),
                needed=sequences,
                available=blocks,
                unit="blocks",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Bound the sequences by the blocks under every mode that the release checks."""
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            if needs_a_block_each(mode.terms):
                covered = space.num_gpu_blocks >= space.max_num_seqs
                space.model.add(covered).only_enforce_if(chosen).with_name("a block per sequence")
