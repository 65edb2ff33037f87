"""Fixtures that several test files share."""

import os
import tempfile
from collections.abc import Callable

import pytest

os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="vllm-opt-tests-")
"""No test sees what the person at the keyboard has imported."""


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
