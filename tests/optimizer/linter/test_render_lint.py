"""The linter's report on screen, as JSON, as SARIF, and as corrected text; and the command's exit codes."""

import json
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.linter.annotations import sarif
from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.render import render_lint
from vllm_opt.optimizer.linter.rules import RULES
from vllm_opt.optimizer.linter.subject.report import Change, Finding, LintReport, Optimum, Unread
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
GOOD = "vllm serve meta-llama/Llama-3.1-8B-Instruct --max-model-len 8192"
BAD = "vllm serve meta-llama/Llama-3.1-8B-Instruct --swap-space 4 --max-num-seqs 8"
Capture = pytest.CaptureFixture[str]


def report(text: str = BAD, gpu: str = "a10") -> LintReport:
    return lint_command(text, gpu, "0.33", catalog=CATALOG, optimum=False)


def test_table_says_what_to_type() -> None:
    text = render_lint(report(), "table", Screen(width=120, colour=False))
    assert "on 1 x a10, vLLM 0.33: does not start" in text
    assert "vllm: error: unrecognized arguments: --swap-space 4" in text
    assert "-> drop --swap-space" in text
    assert "-> add --max-model-len" in text
    assert "(now 131072)" in text
    assert "Corrected\nvllm serve meta-llama/Llama-3.1-8B-Instruct --max-num-seqs 8 --max-model-len" in text
    assert "2 errors" in text
    assert "--fix prints the corrected text" in text


def test_errors_that_no_fix_may_decide_are_not_called_corrected() -> None:
    text = render_lint(report(f"{BAD} --quantization gguf --kv-cache-dtype fp9"), "table", Screen(width=120))
    assert "Corrected, but for 2 errors left to you\nvllm serve" in text


def test_a_remedy_is_listed_once() -> None:
    line = f"{GOOD} --max-num-batched-tokens 100 --no-enable-chunked-prefill"
    (found,) = (item for item in report(line).commands[0].findings if item.rule == "batching")
    assert len(set(found.alternatives)) == len(found.alternatives) > 0


@pytest.mark.parametrize("width", [40, 80, 140])
def test_narrow_screens_lose_no_words(width: int) -> None:
    text = render_lint(report(), "table", Screen(width=width, colour=False, unicode=False))
    assert "unrecognized arguments: --swap-space 4" in text
    assert "\x1b" not in text


def test_control_characters_do_not_reach_the_screen() -> None:
    text = render_lint(report("vllm serve 'a\x1b[31mb' --max-num\x07-seqs 4"), "table", Screen())
    assert "\x1b" not in text
    assert "\x07" not in text


def test_json_is_the_report() -> None:
    document = json.loads(render_lint(report(), "json", Screen()))
    assert document["schema"] == "vllm-opt/lint/1"
    assert document["errors"] == 2
    found = document["commands"][0]["findings"][0]
    assert {"rule", "level", "message", "flag", "from", "to", "changes", "gain"} <= set(found)
    assert found["changes"] == [{"flag": "--swap-space", "from": "4", "to": None}]
    assert document == report().model_dump(mode="json")


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []


def test_sarif_has_what_the_standard_asks_for() -> None:
    """Section 3 of SARIF 2.1.0: version, tool name, results with a rule, a level, a message and a place."""
    made = report()
    document = sarif(made)
    assert document["version"] == "2.1.0"
    assert document["$schema"].endswith("sarif-schema-2.1.0.json")
    (single,) = document["runs"]
    listed = single["tool"]["driver"]["rules"]
    assert single["tool"]["driver"]["name"] == "vllm-opt lint"
    assert [rule["id"] for rule in listed] == sorted({finding.rule for finding in made.findings})
    assert all(rule["shortDescription"]["text"] == RULES[rule["id"]] for rule in listed)
    assert len(single["results"]) == len(made.findings)
    for result in single["results"]:
        assert listed[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
        assert result["message"]["text"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"]["startLine"] >= 1
        assert place["artifactLocation"]["uri"] == "command-line"
    assert "NaN" not in json.dumps(document)


def test_fixed_text_is_the_whole_text() -> None:
    assert render_lint(report(), "fixed", Screen()) == report().fixed_text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (Change(flag="--a", from_value=None, to=4), "add --a 4"),
        (Change(flag="--a", from_value=3, to=4), "set --a 4"),
        (Change(flag="--a", from_value=3), "drop --a"),
        (Change(flag="--a", from_value=False), "drop --no-a"),
        (Change(flag="--a", from_value=None, to=True), "add --a"),
        (Change(flag="--a", from_value="false", to=False), "write --no-a"),
    ],
)
def test_changes_in_words(change: Change, words: str) -> None:
    assert change.words == words


# --- the command ----------------------------------------------------------------------------------------------------


def test_exit_code_0_without_errors(capsys: Capture) -> None:
    assert main(["lint", GOOD, "--gpu", "h100", "--no-optimum"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "h100-sxm, vLLM 0.33: starts" in out


def test_exit_code_1_with_errors_in_every_format(capsys: Capture) -> None:
    for format_name in ("table", "json", "sarif"):
        assert main(["lint", BAD, "--gpu", "a10", "--no-optimum", "--format", format_name]) == 1
        out, err = capsys.readouterr()
        assert err == ""
        assert format_name == "table" or json.loads(out)


def test_fix_prints_the_text_alone(capsys: Capture) -> None:
    assert main(["lint", f"{GOOD} --swap-space 4", "--gpu", "h100", "--no-optimum", "--fix"]) == 1
    assert capsys.readouterr().out == GOOD + "\n"
    assert main(["lint", f"{GOOD} --enforce-eager", "--gpu", "h100", "--no-optimum", "--fix-all"]) == 0
    fixed = capsys.readouterr().out
    assert "--enforce-eager" not in fixed
    assert "--kv-cache-dtype" not in fixed


def test_file_and_output(tmp_path: Path, capsys: Capture) -> None:
    script, answer = tmp_path / "run.sh", tmp_path / "fixed.sh"
    script.write_text(f"#!/bin/sh\n{GOOD} --swap-space 4\n")
    assert main(["lint", "-f", str(script), "--gpu", "h100", "--no-optimum", "--fix", "-o", str(answer)]) == 1
    assert capsys.readouterr().out == ""
    assert answer.read_text() == f"#!/bin/sh\n{GOOD}\n"


def test_standard_input(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(f"{GOOD}\n".encode())))
    assert main(["lint", "-", "--gpu", "h100", "--no-optimum", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["commands"][0]["starts"] is True


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ([], "give a command in quotes"),
        (["vllm", "serve", "m"], "put the command in quotes"),
        ([GOOD], "add --gpu SKU"),
        ([GOOD, "--gpu", "h1000"], "did you mean"),
        (["ls -l", "--gpu", "h100"], "no command that starts a vLLM server"),
        ([GOOD, "--gpu", "h100", "--target-context", "long"], "--target-context"),
        ([GOOD, "--gpu", "h100", "--vllm-version", "new"], "cannot be read"),
        ([GOOD, "-f", "x.yaml", "--gpu", "h100"], "give one of the two"),
        (["--file", "missing.yaml", "--gpu", "h100"], "cannot read 'missing.yaml'"),
        (["vllm serve 'm", "--gpu", "h100"], "never closed"),
    ],
)
def test_bad_input_is_one_sentence(arguments: list[str], part: str, complaint: Callable[[], str]) -> None:
    assert main(["lint", *arguments]) == 2
    assert part in complaint()


def drawn_with(**changes: Any) -> str:
    """The table of one command of which some fields are replaced."""
    whole = report()
    (command,) = whole.commands
    changed = whole.model_copy(update={"commands": (command.model_copy(update=changes),)})
    return render_lint(changed, "table", Screen(width=120, colour=False))


def test_flags_that_equal_a_default_share_a_line_and_open_questions_are_named() -> None:
    findings = (
        Finding(rule="equals_default", level="note", message="--seed 0 is the default"),
        Finding(rule="equals_default", level="note", message="--dtype auto is the default"),
        Finding(rule="kv_pool", level="warning", message="the pool is small", unresolved=("$GPU", "$N"),
                gain_text="2 x the sequences", alternatives=("a smaller context",)),
    )  # fmt: skip
    text = " ".join(drawn_with(findings=findings).split())
    assert "--seed, --dtype say what this release does by default here; they can go, or stay to pin the values" in text
    assert "the pool is small depends on $GPU, $N gain: 2 x the sequences or a smaller context" in text
    alone = drawn_with(findings=findings[:1])
    assert "--seed 0 is the default" in alone


def test_the_solvers_best_says_gains_servers_and_what_has_to_be_made() -> None:
    best = Optimum(
        title="any weights", command="vllm serve m", checkpoint=None, replicas=2, output_tokens_per_s=1234.4,
        max_concurrency=56.78, throughput_gain=0.25, concurrency_gain=-0.1, status="optimal",
    )  # fmt: skip
    text = " ".join(drawn_with(optima=(best,)).split())
    assert "any weights (no such checkpoint is known: it has to be made): 1,234 output tokens/s, 56.8 sequences" in text
    assert "2 separate servers (+25 % output tokens/s, -10 % sequences)" in text
    same = best.model_copy(update={"checkpoint": "m", "replicas": 1, "throughput_gain": None, "concurrency_gain": None})
    text = " ".join(drawn_with(optima=(same,)).split())
    assert "any weights: 1,234 output tokens/s, 56.8 sequences vllm serve m" in text


def test_what_was_not_read_is_listed_and_cut() -> None:
    unread = tuple(Unread(file=None, line=number, reason=f"reason {number}") for number in range(1, 24))
    whole = report().model_copy(update={"unread": unread})
    text = render_lint(whole, "table", Screen(width=120, colour=False))
    assert "Not read\nline 1: reason 1\n" in text
    assert "line 20: reason 20\nand 3 more" in text
    assert "reason 21" not in text
