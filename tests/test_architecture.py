"""The house rules that a machine can check: who may import whom, what stays light, how files are named and sized."""

import ast
import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from vllm_opt.constraints.rules import RULE_NAMES

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("profiles", "constraints", "optimizer")
SOURCES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
ROOMS = sorted({path.parent for path in SOURCES})
MAY_IMPORT = {
    "profiles": {"profiles"},
    "constraints": {"profiles", "constraints"},
    "optimizer": {"profiles", "constraints", "optimizer"},
}
ROOMS_WITH_ORTOOLS = {"optimizer/cpsat", "optimizer/fleet", "optimizer/placement_model"}
"""One model each, of a deployment, a fleet, a placement: they share the library, neither variables nor rules."""
PRESENTATION_LIBRARIES = {"click", "rich"}
LONGEST_FILE_LINES = 300
MOST_FILES_IN_A_ROOM = 25
NAMES_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


def imported_modules(path: Path, *, type_checking: bool = False) -> set[str]:
    """Every module that a file imports anywhere; those under `if TYPE_CHECKING` only when asked."""
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
        if id(node) in skipped and not type_checking:
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
        "from vllm_opt.optimizer.cli.main import main\n"
        f"code = main({list(arguments)!r})\n"
        "sys.stderr.write('\\n'.join(sys.modules))\n"
        "raise SystemExit(code)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(run.stderr.splitlines())


def room_of(path: Path) -> str:
    """The folder of a file below the root, as `constraints/kv`."""
    return path.parent.relative_to(ROOT).as_posix()


def rooms_imported_by(room: str) -> set[str]:
    """The other rooms that a room imports anywhere, the insides of functions and `if TYPE_CHECKING` included."""
    known = {path.relative_to(ROOT).with_suffix("").as_posix().replace("/", "."): room_of(path) for path in SOURCES}
    found = set()
    for path in sorted((ROOT / room).glob("*.py")):
        for module in imported_modules(path, type_checking=True):
            home = known.get(module.removeprefix("vllm_opt."))
            if module.startswith("vllm_opt.") and home and home != room:
                found.add(home)
    return found


def declared_imports(room: str) -> set[str]:
    """What the `__init__` of a room says that it may import: whole packages, and rooms of its own package."""
    package = room.split("/", maxsplit=1)[0]
    docstring = ast.get_docstring(ast.parse((ROOT / room / "__init__.py").read_text(encoding="utf-8"))) or ""
    declared = re.search(r"May import: ([^.]*)\.", docstring)
    assert declared, f"{room}/__init__.py does not say what the room may import"
    names = [name.strip() for name in declared.group(1).split(",")]
    rooms = [name for name in names if name not in ("nothing of the house", package)]
    return {name if name in PACKAGES else f"{package}/{name}" for name in rooms}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_dependencies_run_one_way(path: Path) -> None:
    own = {module.split(".")[1] for module in imported_modules(path) if module.startswith("vllm_opt.")}
    assert own <= MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    bare = {module.split(".")[0] for module in imported_modules(path)}
    assert not bare & {*PACKAGES, "."}, "import as vllm_opt.<folder>, absolutely"


@pytest.mark.parametrize("folder", [room for room in ROOMS if room.parent != ROOT], ids=lambda room: str(room.name))
def test_a_room_imports_what_its_door_says(folder: Path) -> None:
    room = folder.relative_to(ROOT).as_posix()
    package = room.split("/")[0]
    imported = {
        home if home.split("/")[0] == package else home.split("/")[0]
        for home in rooms_imported_by(room)
        if home != package
    }
    assert imported == declared_imports(room)


def test_rooms_form_no_cycle() -> None:
    rooms = [folder.relative_to(ROOT).as_posix() for folder in ROOMS if folder.parent != ROOT]
    graph = {room: rooms_imported_by(room) - set(PACKAGES) for room in rooms}
    assert len(list(TopologicalSorter(graph).static_order())) >= len(rooms)


def test_a_room_holds_few_files_and_the_project_lists_it() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted("vllm_opt." + ".".join(room.relative_to(ROOT).parts) for room in ROOMS)
    for room in ROOMS:
        assert len(list(room.glob("*.py"))) <= MOST_FILES_IN_A_ROOM, room


def test_the_folder_of_rules_is_the_list_of_constraints() -> None:
    files = {path.stem for path in (ROOT / "constraints" / "rules").glob("*.py")} - {"__init__"}
    assert files == set(RULE_NAMES)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_only_the_solvers_rooms_import_ortools(path: Path) -> None:
    imports_it = any(module.split(".")[0] == "ortools" for module in imported_modules(path))
    assert room_of(path) in ROOMS_WITH_ORTOOLS or not imports_it


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_physics_does_not_know_the_screen(path: Path) -> None:
    libraries = {module.split(".")[0] for module in imported_modules(path)}
    assert path.relative_to(ROOT).parts[0] == "optimizer" or not libraries & PRESENTATION_LIBRARIES


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_about_one_thing_and_says_which(path: Path) -> None:
    assert not set(path.stem.split("_")) & NAMES_THAT_SAY_NOTHING
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE_LINES
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


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


def test_only_a_report_imports_its_template_library() -> None:
    asked = ("estimate", "--gpu", "h100-sxm", "--max-model-len", "8192")
    assert "jinja2" not in modules_after(*asked)
    assert "jinja2" in modules_after(*asked, "--format", "html")
