"""The exact front over cost, throughput, TPOT and TTFT.

A point is one layout, max_num_batched_tokens, max_num_seqs and number of replicas that satisfies every rule. Its four
integers are millionths of USD per hour (`objective.cost_integer`), thousandths of an output token per second
(negative), and TPOT and TTFT in microseconds (central predictions, rounded up). A point is on the front when no other
is at most equal in all four and smaller in one; of points with equal integers the preferred one stays
(`modes.preference`).

Every server is sized once, with the most replicas that limits allow; fewer replicas multiply throughput by a smaller
number, cost no more, leave TPOT and TTFT of a batch as they are, and take away the batches below
ceil(concurrency / engines). So a batch that another batch of the same server beats or equals in rate, TPOT, TTFT and
size cannot be on the front for any number of replicas, and is dropped before replicas are multiplied out. (Sequences
parked on the host change that: such servers are sized for each number of replicas.) What remains of all servers is
filtered once more, all together.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vllm_opt.optimizer.planning.plan import Choice
from vllm_opt.optimizer.planning.utilization import fitting_utilization
from vllm_opt.optimizer.search.best_first import served
from vllm_opt.optimizer.search.modes import preference
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.search.search import ALL_RULES, Search
from vllm_opt.optimizer.search.units import Pieces, fewest_sequences, pieces_of_server
from vllm_opt.optimizer.solver.non_dominated import non_dominated
from vllm_opt.optimizer.solver.thinning import thinned
from vllm_opt.optimizer.space.admission import Admission
from vllm_opt.optimizer.space.latency_limits import feasible_part, refined_pieces
from vllm_opt.optimizer.space.points import Candidate, Unit, evaluate
from vllm_opt.optimizer.space.setting import SolveSetting

MOST_PLANS = 60
"""Points of a front that are made into plans."""
CHUNK = 64
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Front:
    """The points that are shown, cheapest first, and what a reader must know of the others."""

    choices: tuple[Choice, ...]
    total: int
    complete: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Points:
    """Points as columns. `values`: one row of four integers each; `owner`, `place`: the candidate and its batch."""

    values: Integers
    owner: Integers
    place: Integers
    replicas: Integers

    def take(self, index: Integers) -> "Points":
        """Some of them, in the order of `index`."""
        return Points(self.values[index], self.owner[index], self.place[index], self.replicas[index])


def pareto_front(search: Search) -> Front:
    """Return the front of a request; a search that runs out of time gives the front of what it has sized."""
    setting = search.setting
    candidates, points, complete = exact_front(search)
    kept, notes = thinned(points.values, MOST_PLANS)
    shown = points.take(kept)
    shown = shown.take(np.lexsort(tuple(shown.values.T[::-1])))
    choices = tuple(_choice(setting, candidates, shown, index) for index in range(len(shown.owner)))
    return Front(choices, len(points.owner), complete, notes)


def exact_front(search: Search) -> tuple[list[Candidate], Points, bool]:
    """Every point of the front with the candidates that hold them, and whether every server was sized."""
    setting = search.setting
    servers = list(search.servers())
    candidates: list[Candidate] = []
    parts: list[Points] = []
    complete = True
    for start in range(0, len(servers), CHUNK):
        if time.monotonic() > search.deadline:
            complete = False
            break
        for server, least, group in _sized(search, servers[start : start + CHUNK]):
            parts.append(_points_of(setting, server, least, group, len(candidates)))
            candidates += group
    if not parts:
        nothing = np.empty(0, dtype=np.int64)
        return [], Points(nothing.reshape(0, 4), nothing, nothing, nothing), complete
    points = _joined(parts)
    points = points.take(_in_order_of_preference(setting, candidates, points))
    return candidates, points.take(non_dominated(points.values)), complete


def _sized(search: Search, servers: list[tuple[Server, int]]) -> Iterator[tuple[Server, int, list[Candidate]]]:
    """The batches of each server that meet the latency limits, sized with its most replicas."""
    setting = search.setting
    without_floor = ALL_RULES - {"throughput"}
    visited = [
        (replace(server, replicas=count, most=count), count if server.host_tier_gib else least)
        for server, least in servers
        for count in (range(least, server.most + 1) if server.host_tier_gib else (server.most,))
    ]
    groups: dict[tuple[object, ...], tuple[Server, int, list[Candidate]]] = {}
    pieces: Pieces = []
    for server, least in visited:
        groups[server.identity] = server, least, []
        found = pieces_of_server(setting, search.physics, server, server.replicas, ALL_RULES)
        pieces += [_with_smallest_batches(setting, piece, least, server.replicas) for piece in found]
    evaluated = evaluate(setting, pieces)
    evaluated += evaluate(setting, refined_pieces(setting, evaluated, without_floor))
    for candidate in evaluated:
        feasible, _ = feasible_part(setting, candidate, without_floor)
        if feasible is not None:
            groups[served(candidate.unit)][2].append(feasible)
    yield from (group for group in groups.values() if group[2])


def _with_smallest_batches(
    setting: SolveSetting, piece: tuple[Unit, int, list[int]], least: int, most: int
) -> tuple[Unit, int, list[int]]:
    """Add the fewest sequences that each smaller number of replicas needs, as far as memory admits them."""
    unit, tokens, sizes = piece
    wanted = {_fewest(setting, unit, count) for count in range(least, most)}
    extra = {size for size in wanted if sizes[0] < size < sizes[-1]} - set(sizes)
    if extra and not unit.facts.monotone:
        targets = setting.targets
        startup = unit.facts.terms.kv.startup_blocks(targets.target_context, tokens)
        admission = Admission(unit.facts, tokens, targets.mean_context, startup)
        extra = {size for size in extra if admission.admits(size)}
    return unit, tokens, sorted({*sizes, *extra})


def _fewest(setting: SolveSetting, unit: Unit, replicas: int) -> int:
    """Sequences that every engine must run when the server has so many replicas."""
    return fewest_sequences(setting, Unit(unit.facts, unit.shape, replicas, unit.host_tier_gib), ALL_RULES)


def _points_of(setting: SolveSetting, server: Server, least: int, group: list[Candidate], first: int) -> Points:
    """The points of one server with every number of replicas between the fewest and the most."""
    unit = group[0].unit
    data = unit.facts.layout.data_parallel_size
    sizes = np.concatenate([candidate.sequences for candidate in group])
    rate = np.concatenate([np.floor(candidate.engine_tokens_per_s * 1000) for candidate in group]).astype(np.int64)
    bound = np.concatenate([candidate.bound_tokens_per_s for candidate in group]) / unit.engines
    tpot = np.concatenate([_microseconds(candidate.tpot_ms) for candidate in group])
    ttft = np.concatenate([_microseconds(candidate.ttft_ms) for candidate in group])
    owner = np.repeat(np.arange(first, first + len(group)), [len(candidate.sequences) for candidate in group])
    place = np.concatenate([np.arange(len(candidate.sequences)) for candidate in group])
    kept = non_dominated(np.stack([-rate, tpot, ttft, -sizes], axis=1))
    floor = setting.targets.min_output_tokens_per_s or 0.0
    parts = []
    for count in range(least, server.most + 1):
        engines = count * data
        allowed = kept[(sizes[kept] >= _fewest(setting, unit, count)) & (bound[kept] * engines >= floor)]
        cost = server.fare.cost_with(count)
        columns = (np.full(len(allowed), cost), -rate[allowed] * engines, tpot[allowed], ttft[allowed])
        parts.append(Points(np.stack(columns, axis=1), owner[allowed], place[allowed], np.full(len(allowed), count)))
    return _joined(parts)


def _microseconds(milliseconds: NDArray[np.float64]) -> Integers:
    """Rounded up; a TPOT that does not exist counts as 0."""
    return np.ceil(np.nan_to_num(milliseconds) * 1000).astype(np.int64)


def _joined(parts: list[Points]) -> Points:
    return Points(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.owner for part in parts]),
        np.concatenate([part.place for part in parts]),
        np.concatenate([part.replicas for part in parts]),
    )


def _in_order_of_preference(setting: SolveSetting, candidates: list[Candidate], points: Points) -> Integers:
    """Points in the order in which the front considers them: the preferred one of equals comes first."""
    ranks = {owner: preference(setting, candidates[owner])[1:] for owner in np.unique(points.owner).tolist()}
    order = sorted(ranks, key=ranks.__getitem__)
    rank = np.zeros(len(candidates), dtype=np.int64)
    rank[order] = np.arange(len(order))
    gpus = np.array([candidate.unit.facts.layout.gpus_per_server for candidate in candidates], dtype=np.int64)
    return np.lexsort((points.place, rank[points.owner], gpus[points.owner] * points.replicas))


def _choice(setting: SolveSetting, candidates: list[Candidate], points: Points, index: int) -> Choice:
    """One point with the utilisation that it takes."""
    candidate = candidates[int(points.owner[index])]
    sequences = int(candidate.sequences[int(points.place[index])])
    known = candidate.unit
    unit = Unit(known.facts, known.shape, int(points.replicas[index]), known.host_tier_gib)
    utilization = fitting_utilization(setting, candidate, sequences)
    return Choice(unit, candidate.max_num_batched_tokens, sequences, utilization)
