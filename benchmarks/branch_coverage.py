"""Branch coverage of `constraints` and `optimizer`, in pieces that can be repeated one by one.

    nice -n 10 python benchmarks/branch_coverage.py                                  # everything, about half an hour
    nice -n 10 python benchmarks/branch_coverage.py --piece tests/optimizer/fleet    # one piece again
    nice -n 10 python benchmarks/branch_coverage.py --examples 6      # quicker: so many examples of a property at most
    python benchmarks/branch_coverage.py --only-report [--missed optimizer/fleet]

Every folder of tests is a piece: one pytest process without xdist, with the commands and workers that it starts (see
`[tool.coverage]` in pyproject.toml). What a piece measured lies in DATA/PIECE until that piece runs again, so that one
piece after a change is enough. A piece that does not end in `--seconds` is stopped; what it measured until then counts.

Prints statements, branches and the share of both that ran, for every room and package; `--missed` lists lines and
branches that no test takes. Exit code 1 when tests failed or a package is below `--floor`.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("constraints", "optimizer")
MOST_EXAMPLES = "COVERAGE_EXAMPLES"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """As a plugin of the measured runs: hold every property to a number of examples."""
    from hypothesis import settings

    most = int(os.environ.get(MOST_EXAMPLES, "0"))
    for item in items:
        test = getattr(item, "obj", None)
        held = getattr(test, "_hypothesis_internal_use_settings", None)
        if most and held is not None and held.max_examples > most:
            test._hypothesis_internal_use_settings = settings(held, max_examples=most)  # type: ignore[union-attr]


def pieces() -> list[str]:
    """Return the folders of tests with tests of their own, those of one room together, and the single files."""
    folders = [path for package in PACKAGES for path in sorted((ROOT / "tests" / package).iterdir()) if path.is_dir()]
    files = sorted((ROOT / "tests").glob("test_*.py"))
    return [
        *(path.relative_to(ROOT).as_posix() for path in folders if any(path.rglob("test_*.py"))),
        "tests/profiles",
        *(path.relative_to(ROOT).as_posix() for path in files),
    ]


def measured(piece: str, data: Path, seconds: float, examples: int) -> bool:
    """Run one piece under coverage; whether its tests passed in time."""
    folder = data / piece.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    command = [sys.executable, "-m", "coverage", "run", "--parallel-mode", "-m", "pytest", "-q", "-n", "0"]
    here = os.pathsep.join(filter(None, (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))))
    environment = {
        **os.environ, "COVERAGE_FILE": str(folder / ".coverage"), "COVERAGE_TREE": str(ROOT), "PYTHONPATH": here,
        MOST_EXAMPLES: str(examples),
    }  # fmt: skip
    started = time.monotonic()
    with (folder / "said").open("w") as said:
        run = subprocess.Popen(
            [*command, "-p", "no:cacheprovider", "-p", Path(__file__).stem, piece],
            cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            code: int | None = run.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            code = None
            _stop(run)
    last = (folder / "said").read_text(errors="replace").strip().rsplit("\n", maxsplit=1)[-1]
    print(f"{piece}: {'stopped' if code is None else last} ({time.monotonic() - started:.0f} s)", flush=True)
    return code == 0


def _stop(run: subprocess.Popen[bytes]) -> None:
    """Coverage writes what it has at SIGTERM; whatever outlives that is killed."""
    run.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        run.wait(timeout=60)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.wait()


def combined(data: Path) -> dict[str, dict[str, object]]:
    """Return what all pieces measured together: coverage's own JSON report of every file."""
    environment = {**os.environ, "COVERAGE_FILE": str(data / "together")}
    found = [str(file) for file in sorted(data.glob("*/.coverage.*")) if file.stat().st_size]
    tool = [sys.executable, "-m", "coverage"]
    (data / "list").write_text("\n".join(found))
    subprocess.run([*tool, "combine", "-q", "--keep", *found], cwd=ROOT, env=environment, check=True)
    file = data / "report.json"
    subprocess.run([*tool, "json", "-q", "-i", "-o", str(file)], cwd=ROOT, env=environment, check=True)
    report: dict[str, dict[str, object]] = json.loads(file.read_text())["files"]
    return report


def told(report: dict[str, dict[str, object]], missed: tuple[str, ...]) -> dict[str, float]:
    """Print the rooms and packages and what is missed below some folders; return the share of each package."""
    ran: dict[str, int] = defaultdict(int)
    there: dict[str, int] = defaultdict(int)
    for path, found in sorted(report.items()):
        summary = found["summary"]
        assert isinstance(summary, dict)
        for name in {path.split("/")[0], path.rpartition("/")[0]}:
            ran[name] += summary["covered_lines"] + summary["covered_branches"]
            there[name] += summary["num_statements"] + summary["num_branches"]
        if path.startswith(missed) and missed and summary["percent_covered"] < 100:
            branches = found["missing_branches"]
            assert isinstance(branches, list)
            arrows = ", ".join(f"{start}->{end}" for start, end in branches)
            print(f"{path}: lines {found['missing_lines']}, branches {arrows or 'none'}")
    shares = {name: 100 * ran[name] / there[name] for name in sorted(there) if there[name]}
    for name, share in shares.items():
        print(f"{share:6.2f} %  {ran[name]:>6,} of {there[name]:>6,}  {name}")
    return {package: shares.get(package, 0.0) for package in PACKAGES}


@click.command()
@click.option("--piece", "chosen", multiple=True, help="Only these folders or files of tests.")
@click.option("--only-report", is_flag=True, help="Run nothing; tell what earlier runs measured.")
@click.option("--missed", multiple=True, help="List what is missed in files below this folder.")
@click.option("--seconds", default=1500.0, help="Stop a piece after so long.")
@click.option("--examples", default=0, help="At most so many examples of a property; 0: as many as it says.")
@click.option("--data", type=click.Path(path_type=Path), default=ROOT / "build" / "coverage")
@click.option("--floor", default=95.0, help="Percent of statements and branches that every package must reach.")
def main(
    chosen: tuple[str, ...],
    only_report: bool,
    missed: tuple[str, ...],
    seconds: float,
    examples: int,
    data: Path,
    floor: float,
) -> None:
    """Measure piece by piece, then add up."""
    data = data.resolve()
    passed = [measured(piece, data, seconds, examples) for piece in (() if only_report else chosen or pieces())]
    shares = told(combined(data), missed)
    raise SystemExit(not all(passed) or min(shares.values()) < floor)


if __name__ == "__main__":
    main()
