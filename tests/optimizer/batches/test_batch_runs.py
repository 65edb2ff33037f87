"""Runs of `batch`: the same bytes, resumption after kill -9 and Ctrl-C, cells and workers that fail."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import time
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
from batch_runs import MODELS, asked, command, start, written

from vllm_opt.optimizer import BatchRequest, batch
from vllm_opt.optimizer.batches import batch as batches
from vllm_opt.optimizer.batches.backend_local import LocalBackend
from vllm_opt.optimizer.batches.cells import plan_cells
from vllm_opt.optimizer.batches.folder import BatchFolder
from vllm_opt.optimizer.batches.tasks import Finished, Task, tasks_of
from vllm_opt.optimizer.cli.main import main
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

SPEC = ("--gpu", "l40s", "--gpu", "l4", "--gpu", "h100", "--workload", "chat", "--models", "Qwen/Qwen3-*B")


def wait_for_records(folder: Path, count: int) -> None:
    """Wait until so many cells are finished, at most two minutes."""
    for _ in range(2400):
        if len(list((folder / "cells").glob("[0-9a-f]*.json"))) >= count:
            return
        time.sleep(0.05)
    raise AssertionError("no cell was finished")


def test_the_same_inputs_give_the_same_bytes_whatever_the_number_of_workers(tmp_path: Path) -> None:
    first = batch(BatchRequest(**asked(tmp_path / "a", workload=("chat", "offline-batch"), jobs=1)))
    second = batch(BatchRequest(**asked(tmp_path / "b", workload=("offline-batch", "chat"), jobs=2)))
    assert first.counts == second.counts
    assert sum(first.counts.values()) == 8
    assert not first.failed
    assert written(tmp_path / "a") == written(tmp_path / "b")


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    request = BatchRequest(**asked(tmp_path / "out", models=MODELS[0]))
    batch(request)
    before = written(tmp_path / "out")
    assert batch(request).reused == 0
    assert written(tmp_path / "out") == before
    report = batch(request.replaced(resume=True))
    assert (report.cells, report.reused) == (2, 2)
    assert written(tmp_path / "out") == before


def test_resume_solves_again_what_is_damaged_or_depends_on_something_else(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    request = BatchRequest(**asked(folder, models=MODELS[0], gpu=("l4", "l40s", "h100"), jobs=1))
    batch(request)
    whole = written(folder)
    records = sorted((folder / "cells").glob("*.json"))
    records[0].write_text(records[0].read_text()[:100])
    records[1].write_text(json.dumps({"schema": "vllm-opt/batch-cell/1", "key": records[1].stem, "record": {}}))
    assert batch(request.replaced(resume=True)).reused == 1
    assert written(folder) == whole
    assert batch(request.replaced(resume=True, price={"l4": 0.1})).reused == 2


def test_a_run_that_was_killed_is_resumed(tmp_path: Path) -> None:
    process = start(tmp_path / "killed", *SPEC, "--jobs", "1")
    wait_for_records(tmp_path / "killed", 3)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    finished = len(list((tmp_path / "killed" / "cells").glob("[0-9a-f]*.json")))
    assert not (tmp_path / "killed" / "index.json").exists()
    request = BatchRequest(
        models="Qwen/Qwen3-*B",
        gpu=("l40s", "l4", "h100"),
        workload="chat",
        output=str(tmp_path / "killed"),
        resume=True,
    )
    report = batch(request)
    assert 3 <= finished <= report.reused < report.cells
    batch(request.replaced(output=str(tmp_path / "whole"), resume=False))
    assert written(tmp_path / "killed") == written(tmp_path / "whole")


def test_ctrl_c_keeps_what_is_finished_and_exits_with_130(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    process = start(folder, *SPEC, "--jobs", "1")
    wait_for_records(folder, 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    assert "cells are finished in" in err
    assert "--resume goes on from there" in err
    assert "Traceback" not in err
    index = json.loads((folder / "index.json").read_text())
    assert index["complete"] is False
    assert len(index["cells"]) >= 2
    assert all((folder / row["file"]).is_file() for row in index["cells"] if row.get("file"))
    assert not (folder / "CHANGES.md").exists()
    assert "interrupted" in (folder / "index.html").read_text()


class LosingBackend:
    """A local backend on a disk from which a model's folder disappears before the work starts."""

    def __init__(self, lost: Path) -> None:
        self.lost = lost

    def run(self, tasks: Iterable[Task]) -> Generator[Finished, None, None]:
        """Delete the folder and work on."""
        (self.lost / "config.json").unlink()
        yield from LocalBackend(1).run(tasks)


def test_a_cell_that_fails_is_reported_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    model.mkdir()
    source = Path(__file__).parents[2] / "data" / "vllm_reference_configs" / "llama-3.2-1b.json"
    (model / "config.json").write_bytes(source.read_bytes())
    monkeypatch.setattr(batches, "backend_of", lambda _: LosingBackend(model))
    folder = tmp_path / "out"
    spec = tmp_path / "spec.yaml"
    spec.write_text(f"models: ['{model}', {MODELS[0]}]\ngpu: l4\nworkload: chat\noutput: '{folder}'\n")
    assert main(["batch", str(spec)]) == 1
    out, err = capsys.readouterr()
    assert "1  failed" in out
    assert "1  recommended, proven optimal" in out
    assert err.startswith("failed: configs/")
    assert "UnknownProfile: " in err or "InvalidRequest: " in err
    rows = json.loads((folder / "index.json").read_text())["cells"]
    assert sorted(row["status"] for row in rows) == ["failed", "optimal"]
    assert len(list((folder / "cells").glob("*.json"))) == 1


def test_a_worker_that_dies_is_replaced_and_its_cells_tried_again(tmp_path: Path) -> None:
    request = BatchRequest(**asked(tmp_path, models=MODELS, gpu=("l40s", "l4", "h100")))
    cells = plan_cells(request, Catalog())
    backend = LocalBackend(2)
    answered = {}
    for number, (task, records) in enumerate(backend.run(tasks_of(cells))):
        if number == 0:
            victim = backend.process_ids[0]
            os.kill(victim, signal.SIGKILL)
        answered.update(zip((cell.path for cell in task.cells), records, strict=True))
    assert sorted(answered) == [cell.path for cell in cells]
    assert {record["status"] for record in answered.values()} == {"optimal"}
    assert backend.process_ids == ()
    with pytest.raises(ProcessLookupError):
        os.kill(victim, 0)


def test_two_runs_do_not_write_one_folder(tmp_path: Path) -> None:
    request = BatchRequest(**asked(tmp_path / "out", models="meta-llama/Llama-3.2-11B-Vision"))
    with BatchFolder(tmp_path / "out").held(), pytest.raises(InvalidRequest, match="another batch is writing"):
        batch(request)
    assert batch(request).counts == {"unsupported": 2}


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(InvalidRequest, match="holds files that no batch wrote"):
        batch(BatchRequest(**asked(tmp_path)))
    assert written(tmp_path) == {"thesis.tex": b"mine"}


def test_the_report_is_json_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "meta-llama/Llama-3.2-11B-Vision", "--gpu", "l4", "--workload", "chat", "--format", "json"]
    assert main(["batch", *arguments, "--output", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert json.loads(out) == {
        "schema": "vllm-opt/batch/1",
        "output": str(tmp_path / "out"),
        "cells": 1,
        "reused": 0,
        "counts": {"unsupported": 1},
        "failed": [],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--models", "Qwen/Qwen9*"], "no model of the catalogue matches 'Qwen/Qwen9*'"),
        (["--gpu", "h1000"], "h1000"),
        (["--workload", "chatt"], "workload 'chatt' is unknown; did you mean 'chat'"),
        (["--objective", "cheap"], "objective 'cheap' is unknown"),
        (["--vllm-version", "nine"], "nine"),
        (["--jobs", "-1"], "--jobs: must be greater than 0"),
        (["--address", "ray://x"], "address needs backend ray"),
        (["absent.yaml"], "cannot read 'absent.yaml'"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_a_bar_with_rate_and_remaining_time(tmp_path: Path) -> None:
    reader, terminal = pty.openpty()
    arguments = command(tmp_path / "out", "--models", MODELS[0], "--gpu", "l4", "--gpu", "l40s", "--workload", "chat")
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    run = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=terminal, check=True, env=environment)
    os.close(terminal)
    drawn = b""
    with contextlib.suppress(OSError):
        while chunk := os.read(reader, 65536):
            drawn += chunk
    os.close(reader)
    assert b"/2" in drawn
    assert b"remaining" in drawn
    assert run.stdout.startswith(b"2 cells in ")
