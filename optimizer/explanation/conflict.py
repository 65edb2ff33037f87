"""A minimal conflict: named rules that cannot hold together, while any all but one of them can.

A deletion filter: starting from all rules, each is dropped for good when the rest is still infeasible. Rules that no
request can do without knowing (what vLLM refuses, the user's latency limits) are tried first, so that of several
conflicts the one about memory, sequences and GPUs is told.
"""

from collections.abc import Iterable

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.optimizer.contract.answer import Conflict
from vllm_opt.optimizer.questions.points import feasible_skus, is_feasible
from vllm_opt.optimizer.questions.questions import ALL_RULES, LATENCY_RULES, Atlas, Question
from vllm_opt.optimizer.space.layouts import shapes
from vllm_opt.optimizer.space.physics import LayoutPhysics
from vllm_opt.optimizer.space.setting import SolveSetting

STRUCTURAL = ("divisibility", "startup_headroom", "batching", "quality", "compatibility")
DROPPED_FIRST = ("throughput", "tpot", "ttft", "budget", "memory_budget", "concurrency", "gpu_count", "context_length")
"""Order in which rules are tried; of two conflicts, the one whose rules come later is kept."""


def relevant_rules(question: Question) -> frozenset[str]:
    """The rules that can be broken at all: a latency or money limit that was never given cannot."""
    targets = question.setting.targets
    silent: set[str] = {rule for rule in LATENCY_RULES if question.limit(rule) is None}
    if targets.max_hourly_cost is None:
        silent.add("budget")
    if targets.target_context <= question.setting.model.max_model_len:
        silent.add("context_length")
    return (ALL_RULES & question.active) - silent - {"batching", "state_blocks"}


def minimal_conflict(atlas: Atlas, question: Question) -> tuple[str, ...]:
    """Return a minimal set of rules that no point satisfies together, in the order of RULES.

    Raises:
        ValueError: the rules are not in conflict.
    """
    held = Question(question.setting, relevant_rules(question), question.skus)
    if is_feasible(atlas, held):
        raise ValueError("the rules are not in conflict")
    without = held.without(*STRUCTURAL)
    if not is_feasible(atlas, without):
        held = without
    for rule in (*STRUCTURAL, *DROPPED_FIRST):
        if rule in held.active and not is_feasible(atlas, held.without(rule)):
            held = held.without(rule)
    return tuple(rule for rule in DISPLAY_ORDER if rule in held.active)


def conflicts_by_sku(
    atlas: Atlas, question: Question, skus: Iterable[str], among: Iterable[str]
) -> dict[str, tuple[str, ...]]:
    """`minimal_conflict` of each SKU among rules that are in conflict on all of them, SKUs alike asked together."""
    held = dict.fromkeys(skus, frozenset(among))
    for rule in (*STRUCTURAL, *DROPPED_FIRST):
        groups: dict[frozenset[str], list[str]] = {}
        for sku, rules in held.items():
            if rule in rules:
                groups.setdefault(rules, []).append(sku)
        for rules, names in groups.items():
            fewer = Question(question.setting, rules - {rule}, frozenset(names))
            held.update(dict.fromkeys(frozenset(names) - feasible_skus(atlas, fewer), fewer.active))
    return {sku: tuple(rule for rule in DISPLAY_ORDER if rule in rules) for sku, rules in held.items()}


DISPLAY_ORDER = (
    "context_length", "compatibility", "divisibility", "quality", "memory_budget", "startup_headroom", "concurrency",
    "ttft", "tpot", "throughput", "gpu_count", "budget",
)  # fmt: skip
"""From what the model and the card are, over memory, to what the traffic asks and what may be spent."""


def unpublished(setting: SolveSetting) -> Conflict:
    """What to say where no weights take part: of the formats that are named nobody has published any."""
    named = " or ".join(setting.request.quantization)
    return Conflict(
        rule="quality",
        message=f"no {named} checkpoint of {setting.model.id} is published; --hypothetical-checkpoints plans for one "
        "that you make",
    )


def refused_everywhere(setting: SolveSetting) -> tuple[Conflict, ...]:
    """What vLLM says to the first layout of a request that no generation of cards could run."""
    physics = LayoutPhysics(setting)
    for sku in setting.gpus:
        for weights in setting.formats:
            for shape in shapes(setting, sku.gpu.gpus_per_node, setting.targets.max_gpus):
                said = physics.plan(sku.gpu, weights, shape)
                if isinstance(said, Violation):
                    message = f"{sku.gpu.id} with {weights.quantization.id} weights: {said.message.rstrip('.')}"
                    return (Conflict(**{**said.model_dump(), "message": message}),)
    return ()
