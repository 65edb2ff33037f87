"""Search: which operating points can be optimal, by exact bounds of their own, before CP-SAT proves the optimum.

Layouts are visited in ascending order of a lower bound on the first objective (what the fewest replicas that memory
allows would cost). A SKU is finished as soon as a point was found and every layout left is bounded above it; nothing
that could win is ever skipped. Objectives without such a bound visit every layout.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from vllm_opt.constraints.budget import microusd
from vllm_opt.constraints.engine_defaults import default_max_num_batched_tokens
from vllm_opt.constraints.rules import RULE_NAMES
from vllm_opt.constraints.violation import Violation
from vllm_opt.optimizer.feasibility import feasible_part, refined_pieces
from vllm_opt.optimizer.layout_physics import LayoutFacts, LayoutPhysics
from vllm_opt.optimizer.layouts import candidate_layouts
from vllm_opt.optimizer.objective import unit_cost_microusd
from vllm_opt.optimizer.operating_points import (
    LARGEST_BATCH,
    Candidate,
    Unit,
    evaluate,
    most_sequences,
    sequence_grid,
    token_grid,
)
from vllm_opt.optimizer.solve_setting import SolveSetting

ALL_RULES = frozenset(RULE_NAMES)
UNLIMITED_GPUS = 4096


@dataclass
class SearchResult:
    """What the search found. `dropped` counts, per SKU and rule, the layouts that this rule alone ruled out."""

    candidates: list[Candidate] = field(default_factory=list)
    dropped: dict[str, Counter[str]] = field(default_factory=dict)
    layouts_considered: int = 0
    layouts_evaluated: int = 0
    complete: bool = True
    lowest_open: int | None = None


class Search:
    """One pass over all layouts of a request; `active` names the rules that hold (explanations drop some)."""

    def __init__(self, setting: SolveSetting, active: frozenset[str] = ALL_RULES) -> None:
        self.setting = setting
        self.active = active
        self.physics = LayoutPhysics(setting)
        self.result = SearchResult()
        self.first = setting.request.objective[0]
        targets = setting.targets
        self.most_gpus = (targets.gpus or targets.max_gpus) if "gpu_count" in active else UNLIMITED_GPUS
        self.deadline = time.monotonic() + setting.request.time_limit

    def run(self) -> SearchResult:
        """Visit the layouts of every SKU until each has its best first-objective value, or time is up."""
        if "context_length" in self.active and self.setting.targets.target_context > self.setting.model.max_model_len:
            for sku in self.setting.gpus:
                self._drop(sku.gpu.id, "context_length")
            return self.result
        queues = {sku.gpu.id: self._classes(self._facts(index)) for index, sku in enumerate(self.setting.gpus)}
        while queues:
            if time.monotonic() > self.deadline:
                self.result.complete = False
                self.result.lowest_open = min(queue[0][0] for queue in queues.values() if queue)
                break
            batch = [unit for queue in queues.values() if queue for unit in queue[0][1]]
            found = self._solve(batch)
            solved = {candidate.unit.facts.sku.gpu.id for candidate in found}
            self.result.candidates += found
            queues = {sku: queue[1:] for sku, queue in queues.items() if sku not in solved and len(queue) > 1}
        return self.result

    def _drop(self, sku: str, rule: str) -> None:
        self.result.dropped.setdefault(sku, Counter())[rule] += 1

    def _facts(self, index: int) -> Iterator[LayoutFacts]:
        """Every layout of one SKU that vLLM would not refuse, with its memory terms."""
        sku = self.setting.gpus[index]
        for weights in self.setting.formats:
            if not weights.accepted and "quality" in self.active:
                self._drop(sku.gpu.id, "quality")
                continue
            for layout in candidate_layouts(self.setting, sku.gpu, weights):
                self.result.layouts_considered += 1
                refused = [v for v in self.physics.refusals(layout, sku, weights) if v.rule in self.active]
                if refused:
                    self._drop(sku.gpu.id, refused[0].rule)
                    continue
                facts = self.physics.facts(layout, sku, weights)
                if isinstance(facts, Violation):
                    self._drop(sku.gpu.id, facts.rule)
                    continue
                yield facts

    def _classes(self, layouts: Iterable[LayoutFacts]) -> list[tuple[int, list[Unit]]]:
        """Units in ascending classes of the first objective's lower bound."""
        classes: dict[int, list[Unit]] = {}
        for facts in layouts:
            for unit in self._units(facts):
                key = 0
                if self.first == "cost":
                    key = unit_cost_microusd(unit, priced=self.setting.priced)
                elif self.first == "gpus":
                    key = unit.gpu_count
                classes.setdefault(key, []).append(unit)
        return sorted(classes.items())

    def _units(self, facts: LayoutFacts) -> list[Unit]:
        """The numbers of replicas worth trying: from the fewest that memory allows to the most GPUs allowed."""
        most = self.most_gpus // facts.layout.gpus_per_server
        sku = facts.sku.gpu.id
        if most < 1:
            self._drop(sku, "gpu_count")
            return []
        least = self._fewest_replicas(facts)
        if least is None:
            self._drop(sku, "memory_budget")
            return []
        if least > most:
            self._drop(sku, "concurrency")
            return []
        exact = self.setting.targets.gpus if "gpu_count" in self.active else None
        units = [Unit(facts, replicas) for replicas in range(least, most + 1)]
        if exact is not None:
            units = [unit for unit in units if unit.gpu_count == exact]
            if not units:
                self._drop(sku, "gpu_count")
        limit = self.setting.targets.max_hourly_cost
        if limit is not None and "budget" in self.active and units:
            units = [unit for unit in units if self._affordable(unit, limit)]
            if not units:
                self._drop(sku, "budget")
        if self.first in ("throughput", "concurrency"):
            return units[-1:]
        return units

    def _affordable(self, unit: Unit, limit: float) -> bool:
        price = unit.facts.sku.price
        return price is not None and microusd(price.usd_per_gpu_hour) * unit.gpu_count <= microusd(limit)

    def _fewest_replicas(self, facts: LayoutFacts) -> int | None:
        """A lower bound on the replicas: no activation, no graphs, the highest utilisation, whole blocks only."""
        targets, terms = self.setting.targets, facts.terms
        if "memory_budget" not in self.active or "concurrency" not in self.active:
            return 1
        budget = facts.budgets[-1]
        per_sequence = terms.kv.blocks_per_request(targets.mean_context, 1)
        rooms = [
            (budget - weights - extra) // block - terms.null_blocks
            for weights, extra, block in zip(terms.weights, terms.weights_extra, terms.kv.block_bytes, strict=True)
            if block
        ]
        most = LARGEST_BATCH if not rooms else min(rooms) // max(1, per_sequence)
        if most < 1:
            return None
        engines = -(-targets.concurrency // most)
        return -(-engines // facts.layout.data_parallel_size)

    def _solve(self, units: list[Unit]) -> list[Candidate]:
        """Operating points of a batch of units that satisfy every active rule."""
        pieces = [piece for unit in units for piece in self._pieces(unit)]
        coefficients = [self.physics.coefficients(unit.facts) for unit, _, _ in pieces]
        self.result.layouts_evaluated += len({unit.facts.layout for unit in units})
        first = evaluate(self.setting, pieces, coefficients)
        extra = refined_pieces(self.setting, first, coefficients, self.active)
        candidates = evaluate(self.setting, [piece for piece, _ in extra], [c for _, c in extra]) if extra else []
        found = []
        for candidate in (*first, *candidates):
            kept, broken = feasible_part(self.setting, candidate, self.active)
            if kept is not None:
                found.append(kept)
            elif broken:
                self._drop(candidate.unit.facts.sku.gpu.id, broken)
        return found

    def _pieces(self, unit: Unit) -> Iterator[tuple[Unit, int, list[int]]]:
        """The (max_num_batched_tokens, max_num_seqs …) that memory admits for one unit."""
        setting, facts = self.setting, unit.facts
        targets = setting.targets
        least = -(-targets.concurrency // unit.engines) if "concurrency" in self.active else 1
        default = default_max_num_batched_tokens(
            setting.engine, facts.sku.gpu, chunked_prefill=facts.layout.enable_chunked_prefill,
            max_model_len=targets.target_context, max_num_seqs=None,
        )  # fmt: skip
        admitted = False
        for tokens in token_grid(setting, default, chunked_prefill=facts.layout.enable_chunked_prefill):
            most = min(tokens, max(LARGEST_BATCH, least))
            if "memory_budget" in self.active:
                startup = facts.terms.kv.startup_blocks(targets.target_context, tokens)
                context = targets.mean_context if "concurrency" in self.active else 1
                most = most_sequences(facts, tokens, least, most, context, startup)
            if most >= least:
                admitted = True
                yield unit, tokens, sequence_grid(least, most)
        if not admitted:
            self._drop(facts.sku.gpu.id, "concurrency" if least > 1 else "memory_budget")
