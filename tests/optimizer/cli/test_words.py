"""Words as people type them: what they mean, and the one sentence when they mean nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.cli.main import COMMANDS, main, root
from vllm_opt.optimizer.cli.synonyms import COMMANDS as COMMAND_SYNONYMS
from vllm_opt.optimizer.cli.synonyms import OPTIONS as OPTION_SYNONYMS

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]
SMALL = ("--target-context", "4096", "--no-explain")


def request_of(capsys: Capture, *arguments: str) -> dict[str, Any]:
    """The resolved request of an answer in JSON."""
    main([*arguments, "--format", "json"])
    request: dict[str, Any] = json.loads(capsys.readouterr().out)["request"]
    return request


def test_the_model_may_stand_alone(capsys: Capture) -> None:
    asked = request_of(capsys, "solve", "Qwen/Qwen3-8B", "--gpu", "2xl40s", "--users", "4", *SMALL)
    assert (asked["model"], asked["gpu"], asked["gpus"], asked["concurrency"]) == ("Qwen/Qwen3-8B", ["l40s"], 2, 4)
    estimated = request_of(capsys, "estimate", "Qwen/Qwen3-8B", "--gpu", "l40s:2", "--max-model-len", "4096")
    assert (estimated["model"], estimated["tensor_parallel_size"]) == ("Qwen/Qwen3-8B", 2)
    assert request_of(capsys, "explain", "Qwen/Qwen3-8B", "--gpu", "l40s", *SMALL)["model"] == "Qwen/Qwen3-8B"


def test_times_and_sizes_carry_units(capsys: Capture) -> None:
    asked = request_of(
        capsys, "estimate", "--gpu", "l40s", "--max-ttft-ms", "2s", "--max-tpot-ms", "80ms", "--gpu-memory-gib", "40GB",
        "--max-model-len", "4096",
    )  # fmt: skip
    assert (asked["max_ttft_ms"], asked["max_tpot_ms"]) == (2000, 80)
    assert asked["gpu_memory_gib"] == 40e9 / 2**30


def test_a_workload_fills_in_what_is_not_stated_and_says_so(capsys: Capture) -> None:
    asked = request_of(capsys, "solve", "--workload", "chat", "--gpu", "l40s", "--max-ttft-ms", "5s", "--no-explain")
    assert (asked["input_tokens"], asked["output_tokens"], asked["max_ttft_ms"], asked["max_tpot_ms"]) == (
        1155, 211, 5000, 200
    )  # fmt: skip
    assumed = {row["field"]: row["value"] for row in asked["assumed"]}
    assert assumed["input_tokens"] == 1155
    assert assumed["max_tpot_ms"] == 200
    assert "max_ttft_ms" not in assumed
    assert assumed["model"] == asked["model"]
    assert all(row["why"] for row in asked["assumed"])


def test_what_an_answer_assumed_is_ignored_in_a_request_line(capsys: Capture, tmp_path: Path) -> None:
    asked = request_of(capsys, "estimate", "--workload", "rag", "--gpu", "l40s")
    lines = tmp_path / "again.jsonl"
    lines.write_text(json.dumps(asked) + "\n")
    assert main(["estimate", "--requests", str(lines)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["request"]["input_tokens"] == asked["input_tokens"]
    assert again["request"]["assumed"] == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("solve --max-model-len 8k", "did you mean '--target-context'"),
        ("solve --ttft 2", "did you mean '--max-ttft-ms'"),
        ("solve --tp 2", "did you mean '--tensor-parallel-size'"),
        ("solve --usrs 2", "did you mean '--users'"),
        ("solve A --model B", "the model is named twice"),
        ("solve --gpu 2xl4 --gpus 3", "says 2 GPUs"),
        ("solve --gpu 2xl4 --gpu l40s", "several SKUs with different numbers"),
        ("solve --gpu 2xnothing", "nothing"),
        ("solve --max-ttft-ms 2parsecs", "write ms or s"),
        ("solve --host-memory-gib 80G", "write 80GiB or 80GB"),
        ("solve --workload chta", "did you mean 'chat'"),
        ("solve --concurrency lots", "must be a whole number"),
        ("solve --kv-sizing big", "--kv-sizing: must be 'typical' or 'full'"),
        ("solve --tolerance 2", "--tolerance: must be less than or equal to 1"),
        ("solve --max-num-seqs 9 --max-num-batched-tokens 8", "--max-num-seqs 9 exceeds --max-num-batched-tokens 8"),
        ("estimate --gpu 2xl4 -tp 4", "says 2 GPUs"),
        ("optimise", "did you mean 'solve'"),
        ("doctor", "did you mean 'lint'"),
        ("help nothing", "no command 'nothing'"),
    ],
)
def test_what_means_nothing_is_one_sentence(typed: str, said: str, complaint: Complaint) -> None:
    assert main(typed.split()) == 2
    assert said in complaint()


def test_synonyms_lead_to_options_and_commands_that_exist() -> None:
    context = root.make_context("vllm-opt", ["solve"], resilient_parsing=True)
    known = set()
    for name in COMMANDS:
        command = root.get_command(context, name)
        assert command is not None
        known |= {spelling for parameter in command.params for spelling in parameter.opts}
    assert {target.split()[0] for target in OPTION_SYNONYMS.values()} <= known
    assert set(COMMAND_SYNONYMS.values()) <= set(COMMANDS)


def test_help_is_in_groups_with_an_example_that_parses(capsys: Capture) -> None:
    for name in ("solve", "estimate", "explain"):
        assert main([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert text.count("e.g. vllm-opt") >= 2
        command = root.get_command(root.make_context("vllm-opt", [name], resilient_parsing=True), name)
        assert command is not None
        for example in {parameter.help_group[1] for parameter in command.params if hasattr(parameter, "help_group")}:
            assert f"e.g. vllm-opt {example}\n" in text
            verb, *arguments = example.split()
            used = root.get_command(root.make_context("vllm-opt", [verb], resilient_parsing=True), verb)
            assert used is not None
            used.make_context(verb, arguments)


def test_version_and_help_have_their_usual_names(capsys: Capture) -> None:
    assert main(["-V"]) == 0
    assert capsys.readouterr().out.startswith("vllm-opt ")
    assert main(["help"]) == 0
    assert "Commands:" in capsys.readouterr().out
    assert main(["help", "gpus"]) == 0
    assert "Usage: vllm-opt gpus" in capsys.readouterr().out


def test_the_package_runs_as_a_module_and_offers_the_functions() -> None:
    run = subprocess.run([sys.executable, "-m", "vllm_opt", "--version"], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("vllm-opt ")
    program = "import vllm_opt.optimizer as inner, vllm_opt as outer; print(outer.SolveRequest is inner.SolveRequest)"
    same = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert same.stdout == "True\n"
