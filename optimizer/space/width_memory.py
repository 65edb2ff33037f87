"""The start-up memory sum of one layout at one width of a step, as a function of max_num_seqs alone.

The same integers as `MemoryTerms`, with everything that does not depend on max_num_seqs added up once: the search asks
for dozens of sizes at every width of thousands of layouts.
"""

from vllm_opt.constraints.memory.ledger import MemoryTerms
from vllm_opt.optimizer.space.layout_facts import LayoutFacts


class WidthMemory:
    """Memory at T = `tokens`. `confidence` None gives central estimates."""

    def __init__(self, facts: LayoutFacts, tokens: int, confidence: float | None) -> None:
        terms: MemoryTerms = facts.terms
        peak = terms.activation
        shared = terms.non_torch.bytes if confidence is None else terms.non_torch.at(confidence)
        self._facts, self._tokens, self._confidence = facts, tokens, confidence
        self._terms = terms
        linear = peak.linear_at(0.5 if confidence is None else confidence, tokens)
        self._stages = tuple(
            (weights + extra + shared, *linear[stage], terms.kv.block_bytes[stage], stage == 0)
            for stage, (weights, extra) in enumerate(zip(terms.weights, terms.weights_extra, strict=True))
        )
        self._graphs_outside = terms.graphs is not None and not terms.engine.graphs_in_budget
        self._constant = None if self._graphs_outside else facts.budget_without_graphs
        self._known_graphs = facts.known_graphs

    def graph_bytes(self, sequences: int) -> int:
        """CUDA-graph memory of one rank; remembered over layouts with the same graphs."""
        if self._terms.graphs is None:
            return 0
        key = sequences, self._tokens, self._confidence
        if key not in self._known_graphs:
            self._known_graphs[key] = self._terms.graph_bytes(self._tokens, sequences, self._confidence)
        return self._known_graphs[key]

    def budget(self, sequences: int) -> int:
        """The highest budget whose headroom is kept at the confidence asked; -1 when none is."""
        if self._constant is not None:
            return self._constant
        facts = self._facts
        return facts.highest_budget(self._terms.headroom_needed_bytes(self._tokens, sequences, facts.confidence))

    def blocks(self, sequences: int) -> int:
        """KV blocks beside everything else with that budget; -1 when something does not fit."""
        budget = self.budget(sequences) - (0 if self._graphs_outside else self.graph_bytes(sequences))
        sampled = min(sequences, self._tokens)
        fewest = self._terms.UNLIMITED_BLOCKS
        encoder = self._terms.activation.floor_at(self._confidence, self._tokens, sequences)
        for fixed, forward, sampler, each, block, encodes in self._stages:
            left = budget - fixed - max(forward, sampler + each * sampled, encoder if encodes else 0)
            fewest = min(fewest, left // block if block else (fewest if left >= 0 else -1))
        return max(-1, fewest)
