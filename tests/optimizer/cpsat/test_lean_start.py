"""CP-SAT started without pandas solves, and leaves nothing behind that another import would trip over."""

import subprocess
import sys

PROGRAM = """
import sys
from vllm_opt.optimizer.cpsat.lean_start import import_solver
import_solver()
assert "pandas" not in sys.modules
from ortools.sat.python import cp_model
model = cp_model.CpModel()
number = model.new_int_var(0, 5, "number")
model.maximize(2 * number)
solver = cp_model.CpSolver()
assert solver.solve(model) == cp_model.OPTIMAL
assert solver.value(number) == 5
import pandas
assert pandas.Series([1, 2]).sum() == 3
"""


def test_the_solver_works_and_pandas_can_still_be_imported() -> None:
    result = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_library_imports_the_solver_as_it_is() -> None:
    program = "import vllm_opt.optimizer.solver.solve, sys; assert 'pandas' in sys.modules"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
