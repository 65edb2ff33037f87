"""Start CP-SAT without pandas, which it imports for its series functions only: a quarter of a second per command.

For the command line alone: a program that calls `vllm_opt` as a library may use those functions itself.
"""

import sys
from importlib import import_module
from types import ModuleType

SOLVER = "ortools.sat.python.cp_model"


class _WithoutPandas(ModuleType):
    """Stands in for pandas while CP-SAT is imported: every name is a class of which nothing is an instance."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def import_solver() -> None:
    """Import CP-SAT; with pandas after all when a release of it needs more than names."""
    if SOLVER in sys.modules or "pandas" in sys.modules:
        return
    sys.modules["pandas"] = _WithoutPandas("pandas")
    try:
        import_module(SOLVER)
    except (AttributeError, ImportError, TypeError):
        for name in [name for name in sys.modules if name.split(".")[0] == "ortools"]:
            del sys.modules[name]
    finally:
        del sys.modules["pandas"]
