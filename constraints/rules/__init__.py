"""The constraints: one rule per file, in the order from what a layout is, over memory, to what the traffic asks.

May import: profiles, decisions, kv, memory, money, layouts, judging.
"""

from vllm_opt.constraints.decisions.violation import Violation
from vllm_opt.constraints.judging.deployment import Deployment
from vllm_opt.constraints.judging.rule import Rule
from vllm_opt.constraints.rules.batching import Batching
from vllm_opt.constraints.rules.budget import Budget
from vllm_opt.constraints.rules.compatibility import Compatibility
from vllm_opt.constraints.rules.concurrency import Concurrency
from vllm_opt.constraints.rules.context_length import ContextLength
from vllm_opt.constraints.rules.divisibility import Divisibility
from vllm_opt.constraints.rules.gpu_count import GpuCount
from vllm_opt.constraints.rules.memory_budget import MemoryBudget
from vllm_opt.constraints.rules.quality import Quality
from vllm_opt.constraints.rules.startup_headroom import StartupHeadroom
from vllm_opt.constraints.rules.state_blocks import StateBlocks
from vllm_opt.constraints.rules.throughput import Throughput
from vllm_opt.constraints.rules.tpot import TimePerOutputToken
from vllm_opt.constraints.rules.ttft import TimeToFirstToken

RULES: tuple[Rule, ...] = (
    Divisibility(),
    Compatibility(),
    ContextLength(),
    Quality(),
    MemoryBudget(),
    StartupHeadroom(),
    StateBlocks(),
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
