"""The ordered tuple of all rules: from what a layout is, over memory, to what the traffic asks."""

from vllm_opt.constraints.batching import Batching
from vllm_opt.constraints.budget import Budget
from vllm_opt.constraints.concurrency import Concurrency
from vllm_opt.constraints.context_length import ContextLength
from vllm_opt.constraints.deployment import Deployment
from vllm_opt.constraints.gpu_count import GpuCount
from vllm_opt.constraints.layout_rules import Compatibility, Divisibility
from vllm_opt.constraints.memory_budget import MemoryBudget
from vllm_opt.constraints.quality import Quality
from vllm_opt.constraints.rule import Rule
from vllm_opt.constraints.startup_headroom import StartupHeadroom
from vllm_opt.constraints.throughput import Throughput
from vllm_opt.constraints.tpot import TimePerOutputToken
from vllm_opt.constraints.ttft import TimeToFirstToken
from vllm_opt.constraints.violation import Violation

RULES: tuple[Rule, ...] = (
    Divisibility(),
    Compatibility(),
    ContextLength(),
    Quality(),
    MemoryBudget(),
    StartupHeadroom(),
    Batching(),
    Concurrency(),
    TimeToFirstToken(),
    TimePerOutputToken(),
    Throughput(),
    GpuCount(),
    Budget(),
)
RULE_NAMES: tuple[str, ...] = tuple(rule.name for rule in RULES)


def violations(deployment: Deployment, *, without: frozenset[str] = frozenset()) -> tuple[Violation, ...]:
    """Every rule that the deployment breaks, in the order of RULES; rules named in `without` are not asked."""
    return tuple(violation for rule in RULES if rule.name not in without for violation in rule.check(deployment))
