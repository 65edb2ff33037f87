"""The house rules that a machine can check: who may import whom, what stays light, how files are named and sized."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("profiles", "constraints", "optimizer")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).glob("*.py"))]
MAY_IMPORT = {
    "profiles": {"profiles"},
    "constraints": {"profiles", "constraints"},
    "optimizer": {"profiles", "constraints", "optimizer"},
}
SOLVER_TOPICS = ("model", "lexicographic", "objective", "solver", "explanation", "procurement", "pareto", "fleet")
PRESENTATION_LIBRARIES = {"click", "rich"}
LONGEST_FILE_LINES = 300
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


def imported_modules(path: Path) -> set[str]:
    """Every module that a file imports anywhere, except under `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for statement in node.body
        for inner in ast.walk(statement)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or "."} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def modules_after(*arguments: str) -> set[str]:
    """The modules that one run of the command leaves imported."""
    program = (
        "import sys\n"
        "from vllm_opt.optimizer.cli import main\n"
        f"code = main({list(arguments)!r})\n"
        "sys.stderr.write('\\n'.join(sys.modules))\n"
        "raise SystemExit(code)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stderr.splitlines())


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_dependencies_run_one_way(path: Path) -> None:
    own = {module.split(".")[1] for module in imported_modules(path) if module.startswith("vllm_opt.")}
    assert own <= MAY_IMPORT[path.parent.name]
    bare = {module.split(".")[0] for module in imported_modules(path)}
    assert not bare & {*PACKAGES, "."}, "import as vllm_opt.<folder>, absolutely"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_only_solver_files_import_ortools(path: Path) -> None:
    imports_it = any(module.split(".")[0] == "ortools" for module in imported_modules(path))
    allowed = path.parent.name == "optimizer" and path.stem.startswith(SOLVER_TOPICS)
    assert allowed or not imports_it


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_physics_does_not_know_the_screen(path: Path) -> None:
    libraries = {module.split(".")[0] for module in imported_modules(path)}
    assert path.parent.name == "optimizer" or not libraries & PRESENTATION_LIBRARIES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_is_about_one_thing_and_says_which(path: Path) -> None:
    assert not set(path.stem.split("_")) & NAMES_THAT_SAY_NOTHING
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE_LINES
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_folders_are_flat() -> None:
    nested = [path for package in PACKAGES for path in (ROOT / package).glob("*/**/*.py")]
    assert nested == []


def test_help_imports_nothing_heavy() -> None:
    heavy = {"numpy", "pydantic", "ortools", "rich", "yaml", "scipy"}
    assert not modules_after("--help") & heavy


@pytest.mark.parametrize(
    "arguments",
    [
        ("--version",),
        ("models", "llama-3.1-8b"),
        ("gpus", "h100"),
        ("prices", "h100-sxm"),
        ("quantizations",),
        ("estimate", "--gpu", "h100-sxm", "--max-model-len", "8192"),
        ("estimate", "--gpu", "h100-sxm", "--max-model-len", "8192", "--format", "json"),
    ],
    ids=lambda arguments: " ".join(arguments[:1] + arguments[-1:]),
)
def test_commands_without_a_search_never_import_the_solver(arguments: tuple[str, ...]) -> None:
    assert "ortools" not in {module.split(".")[0] for module in modules_after(*arguments)}


def test_json_needs_no_table_library() -> None:
    assert "rich" not in modules_after("gpus", "--format", "json")
