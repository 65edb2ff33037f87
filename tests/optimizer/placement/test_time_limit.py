"""A placement for which there was no time is not known: exit 3, never "it cannot be done"."""

from pathlib import Path

import pytest

from vllm_opt.optimizer import PlaceRequest, place
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.placement import problem as finding
from vllm_opt.optimizer.placement.plans import Sizes

SITE = """
nodes: [{name: n, gpu: l40s, gpus: 2}]
services: [{name: chat, model: Qwen/Qwen3-8B, workload: chat, requests_per_s: 1}]
"""


def test_without_time_for_a_plan_the_answer_is_unknown_and_exits_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sizes, "close", lambda *_: None)  # as if time ran out before a size was looked at
    monkeypatch.setattr(finding, "PLANS_SHARE", 0.0)
    file = tmp_path / "site.yaml"
    file.write_text(SITE.replace("requests_per_s: 1", "requests_per_s: 1, share: false"), encoding="utf-8")
    assert main(["place", str(file)]) == 3
    assert "Not decided" in capsys.readouterr().out


def test_what_plainly_fits_is_placed_however_little_time_there_is() -> None:
    request = PlaceRequest(
        nodes=[{"name": "n", "gpu": "l40s", "gpus": 2}],
        services=[{"name": "chat", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 1}],
        time_limit=1e-6,
    )
    answer = place(request)
    assert answer.status in ("feasible", "optimal")
    assert len(answer.servers) == 1
    assert not answer.unplaced
