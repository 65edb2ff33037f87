"""A pasted `vllm serve` line estimates as its flags do, and names what it leaves out."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.estimation.pasted_line import fields_of_line

Capture = pytest.CaptureFixture[str]


def estimated(capsys: Capture, *arguments: str) -> Any:
    assert main(["estimate", *arguments, "--format", "json"]) in (0, 1)
    return json.loads(capsys.readouterr().out)


def test_a_line_estimates_as_its_flags(capsys: Capture) -> None:
    line = "vllm serve Qwen/Qwen3-8B -tp 2 --max-model-len 8k --max-num-seqs=64 --no-enable-prefix-caching --port 80"
    pasted = estimated(capsys, line, "--gpu", "l40s")
    typed = estimated(
        capsys, "Qwen/Qwen3-8B", "--gpu", "l40s", "-tp", "2", "--max-model-len", "8000", "--max-num-seqs", "64",
        "--no-enable-prefix-caching",
    )  # fmt: skip
    assert pasted["memory"] == typed["memory"]
    assert pasted["performance"] == typed["performance"]
    assert pasted["request"] == typed["request"]
    assert [note for note in pasted["notes"] if "--port" in note] == [
        "ignored, since they concern neither memory nor speed here: --port"
    ]


def test_what_is_typed_beside_the_line_wins(capsys: Capture) -> None:
    answer = estimated(capsys, "vllm serve Qwen/Qwen3-8B --max-num-seqs 64", "--gpu", "l40s", "--max-num-seqs", "32")
    assert answer["request"]["max_num_seqs"] == 32


@pytest.mark.parametrize(
    ("flags", "stated"),
    [
        (
            "--speculative-config.method ngram --speculative-config.num_speculative_tokens=3",
            {"speculative_config": '{"method": "ngram", "num_speculative_tokens": 3}'},
        ),
        (
            "--hf_overrides.rope_parameters.rope_type yarn --hf-overrides.rope_parameters.factor 4.0",
            {"hf_overrides": '{"rope_parameters": {"rope_type": "yarn", "factor": 4.0}}'},
        ),
        ("-O0", {"enforce_eager": True}),
        ("-O2", {}),
        ("-cc.cudagraph_mode=NONE", {"compilation_config": '{"cudagraph_mode": "NONE"}', "enforce_eager": True}),
    ],
)
def test_dotted_keys_and_levels_say_what_the_object_would(flags: str, stated: dict[str, Any]) -> None:
    fields, notes = fields_of_line(f"vllm serve Qwen/Qwen3-8B {flags}")
    assert fields == {"model": "Qwen/Qwen3-8B", **stated}
    assert notes == ()


def test_a_task_of_an_older_release_is_its_runner() -> None:
    fields, notes = fields_of_line("vllm serve Qwen/Qwen3-Embedding-8B --task embed", "0.9.2")
    assert fields["runner"] == "pooling"
    assert notes == ()


def test_the_release_of_an_image_is_taken() -> None:
    fields, _ = fields_of_line("docker run --gpus all vllm/vllm-openai:v0.11.0 --model Qwen/Qwen3-8B --max-num-seqs 8")
    assert (fields["model"], fields["vllm_version"], fields["max_num_seqs"]) == ("Qwen/Qwen3-8B", "0.11", 8)


def test_a_container_of_formats_is_taken_as_stored_and_what_vllm_refuses_is_named() -> None:
    fields, notes = fields_of_line("vllm serve Qwen/Qwen3-8B --quantization compressed-tensors --nonsense 3")
    assert "quantization" not in fields
    assert any("as the checkpoint is stored" in note for note in notes)
    assert any("--nonsense" in note for note in notes)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("ls -l", "no vLLM server is started in 'ls -l'"),
        ("vllm serve A && vllm serve B", "2 vLLM servers are started"),
        ("vllm serve", "the command names no model"),
        ("vllm serve 'Qwen/Qwen3-8B", "quote"),
        ("vllm serve Qwen/Qwen3-8B --max-model-len 8k\x00", "exit"),
    ],
)
def test_what_is_no_command_is_one_sentence(line: str, said: str, complaint: Callable[[], str]) -> None:
    code = main(["estimate", line, "--gpu", "l40s", "--format", "json"])
    if said == "exit":
        assert code in (0, 1, 2)
        return
    assert code == 2
    assert said in complaint()
