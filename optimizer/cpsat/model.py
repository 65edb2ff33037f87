"""The CP-SAT model, chapter by chapter: variables, what ties them, and every rule. Objectives and proof come after.

Every rule is linear in the variables under one Boolean; its own file under `constraints/rules` says which line it adds.
"""

from ortools.sat.python import cp_model

from vllm_opt.constraints.judging.decision_space import DecisionSpace, Mode
from vllm_opt.constraints.rules import RULES
from vllm_opt.optimizer.cpsat.variables import new_variables, tie_choices
from vllm_opt.profiles.nouns.workload import Targets

BUDGETS, CHOICES = "budgets", "choices"
"""Sections of rows that no rule adds: `variables.py` does."""


def build_model(
    modes: list[Mode], targets: Targets, utilizations: tuple[float, ...], limit_tokens: int
) -> DecisionSpace:
    """Create the variables, tie them to one point, and let every rule add itself."""
    space = new_variables(cp_model.CpModel(), modes, targets, utilizations, limit_tokens)
    space.sections.append((BUDGETS, 0))
    space.begin(CHOICES)
    tie_choices(space)
    for rule in RULES:
        space.begin(rule.name)
        rule.add(space)
    return space
