"""OR-Tools 9.15 cuts optima off in presolve (google/or-tools #5293); our parameters must not reach that code."""

from typing import Any

import pytest
from ortools.sat.python import cp_model

from vllm_opt.optimizer import SolveRequest
from vllm_opt.optimizer.cpsat.proof import configured_solver as solver_of_plans
from vllm_opt.optimizer.fleet.outcome import FleetOptions
from vllm_opt.optimizer.fleet.search import configured_solver as solver_of_fleets
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog

LEFT, RIGHT = (1316315494, 1354744718, 1456091461), (1559946311, 1358276356, 2070385875)
GAINS, COSTS = (95, 6, -47), (-46, -64, 0)


def six_booleans(divisor: int) -> cp_model.CpModel:
    """Two exactly-ones of three and one row whose sums pass 2^31; the sizes divided keep the same solutions."""
    model = cp_model.CpModel()
    left, right = ([model.new_bool_var("") for _ in range(3)] for _ in range(2))
    model.add_exactly_one(left)
    model.add_exactly_one(right)
    sizes = [[size // divisor for size in side] for side in (LEFT, RIGHT)]
    model.add(cp_model.LinearExpr.weighted_sum(left, sizes[0]) <= cp_model.LinearExpr.weighted_sum(right, sizes[1]))
    model.minimize(cp_model.LinearExpr.weighted_sum([*left, *right], [*GAINS, *COSTS]))
    return model


def truth() -> int:
    """The optimum by trying all nine."""
    pairs = [(a, b) for a in range(3) for b in range(3) if LEFT[a] <= RIGHT[b]]
    return min(GAINS[a] + COSTS[b] for a, b in pairs)


def solvers() -> dict[str, Any]:
    """Every way in which this program sets CP-SAT up; for plans also with the presolve that they leave out."""
    request = SolveRequest(model="Qwen/Qwen2.5-1.5B-Instruct", gpu="l4")
    setting = resolve_solve(request, Catalog())
    presolved = solver_of_plans(setting, 10.0)
    presolved.parameters.cp_model_presolve = True
    return {
        "plans": solver_of_plans(setting, 10.0),
        "plans with presolve": presolved,
        "fleets": solver_of_fleets(FleetOptions(), 10.0, 0.0),
        "fleets on eight threads": solver_of_fleets(FleetOptions(workers=8), 10.0, 0.0),
    }


@pytest.mark.parametrize("divisor", [1, 2, 1024])
@pytest.mark.parametrize("name", ["plans", "plans with presolve", "fleets", "fleets on eight threads"])
def test_the_optimum_of_six_booleans_is_found_at_every_magnitude(name: str, divisor: int) -> None:
    assert truth() == -93
    solver = solvers()[name]
    assert solver.solve(six_booleans(divisor)) == cp_model.OPTIMAL
    assert solver.objective_value == truth()
