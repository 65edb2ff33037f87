"""`vllm-opt prices` as a table: one SKU with its machines, several with one machine each, and what is left out."""

import json
from collections.abc import Callable

import pytest

from vllm_opt.optimizer.cli.main import main


def rows(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict[str, object]]:
    assert main(["prices", *words, "--format", "json"]) == 0
    content: list[dict[str, object]] = json.loads(capsys.readouterr().out)["prices"]
    return content


def test_one_sku_alone_shows_its_machines(capsys: pytest.CaptureFixture[str]) -> None:
    known = rows(capsys, "l40s")
    assert main(["prices", "l40s"]) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "l40s: machines on offer"
    machines = {(row["provider"], row["instance_type"], row["billing"]) for row in known}
    rule = next(number for number, line in enumerate(lines) if line.startswith("───"))
    shown = sum("$" in line for line in lines[rule + 1 :])
    assert shown == min(17, len(machines))
    if len(known) > shown:
        assert any(f"{len(known) - shown} more offers; --format json has all" in line for line in lines)


def test_several_skus_show_one_machine_each(capsys: pytest.CaptureFixture[str]) -> None:
    known = rows(capsys, "h100")
    skus = list(dict.fromkeys(str(row["gpu"]) for row in known))
    assert len(skus) > 1
    assert main(["prices", "h100"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "The cheapest machine of each SKU"
    assert [line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in skus] == skus
    assert any("more offers; name a SKU for its machines" in line for line in lines)


def test_no_price_of_that_name_is_one_sentence(complaint: Callable[[], str]) -> None:
    assert main(["prices", "no-such-card"]) == 2
    assert "no-such-card" in complaint()
