"""state_blocks: with CUDA graphs, every sequence of a model with recurrent states has a block of its own.

    N >= S                           vLLM 0.20 and later, `config/compilation.py:resolve_cudagraph_mode_and_sizes`
    N >= min(S, largest capture)     delta nets in 0.11 to 0.16, `causal_conv1d_update`: num_cache_lines >= batch

for models with states and full CUDA graphs. 0.17 to 0.19 captured less instead (vllm-project/vllm issue 34094, pull
requests 34571 and 38270; QwenLM/Qwen3-Coder issue 559 for the assertion in 0.15). The default of max_num_seqs is 256 or
1024, and a hybrid's blocks are large, so plain commands meet it first.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.decision_space import DecisionSpace
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.constraints.memory.startup_errors import too_few_blocks_to_capture, too_few_state_blocks


def needs_a_block_each(terms: MemoryTerms) -> bool:
    """Whether this release refuses more sequences than blocks in this layout."""
    if terms.graphs is None or not terms.graphs.capture.full_graphs or not terms.kv.has_states:
        return False
    return terms.engine.state_blocks_cover_sequences or terms.graphs.checks_states


def blocks_for_sequences(terms: MemoryTerms, max_num_seqs: int) -> int:
    """Blocks without which this release does not start with so many sequences; 0 where it does not look."""
    if terms.graphs is None or not needs_a_block_each(terms):
        return 0
    if terms.engine.state_blocks_cover_sequences:
        return max_num_seqs
    return min(max_num_seqs, max(terms.graphs.sizes or (terms.graphs.max_size,)))


class StateBlocks:
    """A model with states has at least as many KV blocks as sequences."""

    name = "state_blocks"

    def check(self, deployment: Deployment) -> tuple[Violation, ...]:
        """Compare max_num_seqs with the pool, in blocks."""
        terms, blocks = deployment.terms, deployment.num_gpu_blocks
        sequences = blocks_for_sequences(terms, deployment.flags.max_num_seqs)
        if sequences <= blocks:
            return ()
        each = terms.engine.state_blocks_cover_sequences
        return (
            Violation(
                rule=self.name,
                message=(too_few_state_blocks if each else too_few_blocks_to_capture)(sequences, blocks),
                needed=sequences,
                available=blocks,
                unit="blocks",
            ),
        )

    def add(self, space: DecisionSpace) -> None:
        """Bound the sequences by the blocks under every mode that the release checks.

        A sequence that a plan admits holds more than one block, so that the larger of both bounds cuts off no plan.
        """
        for mode, chosen in zip(space.modes, space.chosen, strict=True):
            if needs_a_block_each(mode.terms):
                covered = space.num_gpu_blocks >= space.max_num_seqs
                space.model.add(covered).only_enforce_if(chosen).with_name("a block per sequence")
