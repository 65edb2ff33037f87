"""From a server to its units: the (max_num_batched_tokens, max_num_seqs …) that memory admits, graphs or eager."""

from vllm_opt.constraints.decisions.engine_defaults import default_max_num_batched_tokens
from vllm_opt.optimizer.search.pool import sequences_of_server
from vllm_opt.optimizer.search.queue import Server
from vllm_opt.optimizer.space.admission import Admission
from vllm_opt.optimizer.space.layout_facts import LayoutFacts
from vllm_opt.optimizer.space.objective import whole_requests
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.points import (
    Unit,
    sequence_grid,
    slot_grid,
    token_grid,
)
from vllm_opt.optimizer.space.setting import SolveSetting
from vllm_opt.optimizer.space.width_memory import WidthMemory
from vllm_opt.profiles.nouns.gpu import GpuProfile

Pieces = list[tuple[Unit, int, list[int]]]


def fewest_replicas(
    setting: SolveSetting, physics: LayoutPhysics, server: Server, active: frozenset[str], known: dict[int, int | None]
) -> int | None:
    """A lower bound on the replicas; None when the weights leave no room for one sequence.

    `known`: the engines needed, by the sequences that one holds at most.
    """
    if "memory_budget" not in active:
        return 1
    most = sequences_of_server(setting, physics, server, active)
    if most not in known:
        known[most] = _fewest_engines(setting, most, active)
    engines = known[most]
    return None if engines is None else -(-engines // server.shape.data)


def _fewest_engines(setting: SolveSetting, most: int, active: frozenset[str]) -> int | None:
    """Engines that hold what is asked, each so many sequences at most; None where none holds any."""
    if most < 1:
        return None
    most = setting.targets.most_asked_of(most) if "concurrency" in active else most
    if most < 1:
        return None
    concurrency = setting.targets.concurrency if "concurrency" in active else 1
    return -(-concurrency // most)


def exact_replicas(setting: SolveSetting, gpus: int, active: frozenset[str]) -> int | None:
    """The replicas of a server of so many GPUs that the request fixes, 0 where they cannot be; None: any number."""
    pinned, asked = setting.request.replicas, setting.targets.gpus
    if asked is None or "gpu_count" not in active:
        return pinned
    return asked // gpus if asked % gpus == 0 and pinned in (None, asked // gpus) else 0


def pieces_of_server(
    setting: SolveSetting, physics: LayoutPhysics, server: Server, replicas: int, active: frozenset[str]
) -> Pieces:
    """What memory admits with CUDA graphs and in eager mode."""
    captured = physics.facts(server.sku, server.weights, server.shape)
    with_graphs = pieces_of(setting, Unit(captured, server.shape, replicas), active)
    eager = Unit(physics.eager_facts(captured), server.shape, replicas)
    if needs_no_more(eager, captured):
        admitted = {tokens: sequences for _, tokens, sequences in with_graphs}
        ceilings = {tokens: min(tokens, setting.largest_batch) for tokens in tokens_of(captured)}
        asked = setting.load_is_asked(active) and "concurrency" not in setting.request.objective
        if all(tokens in admitted and (asked or admitted[tokens][-1] == most) for tokens, most in ceilings.items()):
            return with_graphs + [(eager, tokens, sequences) for tokens, sequences in admitted.items()]
    return with_graphs + _beyond(setting, with_graphs, pieces_of(setting, eager, active))


def _beyond(setting: SolveSetting, with_graphs: Pieces, eager: Pieces) -> Pieces:
    """Eager pieces with the smallest batch that CUDA graphs do not hold, where what is admitted is an objective.

    Eager mode is for batches beyond those, and of them the smallest leaves the pool the most.
    """
    if "concurrency" not in setting.request.objective or setting.request.max_num_seqs is not None:
        return eager
    most = {tokens: sequences[-1] for _, tokens, sequences in with_graphs}
    return [
        (
            unit,
            tokens,
            sorted({*sizes, following}) if sizes[0] < (following := most.get(tokens, 0) + 1) < sizes[-1] else sizes,
        )
        for unit, tokens, sizes in eager
    ]


def needs_no_more(eager: Unit, captured: LayoutFacts) -> bool:
    """Whether eager mode surely takes no more memory than CUDA graphs: where the fitted terms say so."""
    confidence, pairs = captured.confidence, ("non_torch", "context")
    return all(
        getattr(eager.facts.terms, name).at(confidence) <= getattr(captured.terms, name).at(confidence)
        for name in pairs
    )


def widths_of(setting: SolveSetting, gpu: GpuProfile, *, chunked_prefill: bool) -> tuple[int, ...]:
    """The values of max_num_batched_tokens that are tried on a SKU."""
    default = default_max_num_batched_tokens(
        setting.engine, gpu, chunked_prefill=chunked_prefill, max_model_len=setting.targets.target_context,
        max_num_seqs=None,
    )  # fmt: skip
    return token_grid(setting, default, chunked_prefill=chunked_prefill)


def tokens_of(facts: LayoutFacts) -> tuple[int, ...]:
    """The values of max_num_batched_tokens that are tried for a layout."""
    return widths_of(facts.setting, facts.sku.gpu, chunked_prefill=facts.layout.enable_chunked_prefill)


def fewest_sequences(setting: SolveSetting, unit: Unit, active: frozenset[str]) -> int:
    """Sequences that every engine must admit for the load asked, reserve included."""
    return setting.targets.sequences_admitted(unit.engines) if "concurrency" in active else 1


def sizes_of(admitted: Admission, least: int, most: int, active: frozenset[str]) -> list[int]:
    """The values of max_num_seqs worth trying between the fewest needed and the most that a step carries.

    At the load asked speed does not depend on it, so the fewest that are needed are enough. Where what the flags admit
    is itself an objective, also the most that the pool holds and the most of which it runs every one.
    """
    setting = admitted.facts.setting
    if not setting.load_is_asked(active):
        found = admitted.sizes(least, most) if admitted.facts.monotone else admitted.each(least, most)
        found = slots_of(setting, found)
        if found and "concurrency" in setting.request.objective:
            return sorted({*found, most_that_run(admitted, found[0], found[-1])})
        return found
    if not admitted.admits(least):
        return []
    if "concurrency" not in setting.request.objective or least == most:
        return [least]
    largest = admitted.largest(least, most)
    return sorted({least, largest, most_that_run(admitted, least, largest)})


def slots_of(setting: SolveSetting, sizes: list[int]) -> list[int]:
    """What is left of the sizes for random arrivals: the ends and the powers of two between them."""
    if setting.demand.arrivals != "poisson" or not sizes:
        return sizes
    kept = set(slot_grid(sizes[0], sizes[-1]))
    return [size for size in sizes if size in kept]


def most_that_run(admitted: Admission, least: int, most: int) -> int:
    """The largest max_num_seqs in [least, most] of which the pool holds every sequence at the target context.

    That is where min(max_num_seqs, floor(running_concurrency)) is highest: one rises with it and the other never does.
    """
    facts, tokens = admitted.facts, admitted.tokens
    memory, context = WidthMemory(facts, tokens, None), facts.setting.targets.target_context
    low, high = least, most
    while low < high:
        middle = (low + high + 1) // 2
        held = whole_requests(facts.terms.kv, max(0, memory.blocks(middle)), context)
        low, high = (middle, high) if held >= middle else (low, middle - 1)
    return low


def pieces_of(setting: SolveSetting, unit: Unit, active: frozenset[str]) -> Pieces:
    """One piece per max_num_batched_tokens that admits at least the sequences needed.

    Where need is monotone, it never falls when a step grows, so the first width that does not fit ends the list.
    """
    facts = unit.facts
    if "memory_budget" in active and not facts.terms.loads(facts.confidence):
        return []
    found: Pieces = []
    for tokens in tokens_of(facts):
        sizes = sizes_at(setting, unit, tokens, active)
        if sizes:
            found.append((unit, tokens, sizes))
        elif sizes is not None and facts.monotone and "memory_budget" in active:
            break
    return found


def sizes_at(setting: SolveSetting, unit: Unit, tokens: int, active: frozenset[str]) -> list[int] | None:
    """The values of max_num_seqs worth trying at one width; None where the width itself carries too few sequences."""
    facts, targets = unit.facts, setting.targets
    least = fewest_sequences(setting, unit, active)
    most = min(tokens, setting.largest_batch)
    pinned = setting.request.max_num_seqs
    if most < (least if pinned is None else max(least, pinned)):
        return None
    smallest = least if pinned is None else pinned
    if "memory_budget" not in active:
        asked = setting.load_is_asked(active)
        return [smallest] if asked else slots_of(setting, sequence_grid(smallest, most))
    startup = facts.terms.kv.startup_blocks(targets.target_context, tokens)
    admitted = Admission(facts, tokens, startup, held="concurrency" in active)
    return sizes_of(admitted, smallest, most, active)
