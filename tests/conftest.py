"""Fixtures that several test files share."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="vllm-opt-tests-")
"""No test sees what the person at the keyboard has imported."""


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder without any settings."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch: pytest.MonkeyPatch, empty_home: Path) -> None:
    """No test sees the settings of whoever runs it: home, configuration folder, working folder, variables."""
    for name in [*os.environ]:
        if name.startswith("VLLM_OPT_"):
            monkeypatch.delenv(name)
    for name in ("HOME", "XDG_CONFIG_HOME", "APPDATA", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(empty_home))
    monkeypatch.chdir(empty_home)


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Return the one sentence on standard error; nothing may stand on standard output."""

    def read() -> str:
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("vllm-opt: error: ")
        assert err.count("\n") == 1
        assert "Traceback" not in err
        return err.removeprefix("vllm-opt: error: ").rstrip("\n")

    return read
