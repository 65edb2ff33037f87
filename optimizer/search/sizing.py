"""From servers to operating points at the load asked: speed first, for all at once, then memory of what is fast enough.

At the load asked the speed of a (layout, replicas, max_num_batched_tokens) does not depend on its memory, so what
breaks a limit is never sized. Eager mode takes part where CUDA graphs do not: at a width of a step at which they do
not fit, or at which the limits are missed with them. It is slower in every step, so beside a feasible point with
graphs it would only be chosen for an oddity of the model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.search.best_first import served
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.result import SearchResult
from vllm_opt.optimizer.search.stacked import rows_of, stacked
from vllm_opt.optimizer.search.units import widths_of
from vllm_opt.optimizer.space.admission import Admission
from vllm_opt.optimizer.space.judged import judged
from vllm_opt.optimizer.space.latency_limits import feasible_part, limits_kept, points_where
from vllm_opt.optimizer.space.layout_facts import LayoutFacts
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import Asked, Candidate, Unit, evaluate, speeds_at
from vllm_opt.optimizer.space.setting import SolveSetting

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]
Speeds = tuple[Numbers, ...]
"""The columns of `speeds_at`."""
SPEEDS = 7
"""so many"""
WIDTH_BITS = 32
"""of a number that holds a kind of server and a max_num_batched_tokens"""
Worth = Callable[[list[Server], Integers, Speeds], NDArray[np.bool_]]
"""Which rows, each of the server at that place, are worth sizing at their speeds."""


@dataclass(frozen=True)
class Widths:
    """Every (server, max_num_batched_tokens) that carries the sequences needed; ascending for each server."""

    owner: Integers
    tokens: Integers
    sequences: Integers

    def take(self, rows: Integers) -> "Widths":
        """Some of the rows."""
        return Widths(self.owner[rows], self.tokens[rows], self.sequences[rows])


class LoadSizing:
    """Sizes servers at the load asked under the rules that are active."""

    def __init__(
        self, setting: SolveSetting, physics: LayoutPhysics, active: frozenset[str], result: SearchResult
    ) -> None:
        self.setting, self.physics, self.active, self.result = setting, physics, active, result
        self._known_widths: dict[tuple[str, bool], tuple[int, ...]] = {}
        self._known_points: dict[tuple[object, ...], list[Candidate]] = {}

    def points_of(self, servers: list[Server], worth: Worth | None = None) -> list[Candidate]:
        """The feasible points of a batch of servers; of those that are `worth` it where that is given."""
        if worth is not None:
            return self._sized(servers, worth)
        new = [server for server in servers if server.identity not in self._known_points]
        if new:
            self._known_points |= {server.identity: [] for server in new}
            for candidate in self._sized(new, None):
                self._known_points[served(candidate.unit)].append(candidate)
        return [candidate for server in servers for candidate in self._known_points[server.identity]]

    def _sized(self, servers: list[Server], worth: Worth | None) -> list[Candidate]:
        rows = self._widths(servers)
        if not len(rows.owner):
            for server in servers:
                self._drop_unsized(server)
            return []
        coefficients = stacked(self.physics, servers)
        speeds, kept, rules = self._speeds(servers, rows, coefficients, every=worth is not None)
        wanted = np.ones(len(kept), dtype=bool) if worth is None else worth(servers, rows.owner, speeds)
        facts: dict[int, LayoutFacts] = {}
        admitted = self._admitted(servers, rows, np.flatnonzero(kept & wanted), facts)
        found = self._candidates(servers, rows, admitted, speeds, facts)
        rest = np.setdiff1d(np.flatnonzero(wanted | ~kept), admitted)
        slower = replace(coefficients, eager=np.ones(len(servers)))
        rest = rest[self._could_do(rules, rest)]
        late = rest[~kept[rest]]
        _, hopeful, _ = self._speeds(servers, rows.take(late), slower, every=False)
        eager = self._eager(servers, rows, np.sort(np.concatenate([rest[kept[rest]], late[hopeful]])), facts)
        reached = {*rows.owner[admitted].tolist(), *eager}
        self._count(servers, rows, rules, reached)
        return found + [candidate for candidates in eager.values() for candidate in candidates]

    def _widths(self, servers: list[Server]) -> Widths:
        """What carries the sequences that every engine must admit."""
        setting, pinned = self.setting, self.setting.request.max_num_seqs
        held = "concurrency" in self.active
        wide: dict[tuple[tuple[int, ...], int], Integers] = {}
        parts, sequences = [np.empty(0, dtype=np.int64)], list[int]()
        for server in servers:
            least = setting.targets.sequences_admitted(server.engines) if held else 1
            wanted = least if pinned is None else max(least, pinned)
            sequences.append(least if pinned is None else pinned)
            key = self.widths_of(server), wanted
            if key not in wide:
                able = [tokens for tokens in key[0] if min(tokens, setting.largest_batch) >= wanted]
                wide[key] = np.array(able, dtype=np.int64)
            parts.append(wide[key])
        counts = [len(part) for part in parts[1:]]
        each = np.arange(len(servers), dtype=np.int64), np.array(sequences, dtype=np.int64)
        owner, fewest = (np.repeat(column, counts) for column in each)
        return Widths(owner, np.concatenate(parts), fewest)

    def widths_of(self, server: Server) -> tuple[int, ...]:
        """The values of max_num_batched_tokens that are tried for a server."""
        key = server.sku.gpu.id, server.shape.chunked_prefill
        if key not in self._known_widths:
            self._known_widths[key] = widths_of(
                self.setting, server.sku.gpu, chunked_prefill=server.shape.chunked_prefill
            )
        return self._known_widths[key]

    def _speeds(
        self, servers: list[Server], rows: Widths, coefficients: LatencyCoefficients, *, every: bool
    ) -> tuple[Speeds, NDArray[np.bool_], dict[str, NDArray[np.bool_]]]:
        """(speeds, which rows keep every limit, per rule which do)."""
        if not len(rows.owner):
            return (), np.zeros(0, dtype=bool), {}
        owner, tokens = rows.owner, rows.tokens
        _, first, place = np.unique(
            self._kinds(servers)[owner] << WIDTH_BITS | tokens, return_index=True, return_inverse=True
        )
        points = Asked(
            sequences=rows.sequences[first],
            tokens=tokens[first].astype(np.float64),
            engines=np.array([server.engines for server in servers], dtype=np.float64)[owner[first]],
            chunked=np.array([server.shape.chunked_prefill for server in servers])[owner[first]],
            cached=np.array([server.shape.prefix_caching for server in servers])[owner[first]],
        )
        speeds, rules = self._timed(coefficients.take(owner[first]), points, every=every)
        speeds, rules = tuple(column[place] for column in speeds), {rule: mask[place] for rule, mask in rules.items()}
        kept = np.logical_and.reduce(list(rules.values())) if rules else np.ones(len(rows.owner), dtype=bool)
        return speeds, kept, rules

    def _timed(
        self, coefficients: LatencyCoefficients, points: Asked, *, every: bool
    ) -> tuple[Speeds, dict[str, NDArray[np.bool_]]]:
        """(speeds, per rule which points keep it); NaN where bounds say that a point fails, unless `every` is timed."""
        said = None if every else judged(self.setting, coefficients, points, self.active, asked=True)
        if said is None:
            speeds = speeds_at(self.setting, coefficients, points, asked=True)
            return speeds, limits_kept(self.setting, speeds[4:7], self.active)
        rules, open_ = said.kept, np.flatnonzero(~(said.decided & said.fails))
        found = np.full((SPEEDS, len(points.tokens)), np.nan)
        if len(open_):
            speeds = speeds_at(self.setting, coefficients.take(open_), points.take(open_), asked=True)
            found[:, open_] = speeds
            for rule, mask in limits_kept(self.setting, speeds[4:7], self.active).items():
                rules[rule][open_] = mask
        return tuple(found), rules

    def _kinds(self, servers: list[Server]) -> Integers:
        """A number per server, the same for those that differ only in what speed does not see."""
        known: dict[tuple[object, ...], int] = {}
        hits = self.setting.request.hit_share > 0
        rows = rows_of(self.physics, servers)
        keys = (
            (row, server.engines, server.shape.chunked_prefill, server.shape.prefix_caching and hits)
            for row, server in zip(rows, servers, strict=True)
        )
        return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.int64)

    def _admitted(self, servers: list[Server], rows: Widths, fast: Integers, facts: dict[int, LayoutFacts]) -> Integers:
        """Which of the fast enough rows memory admits with CUDA graphs."""
        found: list[int] = []
        for at, of_server in _by_owner(rows, fast):
            server = servers[at]
            facts[at] = self.physics.facts(server.sku, server.weights, server.shape)
            found += self._held(facts[at], rows, of_server)
        return np.array(found, dtype=np.int64)

    def _held(self, facts: LayoutFacts, rows: Widths, of_server: list[int]) -> list[int]:
        """The rows of one layout that memory admits: none beyond a width that does not fit, where memory only grows."""
        if "memory_budget" not in self.active:
            return of_server
        if not facts.terms.loads(facts.confidence):
            return []
        context, held = self.setting.targets.target_context, "concurrency" in self.active
        found: list[int] = []
        for row in of_server:
            tokens = int(rows.tokens[row])
            startup = facts.terms.kv.startup_blocks(context, tokens)
            if Admission(facts, tokens, startup, held=held).admits(int(rows.sequences[row])):
                found.append(row)
            elif facts.monotone:
                break
        return found

    def _candidates(
        self, servers: list[Server], rows: Widths, admitted: Integers, speeds: Speeds,
        facts: dict[int, LayoutFacts],
    ) -> list[Candidate]:  # fmt: skip
        columns = [column[admitted].reshape(-1, 1) for column in (rows.sequences, *speeds)]
        units = {
            at: Unit(facts[at], servers[at].shape, servers[at].replicas) for at in set(rows.owner[admitted].tolist())
        }
        owners, tokens = rows.owner[admitted].tolist(), rows.tokens[admitted].tolist()
        return [Candidate(units[at], width, *point) for at, width, *point in zip(owners, tokens, *columns, strict=True)]

    @staticmethod
    def _could_do(rules: dict[str, NDArray[np.bool_]], rows: Integers) -> NDArray[np.bool_]:
        """Which rows eager mode is tried for: none that are too slow in TPOT (docs/decision-space.md, CUDA graphs)."""
        slow = [~rules[rule][rows] for rule in ("tpot", "throughput") if rule in rules]
        return ~np.logical_or.reduce(slow) if slow else np.ones(len(rows), dtype=bool)

    def _eager(
        self, servers: list[Server], rows: Widths, hopeful: Integers, facts: dict[int, LayoutFacts]
    ) -> dict[int, list[Candidate]]:
        """Per server its points in eager mode, of the rows that may keep the limits; memory is asked first."""
        pieces: list[tuple[Unit, int, list[int]]] = []
        owners: list[int] = []
        for at, of_server in _by_owner(rows, hopeful):
            server = servers[at]
            captured = facts.get(at) or self.physics.facts(server.sku, server.weights, server.shape)
            unit = Unit(self.physics.eager_facts(captured), server.shape, server.replicas)
            held = self._held(unit.facts, rows, of_server)
            owners += [at] * len(held)
            pieces += [(unit, int(rows.tokens[row]), [int(rows.sequences[row])]) for row in held]
        found: dict[int, list[Candidate]] = {}
        for at, candidate in zip(owners, evaluate(self.setting, pieces, asked=True), strict=True):
            kept, _ = feasible_part(self.setting, candidate, self.active)
            if kept is not None:
                found.setdefault(at, []).append(kept)
        return found

    def _count(
        self, servers: list[Server], rows: Widths, rules: dict[str, NDArray[np.bool_]], reached: set[int]
    ) -> None:
        """Count the servers without a point by the first rule that each of their widths breaks, else by memory."""
        missed: dict[int, str] = {}
        for rule in reversed(rules):
            too_slow = np.ones(len(servers), dtype=bool)
            too_slow[rows.owner[rules[rule]]] = False
            missed |= dict.fromkeys(np.flatnonzero(too_slow).tolist(), rule)
        sized = set(rows.owner.tolist())
        for at, server in enumerate(servers):
            if at in reached:
                continue
            if at in missed and at in sized:
                self.result.drop(server.sku.gpu.id, missed[at])
            else:
                self._drop_unsized(server)

    def _drop_unsized(self, server: Server) -> None:
        share = self.setting.targets.share_of(server.engines)
        self.result.drop(server.sku.gpu.id, "concurrency" if share > 1 else "memory_budget")


def _by_owner(rows: Widths, chosen: Integers) -> Iterable[tuple[int, list[int]]]:
    """The chosen rows of each server."""
    groups: dict[int, list[int]] = {}
    for at, row in zip(rows.owner[chosen].tolist(), chosen.tolist(), strict=True):
        groups.setdefault(at, []).append(row)
    return groups.items()


def without_eager_twins(candidates: list[Candidate]) -> list[Candidate]:
    """The candidates but for points in eager mode that the same server has with CUDA graphs: its fewest sequences to
    its most, since what holds with more holds with fewer."""
    captured: dict[tuple[object, ...], list[int]] = {}
    for candidate in candidates:
        if not candidate.unit.facts.layout.enforce_eager:
            captured.setdefault(_place(candidate), []).extend(candidate.sequences.tolist())
    found = []
    for candidate in candidates:
        known = captured.get(_place(candidate)) if candidate.unit.facts.layout.enforce_eager else None
        keep = np.ones(len(candidate.sequences), dtype=bool)
        if known is not None:
            keep = (candidate.sequences < min(known)) | (candidate.sequences > max(known))
        if keep.all():
            found.append(candidate)
        elif keep.any():
            found.append(points_where(candidate, keep))
    return found


def _place(candidate: Candidate) -> tuple[object, ...]:
    unit = candidate.unit
    return (
        unit.facts.sku.gpu.id, unit.facts.weights.quantization.id, unit.shape, unit.replicas,
        candidate.max_num_batched_tokens,
    )  # fmt: skip
