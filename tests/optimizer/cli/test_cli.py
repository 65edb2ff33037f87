"""The contract of the command line: exit codes, what goes where, and one sentence for everything that is wrong."""

import json
from collections.abc import Callable

import click
import pytest

from vllm_opt.optimizer.cli import main as cli
from vllm_opt.optimizer.cli.estimate import estimate_command
from vllm_opt.optimizer.cli.explain import read_changes
from vllm_opt.optimizer.cli.main import COMMANDS, main, root
from vllm_opt.optimizer.cli.options import in_words_of_the_command_line
from vllm_opt.optimizer.cli.solve import solve_command
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.profiles.errors import InvalidRequest

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]
PRESENTATION = {
    "dump_model", "format_name", "output", "requests", "full", "why", "model_argument", "save_dir", "emit", "check",
}  # fmt: skip
NEVER_TYPED = {"assumed"}
ESTIMATE_FLAGS = """
-tp -pp -dp --tensor-parallel-size --pipeline-parallel-size --data-parallel-size --enable-expert-parallel
--quantization --kv-cache-dtype --block-size --gpu-memory-utilization --max-model-len --max-num-seqs
--max-num-batched-tokens --enforce-eager --enable-prefix-caching --no-enable-prefix-caching
--enable-chunked-prefill --no-enable-chunked-prefill --async-scheduling --no-async-scheduling
--kv-cache-memory-bytes --num-gpu-blocks-override --swap-space --kv-offloading-size --cpu-offload-gb
--decode-context-parallel-size --gpu-memory-gib --equations --no-calibration --replicas
"""
SOLVE_OPTIONS = """
--model --gpu --gpus --max-gpus --target-context --concurrency --mean-context --input-tokens --output-tokens
--max-ttft-ms --max-tpot-ms --min-output-tokens-per-s --max-hourly-cost --quantization --min-quality
--kv-cache-dtype --provider --price --prices --host-memory-gib --internode-gbps --engine --objective
--vllm-version --confidence --top --pareto --time-limit --workers --seed --format --output --requests
--gpu-file --no-calibration --equations --max-gpu-memory-utilization --prefix-hit-share
"""
SMALL = ("--gpu", "h100-sxm", "--max-model-len", "8192")


# --- commands and options -------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys: Capture) -> None:
    assert main(["--help"]) == 0
    listing = capsys.readouterr().out
    assert all(f"  {name} " in listing for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_can_be_imported_and_explains_itself(name: str, capsys: Capture) -> None:
    assert main([name, "--help"]) == 0
    assert f"Usage: vllm-opt {name}" in capsys.readouterr().out


def test_version_is_one_line(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("vllm-opt ")


def test_no_command_shows_the_help_as_bad_input(capsys: Capture) -> None:
    assert main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "Commands:" in err


@pytest.mark.parametrize(
    ("command", "request_type"), [(solve_command, SolveRequest), (estimate_command, EstimateRequest)]
)
def test_options_are_exactly_the_fields_of_the_request(command: click.Command, request_type: type) -> None:
    options = {parameter.name for parameter in command.params}
    assert options - PRESENTATION == set(request_type.model_fields) - NEVER_TYPED  # type: ignore[attr-defined]


@pytest.mark.parametrize("option", ESTIMATE_FLAGS.split())
def test_estimate_takes_the_flags_of_the_contract(option: str) -> None:
    assert option in {
        name for parameter in estimate_command.params for name in (*parameter.opts, *parameter.secondary_opts)
    }


@pytest.mark.parametrize("option", SOLVE_OPTIONS.split())
def test_solve_takes_the_options_of_the_contract(option: str) -> None:
    assert option in {
        name for parameter in solve_command.params for name in (*parameter.opts, *parameter.secondary_opts)
    }


# --- bad input: exit code 2 and one sentence -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["slove"], "no command 'slove'; did you mean 'solve'"),
        (["solve", "--target-contxt", "8192"], "no option '--target-contxt'; did you mean '--target-context'"),
        (["solve", "--format", "xml"], "'--format'"),
        (["solve", "surplus"], "surplus"),
        (["solve", "--concurrency"], "--concurrency"),
        (["solve", "--concurrency", "0"], "--concurrency: "),
        (["solve", "--concurrency", "-5"], "--concurrency: "),
        (["solve", "--concurrency", "many"], "--concurrency: "),
        (["solve", "--concurrency", "9" * 400], "--concurrency: "),
        (["solve", "--target-context", "nan"], "--target-context: "),
        (["solve", "--max-ttft-ms", "nan"], "--max-ttft-ms: "),
        (["solve", "--max-ttft-ms", "inf"], "--max-ttft-ms: "),
        (["solve", "--max-hourly-cost", "-1"], "--max-hourly-cost: "),
        (["solve", "--confidence", "1.5"], "--confidence: "),
        (["solve", "--objective", "speed"], "objective"),
        (["solve", "--price", "h100"], "SKU=USD"),
        (
            ["solve", "--mean-context", "9000", "--target-context", "8192"],
            "--mean-context 9000 exceeds --target-context",
        ),
        (["solve", "--gpus", "8", "--max-gpus", "4"], "gpus 8 exceeds --max-gpus 4"),
        (["estimate", "--gpu", "h1000"], "h1000"),
        (["estimate", "--model", "Llama-3.1-8B-Instruckt"], "did you mean"),
        (["estimate", "--model", "/nonexistent/config.json"], "/nonexistent/config.json"),
        (["estimate", "--quantization", "fp9"], "fp9"),
        (["estimate", "--vllm-version", "not-a-version"], "not-a-version"),
        (["estimate", "--gpu-memory-utilization", "1.2"], "--gpu-memory-utilization: "),
        (["estimate", "--max-model-len", "0"], "--max-model-len: "),
        (["gpus", "no-such-card"], "no GPU matches 'no-such-card'"),
        (["prices", "--prices", "/nonexistent/prices.json"], "prices.json"),
        (
            ["solve", "--requests", "/nonexistent/requests.jsonl"],
            "cannot read --requests '/nonexistent/requests.jsonl'",
        ),
        (["explain", "--what-if", "target-context"], "--what-if must look like key=value"),
        (["explain", "--what-if", "contxt=1"], "--what-if: unknown key 'contxt'"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], part: str, complaint: Complaint) -> None:
    assert main(arguments) == 2
    assert part in complaint()


def test_control_characters_in_names_do_not_reach_the_terminal(complaint: Complaint) -> None:
    assert main(["gpus", "\x1b[31mred\nline"]) == 2
    assert "\\x1b[31mred line" in complaint()


def test_a_fault_of_the_program_is_an_apology(monkeypatch: pytest.MonkeyPatch, complaint: Complaint) -> None:
    def broken(*_arguments: object, **_options: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(root, "main", broken)
    assert main(["gpus"]) == 70
    assert "sorry" in complaint()
    monkeypatch.setenv("VLLM_OPT_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        main(["gpus"])


def test_an_interruption_is_one_line_and_130(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(root, "main", interrupted)
    assert main(["solve"]) == cli.INTERRUPTED == 130
    assert capsys.readouterr().err == "vllm-opt: interrupted\n"


def test_errors_speak_of_options() -> None:
    fields = ("target_context", "mean_context", "gpu", "gpus")
    sentence = "request: mean_context 9 exceeds target_context 8 of gpu"
    assert in_words_of_the_command_line(sentence, fields) == "--mean-context 9 exceeds --target-context 8 of gpu"
    assert in_words_of_the_command_line("gpus: must be whole", fields) == "--gpus: must be whole"


# --- answers --------------------------------------------------------------------------------------------------------


def test_an_estimate_that_fits_is_0_and_one_that_does_not_is_1(capsys: Capture) -> None:
    assert main(["estimate", *SMALL, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is True
    assert main(["estimate", "--gpu", "t4", "--max-model-len", "8192", "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["fits"] is False
    assert err == ""


def test_answers_are_the_same_bytes_every_time(capsys: Capture) -> None:
    main(["estimate", *SMALL])
    first = capsys.readouterr().out
    main(["estimate", *SMALL])
    assert capsys.readouterr().out == first


def test_flags_may_be_spelled_with_underscores(capsys: Capture) -> None:
    assert main(["estimate", "--gpu", "h100-sxm", "--max_model_len=8192", "-tp", "2", "--format", "json"]) == 0
    request = json.loads(capsys.readouterr().out)["request"]
    assert (request["max_model_len"], request["tensor_parallel_size"]) == (8192, 2)


def test_8k_and_8_capital_k(capsys: Capture) -> None:
    lengths = []
    for length in ("8k", "8K"):
        main(["estimate", "--gpu", "h100-sxm", "--max-model-len", length, "--format", "json"])
        lengths.append(json.loads(capsys.readouterr().out)["request"]["max_model_len"])
    assert lengths == [8000, 8192]


def test_no_colour_without_a_terminal(capsys: Capture) -> None:
    main(["estimate", *SMALL])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["models", "gpus", "quantizations", "engines", "prices"])
def test_catalogue_listings_are_json_on_request(kind: str, capsys: Capture) -> None:
    assert main([kind, "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == f"vllm-opt/{kind}/1"
    assert document[kind]


def test_a_listing_can_be_narrowed(capsys: Capture) -> None:
    assert main(["gpus", "h100-sxm", "--format", "json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)["gpus"]] == ["h100-sxm"]


# --- what-if --------------------------------------------------------------------------------------------------------


def test_what_if_reads_keys_lists_and_none() -> None:
    changes = read_changes("target-context=4096,gpu=h100,gpu=h200,max_ttft_ms=none")
    assert changes == {"target_context": "4096", "gpu": ["h100", "h200"], "max_ttft_ms": None}
    with pytest.raises(InvalidRequest):
        read_changes("=4")
