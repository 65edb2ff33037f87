"""The linear rows of a model whose services are all served, in whole numbers, for solvers of linear programs."""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from vllm_opt.optimizer.placement_model.model import PlacementModel

NO_LIMIT = 2**61


@dataclass(frozen=True)
class Row:
    """low <= sum of coefficients x variables <= high."""

    low: int | None
    high: int | None
    terms: dict[int, int]
    scale: int
    """the largest coefficient, by which the solver's row is divided"""

    def made(self, solver: Any, variables: list[Any]) -> Any:
        """The row in a solver."""
        infinity = solver.infinity()
        low = -infinity if self.low is None else self.low / self.scale
        made = solver.Constraint(low, infinity if self.high is None else self.high / self.scale)
        for index, coefficient in self.terms.items():
            made.SetCoefficient(variables[index], coefficient / self.scale)
        return made


def is_linear(constraint: Any) -> bool:
    """Whether a constraint is linear; releases of the library ask in two ways."""
    asked = constraint.HasField("linear") if hasattr(constraint, "HasField") else constraint.has_linear()
    return bool(asked)


def rows_of(model: PlacementModel) -> list[Row]:
    """The linear rows that hold where every service is served in full."""
    full = {literal.index for literal in model.full}
    rows = []
    for constraint in model.cp.proto.constraints:
        if not is_linear(constraint) or not all(literal in full for literal in constraint.enforcement_literal):
            continue
        linear = constraint.linear
        low, *_, high = list(linear.domain)
        terms = summed(linear.vars, linear.coeffs)
        if terms:
            scale = max(abs(coefficient) for coefficient in terms.values())
            rows.append(Row(None if low < -NO_LIMIT else low, None if high > NO_LIMIT else high, terms, scale))
    return rows


def limits_of(model: PlacementModel) -> list[tuple[int, int]]:
    """The least and the most of every variable, all services served."""
    full = {literal.index for literal in model.full}
    found = []
    for number, variable in enumerate(model.cp.proto.variables):
        low, *_, high = list(variable.domain)
        found.append((1 if number in full else low, high))
    return found


def costs_of(model: PlacementModel) -> dict[int, int]:
    """What each variable adds to the model's objective."""
    objective = model.cp.proto.objective
    return summed(objective.vars, objective.coeffs)


def summed(variables: Any, coefficients: Any) -> dict[int, int]:
    """Variable -> its coefficient, where it is not nothing."""
    terms: dict[int, int] = defaultdict(int)
    for index, coefficient in zip(list(variables), list(coefficients), strict=True):
        terms[index] += round(coefficient)
    return {index: coefficient for index, coefficient in terms.items() if coefficient}
