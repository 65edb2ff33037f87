"""The folder: whole or not at all, never over anybody's file, and a check that shows what is stale."""

import json
from pathlib import Path

import pytest
from deployments import made

from vllm_opt.optimizer.deployment import folder as folder_module
from vllm_opt.optimizer.deployment.files import emit_of, files_of
from vllm_opt.optimizer.deployment.folder import MANIFEST, write_files, write_folder
from vllm_opt.profiles.errors import InvalidRequest

FILES = {"README.md": "one\n", "scripts/a.sh": "#!/bin/sh\n", "kubernetes/x.yaml": "a: 1\n"}


def contents(directory: Path) -> dict[str, str]:
    """Every file below a folder but the list."""
    return {
        path.relative_to(directory).as_posix(): path.read_text()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def test_a_new_folder_holds_everything_and_scripts_run(tmp_path: Path) -> None:
    report = write_files(FILES, tmp_path / "deep" / "out")
    assert contents(tmp_path / "deep" / "out") == FILES
    assert report.changed == tuple(FILES)
    assert (tmp_path / "deep" / "out" / "scripts" / "a.sh").stat().st_mode & 0o100
    assert not [path for path in (tmp_path / "deep").iterdir() if path.name != "out"]


def test_writing_again_changes_nothing_and_less_removes_what_is_gone(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_files(FILES, out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert write_files(FILES, out).changed == ()
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == times
    (out / "scripts" / "logs").mkdir()
    (out / "scripts" / "logs" / "own.log").write_text("mine")
    report = write_files({"README.md": "two\n"}, out)
    assert set(report.changed) == {"README.md", "scripts/a.sh", "kubernetes/x.yaml"}
    assert contents(out) == {"README.md": "two\n", "scripts/logs/own.log": "mine"}
    assert not (out / "kubernetes").exists()


@pytest.mark.parametrize("kind", ["foreign", "edited", "link", "folder-link", "edited-leftover"])
def test_what_is_somebody_elses_is_never_touched(kind: str, tmp_path: Path) -> None:
    out, outside = tmp_path / "out", tmp_path / "outside"
    outside.mkdir()
    (outside / "x.yaml").write_text("theirs")
    files = dict(FILES)
    if kind == "foreign":
        out.mkdir()
        (out / "README.md").write_text("theirs")
    elif kind == "edited":
        write_files(FILES, out)
        (out / "README.md").write_text("edited")
        files["README.md"] = "new\n"
    elif kind == "link":
        out.mkdir()
        (out / "README.md").symlink_to(outside / "x.yaml")
    elif kind == "folder-link":
        out.mkdir()
        (out / "kubernetes").symlink_to(outside)
    else:
        write_files(FILES, out)
        (out / "kubernetes" / "x.yaml").write_text("edited")
        del files["kubernetes/x.yaml"]
    before = contents(out)
    with pytest.raises(InvalidRequest, match=r"not written by vllm-opt|edited since|no folder of its own"):
        write_files(files, out)
    assert contents(out) == before
    assert (outside / "x.yaml").read_text() == "theirs"


def test_a_file_that_already_holds_the_text_is_taken_over(tmp_path: Path) -> None:
    tmp_path.joinpath("README.md").write_text("one\n")
    write_files(FILES, tmp_path)
    assert write_files({**FILES, "README.md": "two\n"}, tmp_path).changed == ("README.md",)


def test_a_run_that_dies_between_two_files_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    write_files(FILES, out)
    newer = {name: f"{text}# new\n" for name, text in FILES.items()}
    real, calls = folder_module.replace_file, []

    def dies_at_the_third(path: Path, text: str, **options: bool) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        real(path, text, **options)

    monkeypatch.setattr(folder_module, "replace_file", dies_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        write_files(newer, out)
    monkeypatch.undo()
    assert set(contents(out).values()) <= {*FILES.values(), *newer.values()}
    assert len(write_files(newer, out).changed) == 2
    assert contents(out) == newer


def test_a_new_folder_that_cannot_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(path: Path, text: str, **options: bool) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(folder_module, "replace_file", dies)
    with pytest.raises(KeyboardInterrupt):
        write_files(FILES, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_check_shows_what_would_change_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert write_files(FILES, out, check=True).changed == tuple(sorted(FILES))
    assert not out.exists()
    write_files(FILES, out)
    assert not write_files(FILES, out, check=True).stale
    (out / "README.md").write_text("edited\n")
    (out / "scripts" / "a.sh").unlink()
    report = write_files({"README.md": "one\n", "scripts/a.sh": "#!/bin/sh\n"}, out, check=True)
    assert report.diff == (
        "--- a/README.md\n+++ b/README.md\n@@ -1 +1 @@\n-edited\n+one\n"
        "--- a/kubernetes/x.yaml\n+++ /dev/null\n@@ -1 +0,0 @@\n-a: 1\n"
        "--- /dev/null\n+++ b/scripts/a.sh\n@@ -0,0 +1 @@\n+#!/bin/sh\n"
    )


@pytest.mark.parametrize(
    "content", ["", "[]", '{"schema": 1}', '{"schema": "vllm-opt/deploy-folder/1", "files": 3}', "\0"]
)
def test_a_list_that_cannot_be_read_counts_as_none(content: str, tmp_path: Path) -> None:
    write_files(FILES, tmp_path / "out")
    (tmp_path / "out" / MANIFEST).write_text(content)
    assert write_files(FILES, tmp_path / "out").changed == ()


def test_a_list_that_names_files_elsewhere_removes_nothing_there(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    write_files(FILES, tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_text())
    manifest["files"] |= {"../victim": ["0"], str(victim): ["0"]}
    (tmp_path / "out" / MANIFEST).write_text(json.dumps(manifest))
    write_files(FILES, tmp_path / "out")
    assert victim.read_text() == "theirs"


def test_a_file_where_the_folder_should_be_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(InvalidRequest, match="in the way"):
        write_files(FILES, tmp_path / "out")
    with pytest.raises(InvalidRequest, match="cannot write the folder"):
        write_files(FILES, tmp_path / "out" / "below")


def test_the_same_deployment_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = files_of(made("fleet-on-two-nodes")), files_of(made("fleet-on-two-nodes"))
    assert first == second
    write_folder(made("fleet-on-two-nodes"), tmp_path / "out")
    assert not write_folder(made("fleet-on-two-nodes"), tmp_path / "out", check=True).stale


def test_emit_is_read_as_lists_are_written() -> None:
    assert emit_of(None) == emit_of("") == ("scripts", "compose", "kubernetes")
    assert emit_of("Helm, scripts,helm") == ("helm", "scripts")
    assert emit_of(("kserve", "scripts,compose")) == ("kserve", "scripts", "compose")
    assert emit_of("all") == ("scripts", "compose", "kubernetes", "kserve", "helm", "kustomize")
    with pytest.raises(InvalidRequest, match="did you mean 'helm'"):
        emit_of("hlem")
