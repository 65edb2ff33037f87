"""Another package with a command of the same name is noticed, and ours stays reachable as a module."""

import subprocess
import sys
from pathlib import Path

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.profiles.version import clash_warning, others_with_the_command


def install(folder: Path, name: str, entry: str) -> None:
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[console_scripts]\n{entry}\n", encoding="utf-8")


def test_the_other_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert others_with_the_command() == ()
    assert clash_warning() is None
    install(tmp_path, "vllm-optimizer", "vllm-opt = vllm_optimizer.main:cli")
    install(tmp_path, "harmless", "other = harmless:main")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert others_with_the_command() == ("vllm-optimizer",)
    assert main(["--version"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("vllm-opt ")
    assert "vllm-optimizer installs a command 'vllm-opt' too" in err
    assert "python -m vllm_opt" in err


def test_the_module_is_always_ours() -> None:
    run = subprocess.run([sys.executable, "-m", "vllm_opt", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("vllm-opt ")
