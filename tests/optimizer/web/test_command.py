"""`vllm-opt web`: what it says before it serves."""

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.web import serve


@pytest.mark.parametrize(
    "options", [("--port", "70000"), ("--port", "x"), ("--processes", "0"), ("--time-limit", "-1")]
)
def test_a_setting_that_cannot_be_is_one_sentence(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", *options]) == 2
    complaint = capsys.readouterr().err
    assert options[0] in complaint
    assert "Traceback" not in complaint


def test_an_address_that_is_taken_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["web", "--host", "192.0.2.1"]) == 2
    assert "cannot listen on 192.0.2.1" in capsys.readouterr().err


def test_without_the_extra_it_says_how_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(serve, "NEEDED", ("a_module_that_is_not_there",))
    assert main(["web"]) == 2
    assert "pip install 'vllm-opt[web]'" in capsys.readouterr().err
