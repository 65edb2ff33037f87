"""Which KV block sizes are worth trying: the default, and smaller ones in which some request takes fewer bytes.

Latency does not depend on the block size, so one that takes no fewer bytes than another at any width of a step is left
out; what the null block alone would save does not count.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.kv.kv_plan import KvPlan

PlanOf = Callable[[int], KvPlan | Violation]
FINEST = 16
"""Contexts that are asked about are multiples of it, as are blocks."""
MOST_REMAINDERS = 8


@dataclass(frozen=True)
class Requests:
    """What is asked of a block size: `contexts` of requests, (contexts of) start-ups, and widths of a step."""

    contexts: tuple[int, ...]
    startups: tuple[int, ...]
    widths: tuple[int, ...]

    def bytes(self, plan: KvPlan) -> tuple[int, ...]:
        """Bytes that one request takes per stage at every context and width: planned, decoding, and starting."""
        counts = (
            *(plan.running_blocks_per_request(context) for context in self.contexts),
            *(plan.blocks_per_request(context, tokens) for context in self.startups for tokens in self.widths),
            *(plan.admission_blocks(context, tokens) for context in self.contexts for tokens in self.widths),
        )
        return tuple(count * block for count in counts for block in plan.block_bytes)

    def appetite(self, plan: KvPlan) -> tuple[float, ...]:
        """All that memory sees of a block size: bytes per request, at start-up, and per token of the printed pool."""
        startup = (
            plan.startup_blocks(context, tokens) * block
            for context in self.startups
            for tokens in self.widths
            for block in plan.block_bytes
        )
        return (*self.bytes(plan), *startup, *(block / plan.block_size for block in plan.block_bytes))


def frugal_block_sizes(
    default: KvPlan, smaller: Iterable[int], plan_of: PlanOf, requests: Requests
) -> tuple[int | None, ...]:
    """The default (None) and the smaller sizes that need fewer bytes somewhere, none of them worse in everything."""
    if not default.depends_on_steps:
        requests = replace(requests, widths=requests.widths[:1])
    usual = requests.bytes(default)
    kept: dict[int | None, tuple[float, ...]] = {None: requests.appetite(default)}
    for size in smaller:
        plan = plan_of(size)
        if isinstance(plan, Violation) or not _less_somewhere(requests.bytes(plan), usual):
            continue
        appetite = requests.appetite(plan)
        if any(not _less_somewhere(appetite, other) for other in kept.values()):
            continue
        kept = {name: other for name, other in kept.items() if _less_somewhere(other, appetite)} | {size: appetite}
    return tuple(kept)


def requests_asked(block_size: int, asked: tuple[int, int], widths: tuple[int, ...], longest: int | None) -> Requests:
    """What block sizes are judged by: the (target, mean) context asked, or whatever may be asked up to the longest."""
    if longest is None:
        return Requests(asked, asked[:1], widths)
    contexts = contexts_of_every_kind(block_size, asked, longest)
    return Requests(contexts, contexts, widths)


def contexts_of_every_kind(block_size: int, asked: Sequence[int], most: int) -> tuple[int, ...]:
    """Contexts that stand for all that a question may ask: every kind of last block, short, as asked, and longest.

    What a block size saves is what it rounds less, which depends on the remainder of the context.
    """
    step = FINEST * max(1, -(-block_size // (FINEST * MOST_REMAINDERS)))
    remainders = range(0, max(block_size, 1), step)
    starts = (block_size, *(start - start % block_size for start in (*asked, most)))
    return tuple(sorted({*asked, *(start + rest for start in starts for rest in remainders if start + rest > 0)}))


def _less_somewhere(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return any(a < b for a, b in zip(one, other, strict=True))
