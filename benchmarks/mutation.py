"""Mutation testing of the physics and the solver, bounded: which small changes does no test notice?

    nice -n 10 python benchmarks/mutation.py --known                    # the mutants that once survived
    nice -n 10 python benchmarks/mutation.py --count 60 --seconds 3000 --seed 1 [--under constraints/memory]
    nice -n 10 python benchmarks/mutation.py --count 40 --under optimizer/search

Each mutant changes one operator, comparison or number of one file in a copy of the package; the tests of that file's
room run against it (ROOMS says which; `--also` adds more), with the same examples every time. The tests first run
against an unchanged copy: they must pass, and a mutant gets five times as long. Prints every survivor as file, line,
and the change. Exit code 1 when a known mutant survives, else 0: a survivor of a random run is a question to a reader,
not a fault. Docstrings and words of messages are never changed. The working tree is never touched.
"""

import ast
import compileall
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from py_compile import PycInvalidationMode
from typing import NamedTuple

import click

ROOT = Path(__file__).resolve().parents[1]
MUTABLE = ("constraints", "optimizer/cpsat", "optimizer/search", "optimizer/fleet")
SOLVER = (
    "tests/optimizer/cpsat/test_model_text.py", "tests/optimizer/solver/test_pins.py",
    "tests/optimizer/solver/test_two_halves.py", "tests/optimizer/search",
    "tests/optimizer/solver/test_solver_oracle.py", "tests/optimizer/solver/test_found_by_brute_force.py",
)  # fmt: skip
ROOMS = {
    "optimizer/cpsat": (*SOLVER, "tests/optimizer/regret"),
    "optimizer/search": SOLVER,
    "optimizer/fleet": ("tests/optimizer/fleet",),
}
"""The tests of each room of the solver; a room of `constraints` has those in the folder of its own name."""
SLOW = "not long_histogram and not large_fleet and not six_booleans and not thousand_skus"
"""What a mutant is spared: these take longer than all the others of their rooms, and say the same."""
EXAMPLES = "6"
"""Problems of each kind that brute force decides for a mutant."""

SWAPS = {
    "+": "-", "-": "+", "*": "+", "/": "*", "//": "*", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=",
    "!=": "==", "is": "is not", "is not": "is", "in": "not in", "not in": "in", "and": "or", "or": "and",
}  # fmt: skip
KNOWN: tuple[tuple[str, str, str], ...] = (
    ("speed/traffic.py", "(1.0 + self.computed_tokens / self.decode_steps)",
     "(1.0 + self.computed_tokens * self.decode_steps)"),
    ("speed/traffic.py", "self.budget_tokens / (1.0", "self.budget_tokens * (1.0"),
    ("speed/model_work.py", "layers * hidden_size * experts.num_experts", "layers * hidden_size + experts.num_experts"),
    ("speed/model_work.py", "layers * hidden_size * experts.num_experts", "layers + hidden_size * experts.num_experts"),
    ("layouts/divisibility.py", 'if mixer.kind == "full"), attention[0]', 'if mixer.kind != "full"), attention[0]'),
    ("layouts/quantization_groups.py", "model.native_quantization is None", "model.native_quantization is not None"),
    ("weights/extras.py", "if rotates else (0, 1.0)", "if rotates else (1, 1.0)"),
    ("speed/coefficients.py", "launch_s = layers * shared.eager_layer_s", "launch_s = layers + shared.eager_layer_s"),
    ("speed/coefficients.py", "work.moe_layers * shared.eager_moe", "work.moe_layers + shared.eager_moe"),
    ("speed/latency.py", "np.where(outputs <= 1.0, 0.0,", "np.where(outputs <= 1.0, 0.01,"),
    ("kv/dtype.py", "capability >= (8, 0) else", "capability >= (8, 1) else"),
)  # fmt: skip


KNOWN_OF_THE_SOLVER: tuple[tuple[str, str, str], ...] = (
    ("optimizer/search/order.py", "recovery or 0.0", "recovery or 1.0"),
    ("optimizer/search/largest_load.py", "self._tokens[rows] >= load", "self._tokens[rows] > load"),
    ("optimizer/fleet/rules.py", "here <= everywhere - active", "here < everywhere - active"),
    ("optimizer/fleet/rules.py", "if z == zone and c in mine", "if z != zone and c in mine"),
    ("optimizer/fleet/rules.py", "row.coefficients.get(stands_for[size], 0)",
     "row.coefficients.get(stands_for[size], 1)"),
    ("optimizer/fleet/solver.py", "PROVEN_WITHIN * abs(value)", "PROVEN_WITHIN + abs(value)"),
    ("optimizer/fleet/problem.py", 'self.offers[o].billing == "node":', 'self.offers[o].billing != "node":'),
    ("optimizer/fleet/outcome.py", 'kind == "quota" and offer.gpu == which', 'kind == "quota" or offer.gpu == which'),
)  # fmt: skip


class Mutant(NamedTuple):
    """One change: characters `start` to `end` of a file become `text`."""

    path: str
    line: int
    start: int
    end: int
    text: str
    was: str


def mutants_of(path: str, source: str) -> Iterator[Mutant]:
    """Yield every mutant of one file."""
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))

    def at(line: int, column: int) -> int:
        text = source[starts[line - 1] : starts[line]].encode()[:column].decode()
        return starts[line - 1] + len(text)

    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.BinOp):
            yield from _between(path, source, at(*_end(node.left)), at(node.right.lineno, node.right.col_offset))
        elif isinstance(node, ast.Compare):
            left: ast.expr = node.left
            for right in node.comparators:
                yield from _between(path, source, at(*_end(left)), at(right.lineno, right.col_offset))
                left = right
        elif isinstance(node, ast.BoolOp):
            for one, other in zip(node.values, node.values[1:], strict=False):
                yield from _between(path, source, at(*_end(one)), at(other.lineno, other.col_offset))
        elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
            start, end = at(node.lineno, node.col_offset), at(*_end(node))
            yield Mutant(path, node.lineno, start, end, repr(node.value + 1), source[start:end])


def _end(node: ast.expr) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _between(path: str, source: str, start: int, end: int) -> Iterator[Mutant]:
    gap = source[start:end]
    operator = " ".join(gap.replace("(", " ").replace(")", " ").split())
    if operator in SWAPS and operator in gap:
        where = start + gap.index(operator)
        yield Mutant(path, source.count("\n", 0, where) + 1, where, where + len(operator), SWAPS[operator], operator)


def package_with_copy(folder: Path) -> Path:
    """Lay out `vllm_opt` in a folder, as copies; bytecode is checked by content, as mutants follow within a second."""
    package = folder / "vllm_opt"
    package.mkdir()
    (package / "profiles").symlink_to(ROOT / "profiles")
    for file in (ROOT / "optimizer").glob("__*.py"):
        (package / file.name).symlink_to(file)
    for name in ("constraints", "optimizer"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
        compileall.compile_dir(package / name, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH)
    return package


def tests_of(path: str, also: tuple[str, ...]) -> tuple[str, ...]:
    """The tests that have to notice a change of a file."""
    room = "/".join(path.split("/")[:2])
    return (*ROOMS.get(room, (f"tests/{room}",)), *also)


def passes(folder: Path, tests: tuple[str, ...], timeout: float) -> bool:
    """Whether the tests pass against the copy; a run that does not end does not pass."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("ORACLE_EXAMPLES", EXAMPLES)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"]
    command += ["--hypothesis-seed=0", "-k", SLOW, *tests]
    run = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        return run.wait(timeout=timeout) == 0
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return False


def known_mutants(sources: dict[str, str]) -> list[Mutant]:
    """The mutants of KNOWN where the code still has their words; one that has moved is an error."""
    found = []
    for path, was, text in (*((f"constraints/{path}", *change) for path, *change in KNOWN), *KNOWN_OF_THE_SOLVER):
        start = sources[path].find(was)
        if start < 0:
            raise click.ClickException(f"{path} no longer holds {was!r}; bring KNOWN up to date")
        found.append(Mutant(path, sources[path].count("\n", 0, start) + 1, start, start + len(was), text, was))
    return found


@click.command()
@click.option("--known", is_flag=True, help="Only the mutants that once survived.")
@click.option("--count", default=40, help="How many mutants to draw.")
@click.option("--seconds", default=1800.0, help="Stop after so long.")
@click.option("--seed", default=0)
@click.option("--under", multiple=True, default=MUTABLE, help="Only files below these folders.")
@click.option("--also", multiple=True, help="More tests to run against every mutant.")
def main(known: bool, count: int, seconds: float, seed: int, under: tuple[str, ...], also: tuple[str, ...]) -> None:
    """Mutate, run the tests of the room, list what survives."""
    started = time.monotonic()
    sources = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for folder in (MUTABLE if known else under)
        for file in sorted((ROOT / folder).rglob("*.py"))
    }
    pool = known_mutants(sources) if known else [m for path, text in sources.items() for m in mutants_of(path, text)]
    chosen = pool if known else random.Random(seed).sample(pool, min(count, len(pool)))
    allowed: dict[tuple[str, ...], float] = {}
    survivors, tried = 0, 0
    with tempfile.TemporaryDirectory() as name:
        package = package_with_copy(Path(name))
        for mutant in chosen:
            if time.monotonic() - started > seconds:
                break
            tests = tests_of(mutant.path, also)
            if tests not in allowed:
                allowed[tests] = _seconds_allowed(Path(name), tests)
            source = sources[mutant.path]
            changed = source[: mutant.start] + mutant.text + source[mutant.end :]
            (package / mutant.path).write_text(changed, encoding="utf-8")
            tried += 1
            if passes(Path(name), tests, allowed[tests]):
                survivors += 1
                line = source.splitlines()[mutant.line - 1].strip()
                print(f"{mutant.path}:{mutant.line}: {mutant.was} -> {mutant.text}    {line}", flush=True)
            (package / mutant.path).write_text(source, encoding="utf-8")
    print(f"{tried} of {len(pool)} mutants tried, {tried - survivors} killed, {survivors} survived")
    raise SystemExit(bool(known and survivors))


def _seconds_allowed(folder: Path, tests: tuple[str, ...]) -> float:
    started = time.monotonic()
    if not passes(folder, tests, 1800.0):
        raise click.ClickException(f"{' '.join(tests)} do not pass against an unchanged copy")
    return 5 * (time.monotonic() - started) + 30


if __name__ == "__main__":
    main()
