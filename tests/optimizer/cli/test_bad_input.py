"""What a stranger may type, pipe or point at: one sentence and exit code 2, never a traceback or silent nonsense."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from vllm_opt.optimizer import EstimateRequest, estimate
from vllm_opt.optimizer.cli.estimate import estimate_command
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.cli.solve import solve_command
from vllm_opt.profiles.configs.reader import MAX_CONFIG_BYTES
from vllm_opt.profiles.errors import InvalidRequest, VllmOptError

Capture = pytest.CaptureFixture[str]
Complaint = Callable[[], str]
COMMAND = (sys.executable, "-m", "vllm_opt.optimizer.cli.main")

DENSE: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "num_hidden_layers": 32,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
LATENT_EXPERTS: dict[str, Any] = {
    "architectures": ["DeepseekV2ForCausalLM"],
    "model_type": "deepseek_v2",
    "hidden_size": 2048,
    "intermediate_size": 10944,
    "moe_intermediate_size": 1408,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
    "first_k_dense_replace": 1,
    "moe_layer_freq": 1,
    "n_routed_experts": 64,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "kv_lora_rank": 512,
    "q_lora_rank": None,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 102400,
    "max_position_embeddings": 163840,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
SIZES = [(config, key) for config in (DENSE, LATENT_EXPERTS) for key, value in config.items() if type(value) is int]
MAY_BE_ZERO = ("first_k_dense_replace", "n_shared_experts")


def numeric_options(command: click.Command) -> list[str]:
    return [
        parameter.opts[0]
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.metavar in ("N", "F", "N|auto", "BYTES")
    ]


# --- numbers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["nan", "-inf", "1e400", "-1.5", "9" * 5000, "true\x00"])
@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("estimate", option) for option in numeric_options(estimate_command)),
        *(("solve", option) for option in numeric_options(solve_command)),
    ],
)
def test_what_is_no_number_is_refused_by_every_option(
    command: str, option: str, value: str, complaint: Complaint
) -> None:
    assert main([command, "--gpu", "l4", option, value]) == 2
    sentence = complaint()
    assert sentence.startswith(f"{option}: must")
    assert len(sentence) < 300


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("solve", "--gpus", "2147483647"),
        ("solve", "--workers", "100000"),
        ("estimate", "--replicas", "2147483647"),
        ("estimate", "--gpu-memory-gib", "1e-320"),
        ("estimate", "--max-model-len", "-0"),
    ],
)
def test_numbers_beyond_meaning_are_refused(command: str, option: str, value: str, complaint: Complaint) -> None:
    assert main([command, "--gpu", "l4", option, value]) == 2
    assert complaint().startswith(f"{option}: must be")


def test_a_negative_zero_in_a_request_is_no_length() -> None:
    with pytest.raises(InvalidRequest, match="max_model_len: must be a positive whole number"):
        EstimateRequest(max_model_len=-0.0)


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--gpu", "h101"], "did you mean 'h100'"),
        (["--quantization", "nvpf4"], "did you mean 'nvfp4'"),
        (["--kv-cache-dtype", "fp9"], "KV-cache dtype 'fp9' is unknown; did you mean 'fp8'"),
        (["--provider", "lambd"], "did you mean 'Lambda'"),
        (["--price", "h101=2"], "did you mean 'h100'"),
        (["--price", "h100=free"], "--price: must be a valid number"),
        (["--prices", "absent.json"], "cannot read 'absent.json'"),
        (["--model", ""], "--model: must not be empty"),
        (["--model", "x" * 5000], "--model: must be at most 4096 characters long"),
    ],
)
@pytest.mark.parametrize("command", ["solve", "estimate"])
def test_names_have_neighbours(command: str, arguments: list[str], part: str, complaint: Complaint) -> None:
    assert main([command, *([] if "--gpu" in arguments else ["--gpu", "l4"]), *arguments]) == 2
    assert part in complaint()


def test_a_long_complaint_is_cut(complaint: Complaint) -> None:
    assert main(["estimate", "--format", "9" * 50_000]) == 2
    assert len(complaint()) < 2100


# --- requests that contradict themselves ----------------------------------------------------------------------------


def test_a_typical_request_longer_than_the_context_is_not_met_and_has_no_speed() -> None:
    found = estimate(EstimateRequest(gpu="h100-sxm", max_model_len=4096, input_tokens=4000, output_tokens=200))
    assert found.fits
    assert found.performance is None
    assert [(v.rule, v.needed, v.available) for v in found.violations] == [("typical_request", 4200, 4096)]


# --- config.json ----------------------------------------------------------------------------------------------------


def written(folder: Path, config: object) -> str:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return str(path)


@pytest.mark.parametrize(("config", "key"), SIZES, ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("value", ["4096", 1.5, True, -1, [], {}, [None], 10**18, float("nan")], ids=repr)
def test_a_size_that_is_no_size_is_refused_by_its_key(
    config: dict[str, Any], key: str, value: object, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequest, match=key):
        estimate(EstimateRequest(model=written(tmp_path, config | {key: value}), max_model_len=2048))


@pytest.mark.parametrize(("config", "key"), SIZES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_missing_size_is_refused_by_its_key_or_said_to_be_assumed(
    config: dict[str, Any], key: str, tmp_path: Path
) -> None:
    without = {name: value for name, value in config.items() if name != key}
    whole = estimate(EstimateRequest(model=written(tmp_path, config), max_model_len=2048))
    said: tuple[str, ...]
    try:
        partial = estimate(EstimateRequest(model=written(tmp_path, without), max_model_len=2048))
        said = (key,) if partial.memory == whole.memory else partial.notes
    except VllmOptError as error:
        said = (str(error),)
    assert any(key in sentence for sentence in said)


@pytest.mark.parametrize(
    ("config", "key"),
    [(config, key) for config, key in SIZES if key not in MAY_BE_ZERO],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_size_of_zero_is_refused_by_its_key(config: dict[str, Any], key: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=key):
        estimate(EstimateRequest(model=written(tmp_path, config | {key: 0}), max_model_len=2048))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"architectures": None}, "architectures"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"architectures": [7]}, "architectures"),
        ({"architectures": ["EvilForCausalLM"]}, "EvilForCausalLM"),
        ({"rope_scaling": {"rope_type": "spiral", "factor": 2.0}}, "rope_type 'spiral'"),
        ({"rope_scaling": 7}, "rope_scaling"),
        ({"quantization_config": {"quant_method": "magic"}}, "magic"),
        ({"torch_dtype": "float7"}, "float7"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_attention_heads": 31, "head_dim": None}, "num_attention_heads"),
    ],
    ids=lambda value: "" if isinstance(value, dict) else value,
)
def test_a_config_that_is_not_understood_names_what(changes: dict[str, object], part: str, tmp_path: Path) -> None:
    with pytest.raises(VllmOptError, match=part):
        estimate(EstimateRequest(model=written(tmp_path, DENSE | changes)))


def test_code_named_in_a_config_is_data(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('executed')")
    hostile = DENSE | {"auto_map": {"AutoConfig": "evil.Evil"}, "trust_remote_code": True, "custom_code": "evil.py"}
    plain = estimate(EstimateRequest(model=written(tmp_path, DENSE), max_model_len=2048))
    assert estimate(EstimateRequest(model=written(tmp_path, hostile), max_model_len=2048)) == plain


def test_dimensions_that_no_model_has_are_one_sentence(tmp_path: Path) -> None:
    sizes = {"hidden_size": 2**30, "intermediate_size": 2**30, "vocab_size": 2**30, "num_hidden_layers": 10_000}
    with pytest.raises(InvalidRequest, match=r"parameters, more than 1e\+15, which no model has"):
        estimate(EstimateRequest(model=written(tmp_path, DENSE | sizes), max_model_len=2048))


def test_large_dimensions_that_may_be_are_computed_and_do_not_fit(tmp_path: Path) -> None:
    sizes = {"hidden_size": 2**17, "intermediate_size": 2**19, "num_hidden_layers": 2000}
    found = estimate(EstimateRequest(model=written(tmp_path, DENSE | sizes), max_model_len=2048))
    assert not found.fits
    assert found.memory.weights_bytes > 2 * 2000 * 3 * 2**36


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"\xff\xfe{}",
        b'{"a": 1',
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"hidden_size": ' + b"9" * 1_000_000 + b"}",
        b'{"a": "' + b"x" * MAX_CONFIG_BYTES + b'"}',
        b"null",
        b"[]",
    ],
    ids=["empty", "nul", "utf16", "cut", "lists", "objects", "digits", "large", "null", "list"],
)
def test_a_file_that_is_no_config_is_one_sentence(content: bytes, tmp_path: Path, complaint: Complaint) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    assert main(["estimate", "--model", str(path)]) == 2
    assert "config.json" in complaint()


# --- places that are no files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["folder", "absent", "/dev/zero", "/dev/full", "a\x00b", "x" * 4000])
@pytest.mark.parametrize("option", ["--model", "--prices", "--gpu-file", "--requests", "--output"])
def test_what_is_no_file_is_one_sentence(
    option: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complaint: Complaint
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    if option == "--output" and place in ("absent", "/dev/zero"):
        place = "absent/answer.json"
    if option == "--model" and not place.startswith("/"):
        place = f"./{place}"
    assert main(["estimate", "--gpu", "l4", option, place]) == 2
    assert len(complaint()) < 300
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_replaced_file_keeps_its_permissions_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    path.write_text("old")
    path.chmod(0o640)
    assert main(["estimate", "--gpu", "l4", "--max-model-len", "4096", "--output", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o640
    assert path.read_text().startswith("meta-llama/")
    assert [each.name for each in tmp_path.iterdir()] == ["answer.json"]


# --- request lines --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "part"),
    [
        (b'{"gpu": {"a": 1}}', "gpu: "),
        (b'{"gpu": [["l4"]]}', "gpu: "),
        (b'{"gpu": true}', "gpu: "),
        (b'{"gpu": null}', "gpu: "),
        (b'{"max_model_len": [[1]]}', "max_model_len: "),
        (b'{"max_model_len": true}', "max_model_len: "),
        (b'{"confidence": 1e400}', "confidence: "),
        (b'{"confidence": NaN}', "NaN"),
        (b'{"enforce_eager": "perhaps"}', "enforce_eager: "),
        (b'{"price": "\\ud800"}', "price: "),
        (b'{"model": "\\ud800"}', "unknown"),
        (b'{"__proto__": 1}', "unknown key '__proto__'"),
        (b'{"": 1}', "unknown key"),
        (b'{"model": "' + b"x" * 10**7 + b'"}', "longer than"),
        (b'{"model": "\xc3\x28"}', "not UTF-8"),
        (b"\x00", "not JSON"),
        (b"1", "must be a JSON object"),
        (b"[" * 100_000, "nested too deeply"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_line_is_an_error_line_and_the_next_is_answered(
    line: bytes, part: str, tmp_path: Path, capsys: Capture
) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"\xef\xbb\xbf\r\n" + line + b'\r\n\n{"gpu": "l4", "max_model_len": 4096}\r\n')
    assert main(["estimate", "--requests", str(path)]) == 2
    refused, answered = [json.loads(each) for each in capsys.readouterr().out.splitlines()[-2:]]
    assert (refused["schema"], refused["line"]) == ("vllm-opt/error/1", 2)
    assert part in refused["error"]
    assert "fault" not in refused["error"]
    assert "\n" not in refused["error"]
    assert answered["request"]["gpu"] == "l4"


# --- the surroundings of a process ----------------------------------------------------------------------------------


def run(arguments: list[str], redirection: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    shell = ["sh", "-c", f'"$@" {redirection}', "sh", *COMMAND, *arguments]
    return subprocess.run(shell, capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize(
    ("arguments", "redirection", "code", "said"),
    [
        (["gpus"], ">&-", 2, b"vllm-opt: error: standard output is closed; give --output FILE\n"),
        (["gpus"], ">/dev/full", 2, b"vllm-opt: error: cannot read or write: No space left on device\n"),
        (["gpus", "h101"], "2>/dev/full", 2, b""),
        (["gpus", "h101"], "2>&-", 2, b""),
        (["gpus", "h100"], "<&- >/dev/null", 0, b""),
        (
            ["estimate", "--requests", "-"],
            "<&-",
            2,
            b"vllm-opt: error: cannot read --requests '-': standard input is closed\n",
        ),
    ],
)
def test_closed_and_full_streams(arguments: list[str], redirection: str, code: int, said: bytes) -> None:
    finished = run(arguments, redirection)
    assert (finished.returncode, finished.stderr, finished.stdout) == (code, said, b"")


def test_a_locale_without_unicode_gets_plain_characters() -> None:
    finished = run(
        ["estimate", "--gpu", "l4", "--max-model-len", "4096"], "", LC_ALL="C", PYTHONIOENCODING="ascii", PYTHONUTF8="0"
    )
    assert finished.returncode == 0
    assert finished.stdout.decode("ascii").startswith("meta-llama/")
    assert finished.stderr == b""
