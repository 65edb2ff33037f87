"""The files that `vllm serve --config` reads: known flags, no harm from odd names, and `lint` finds no error."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer import BatchRequest, SolveRequest, batch, solve
from vllm_opt.optimizer.batches.cells import Cell, plan_cells
from vllm_opt.optimizer.batches.vllm_config import HEADER_START, vllm_config
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.linter.lint import lint
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.profiles.catalogues.catalog import Catalog

ASKED = {
    "models": (
        "Qwen/Qwen3-0.6B",
        "deepseek-ai/DeepSeek-V3",
        "openai/gpt-oss-20b",
        "nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        "google/gemma-3-27b-it",
    ),
    "gpu": ("h200-sxm", "mi300x"),
    "workload": ("chat", "long-context"),
}


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A batch over architectures of every kind, for a release of today and one of the year before."""
    path = tmp_path_factory.mktemp("batch") / "out"
    report = batch(BatchRequest(**ASKED, vllm_version=("0.11", "0.33"), output=str(path), jobs=2))
    assert not report.failed
    assert report.counts["optimal"] >= 32
    return path


def configs(folder: Path) -> list[Path]:
    return sorted((folder / "configs").rglob("*.yaml"))


def release(file: Path) -> str:
    return file.stem.split("vllm-")[1]


def test_every_flag_is_one_that_the_release_knows(folder: Path, catalog: Catalog) -> None:
    known = {}
    for version in ("0.11", "0.33"):
        flags = catalog.engine(version)[0].flags
        known[version] = {flag.name for flag in flags} | {f"no-{flag.name}" for flag in flags if flag.negatable}
    for file in configs(folder):
        settings = yaml.safe_load(file.read_text())
        assert next(iter(settings)) == "model"
        assert set(settings) - {"model"} <= known[release(file)], file
        assert False not in [value for value in settings.values() if isinstance(value, bool)]
        assert settings["max-model-len"] >= 2


def test_every_file_says_what_to_expect(folder: Path) -> None:
    for file in configs(folder):
        header = [line for line in file.read_text().splitlines() if line.startswith("#")]
        assert header[0].startswith(HEADER_START)
        text = "\n".join(header)
        sku = file.name.split(".")[0]
        assert f" x {sku}" in header[0]
        assert f"vllm serve --config {file.name}" in text
        for words in ("TTFT", "throughput", "90 % interval", " per hour", "price: "):
            assert words in text


def test_lint_accepts_every_file(folder: Path, catalog: Catalog) -> None:
    for file in configs(folder):
        sku = file.name.split(".")[0]
        report = lint(
            LintRequest(file=str(file), gpu=sku, vllm_version=release(file), optimum=False), catalog
        )  # fmt: skip
        errors = [finding for command in report.commands for finding in command.findings if finding.level == "error"]
        assert not errors, (file, errors)


@pytest.fixture(scope="module")
def planned(catalog: Catalog) -> tuple[Plan, Cell]:
    """A plan and its cell."""
    (cell,) = plan_cells(BatchRequest(models="Qwen/Qwen3-0.6B", gpu="l4", workload="chat"), catalog)
    assert cell.request is not None
    plan = solve(SolveRequest(**cell.request), catalog).plan
    assert plan is not None
    return plan, cell


def test_the_file_is_the_plan(planned: tuple[Plan, Cell]) -> None:
    plan, cell = planned
    assert yaml.safe_load(vllm_config(plan, cell, ())) == {"model": plan.checkpoint, **plan.flags}


def test_a_switch_that_is_off_is_written_so_that_vllm_does_not_drop_it(planned: tuple[Plan, Cell]) -> None:
    plan, cell = planned
    plan = plan.model_copy(update={"flags": {"enable-prefix-caching": False, "enforce-eager": True}})
    assert yaml.safe_load(vllm_config(plan, cell, ())) == {
        "model": plan.checkpoint,
        "no-enable-prefix-caching": True,
        "enforce-eager": True,
    }


def test_no_text_of_a_header_can_become_a_setting(planned: tuple[Plan, Cell]) -> None:
    plan, cell = planned
    hostile = "x\nport: 1\r\nhost: evil\u2028api-key: y\x85z: 1\x0bq: 1"
    workload = cell.workload.model_copy(update={"id": hostile})
    plan = plan.model_copy(update={"model": hostile, "env": {"A": hostile}})
    text = vllm_config(plan, replace(cell, workload=workload, path=f"configs/a/b/{hostile}"), (hostile,))
    assert set(yaml.safe_load(text)) == {"model", *plan.flags}


def test_a_model_of_a_hostile_name_stays_a_string(planned: tuple[Plan, Cell]) -> None:
    plan, cell = planned
    for name in ("yes", "1e3", "- a", "a: b", "!!python/name:os.system", 'it\'s "quoted"', "#x", "{a}"):
        quoted = f"vllm serve {shlex.quote(name)} --max-model-len 8"
        assert yaml.safe_load(vllm_config(plan.model_copy(update={"command": quoted}), cell, ()))["model"] == name
