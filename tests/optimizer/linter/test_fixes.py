"""What --fix does and does not: it never takes away what was not understood, and proves what it writes."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.linter.lint import lint, lint_command
from vllm_opt.optimizer.linter.subject.report import LintReport
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
Capture = pytest.CaptureFixture[str]


def report(tmp_path: Path, name: str, text: str, gpu: str | None = "h100-sxm", **fields: Any) -> LintReport:
    path = tmp_path / name
    path.write_text(text)
    return lint(LintRequest(file=str(path), gpu=gpu, optimum=False, **fields), CATALOG)


UNTOUCHED = [
    ("a.sh", 'exec vllm serve "$@"\n'),
    ("a.sh", f'vllm serve {LLAMA} "${{PARALLEL_ARGS[@]}}" "${{EP_ARGS[@]}}" $EXTRA --max-model-len 8192\n'),
    ("a.sh", f"vllm serve {LLAMA} --port=${{PORT:-8000}} --gpu-memory-utilization=${{UTIL:-0.75}} # why\n"),
    ("a.sh", f"vllm serve {LLAMA} --tensor-parallel-size ${{TP}} --max-model-len $(cat length)\n"),
    ("a.sh", f"O='--swap-space 4'\nvllm serve {LLAMA} $O --max-model-len 8192\n"),
    ("a.sh", "vllm serve some/Model --omni --usp 4 --ring 1 --vae-use-tiling\n"),
    ("a.sh", f"vllm serve {LLAMA} --no-such-flag 5 --max-model-len 8192\n"),
    ("a.sh", f"vllm serve {LLAMA} other/Model --max-model-len 8192\n"),
    ("a.sh", f"vllm serve {LLAMA} --port abc --max-model-len 8192\n"),
    ("a.sh", "vllm serve Qwen/Qwen2.5-7B-Instruct --quantization awq --max-model-len 8192\n"),
    (
        "a.sh",
        "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve Qwen/Qwen3-8B --max-model-len 131072 "
        "--rope-scaling '{\"rope_type\": \"yarn\", \"factor\": 4.0}'\n",
    ),
    ("a.service", "[Service]\nExecStart=/opt/vllm serve ${MODEL} --host ${HOST} $VLLM_SERVE_ARGS\n"),
    (
        "c.yml",
        "services:\n  a:\n    image: vllm/vllm-openai:v0.20.0\n    command:\n    - --model=" + LLAMA + "\n"
        "    - --port=${VLLM_PORT:-8003}   # from .env\n    - --tensor-parallel-size=${TP}\n",
    ),
    (
        "c.yml",
        "services:\n  a:\n    image: vllm/vllm-openai:v0.20.0\n    entrypoint: [bash, -c, 'vllm serve \"$$@\"', --]\n"
        "    command: [" + LLAMA + ", --max-model-len, '8192']\n",
    ),
    ("values.yaml", "replicas: 1\nmaxModelLen: 512\ntensorParallelSize: 1\nvllm: {image: x}\nhpa: {enabled: true}\n"),
    ("run.py", f"cmd = ['vllm', 'serve', '{LLAMA}', '--swap-space', '4']\nrun(cmd)\n"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text"), UNTOUCHED)
@pytest.mark.parametrize("fix", ["errors", "all"])
def test_what_was_not_understood_stays(tmp_path: Path, name: str, text: str, fix: str) -> None:
    made = report(tmp_path, name, text, fix=fix)
    added = f"{text.rstrip()} --" if fix == "all" else text
    assert made.fixed_text == text or made.fixed_text.startswith(added)


@pytest.mark.parametrize(
    ("text", "fixed"),
    [
        (f"vllm serve {LLAMA} -max-model-len 8192\n", f"vllm serve {LLAMA} --max-model-len 8192\n"),
        (
            f"vllm serve {LLAMA} \\\n  --max-model-len 8192 \\ \n  --seed 3\n",
            f"vllm serve {LLAMA} \\\n  --max-model-len 8192 \\\n  --seed 3\n",
        ),
        (
            f"vllm serve {LLAMA} --swap-space 8 --max-model-len 8192 --api-key 'pa$w0rd;id'\n",
            f"vllm serve {LLAMA} --max-model-len 8192 --api-key 'pa$w0rd;id'\n",
        ),
        (
            f"vllm serve {LLAMA} --enable-chunked-prefill=false --max-model-len 8192 $MORE\n",
            f"vllm serve {LLAMA} --no-enable-chunked-prefill --max-model-len 8192 $MORE\n",
        ),
        (
            f"vllm serve {LLAMA} '--max-model-len 8192' --gpu-memory-utilization 90%\n",
            f"vllm serve {LLAMA} --max-model-len 8192 --gpu-memory-utilization 0.9\n",
        ),
        (
            f"docker run vllm/vllm-openai:v0.20.0 vllm serve {LLAMA} --max-model-len 8192\n",
            f"docker run vllm/vllm-openai:v0.20.0 {LLAMA} --max-model-len 8192\n",
        ),
    ],
)
def test_only_the_mended_flag_differs(tmp_path: Path, text: str, fixed: str) -> None:
    made = report(tmp_path, "run.sh", text)
    assert made.fixed_text == fixed
    assert report(tmp_path, "again.sh", fixed).errors == 0


COMPOSE = """\
x-env: &env {A: "1"}
services:
  a:
    image: vllm/vllm-openai:v0.33.0   # pinned
    environment: *env
    command:
      - "serve"
      - 'meta-llama/Llama-3.1-8B-Instruct'  # the model
      # - --trust-remote-code
      - "--dtype auto"
      - --max-model-len=200000
      - --port=${PORT:-8000}
"""


def test_comments_quotes_and_anchors_stay(tmp_path: Path) -> None:
    made = report(tmp_path, "compose.yml", COMPOSE)
    expected = COMPOSE.replace('      - "serve"\n', "").replace('"--dtype auto"', "--dtype\n      - auto")
    expected = expected.replace("--max-model-len=200000", '--max-model-len\n      - "131072"')
    assert made.fixed_text == expected
    assert yaml.safe_load(made.fixed_text)["services"]["a"]["command"][0] == LLAMA


def test_a_shared_list_is_not_edited(tmp_path: Path) -> None:
    text = (
        "services:\n  a: &a {image: vllm/vllm-openai:v0.33.0, command: [--model, Qwen/Qwen3-8B, --swap-space, '4']}\n"
    )
    assert report(tmp_path, "c.yml", text + "  b: *a\n").fixed_text == text + "  b: *a\n"
    assert "swap-space" not in report(tmp_path, "c.yml", text).fixed_text


def test_what_depends_on_a_variable_says_so_and_is_no_error() -> None:
    command = lint_command(
        f"vllm serve {LLAMA} $MORE --swap-space 4", "a10", "0.33", catalog=CATALOG, optimum=False
    ).commands[0]
    by_rule = {finding.rule: finding for finding in command.findings}
    assert (by_rule["memory_budget"].level, by_rule["memory_budget"].unresolved) == ("warning", ("$MORE",))
    assert by_rule["removed_flag"].level == "error"
    assert (command.starts, command.unresolved) == (False, ("$MORE",))
    other = lint_command(f"vllm serve {LLAMA} --max-model-len $LEN", "a10", "0.33", catalog=CATALOG, optimum=False)
    assert (other.commands[0].starts, other.errors) == (None, 0)
    harmless = lint_command(
        f"vllm serve {LLAMA} --max-model-len 8192 --port $P", "h100", catalog=CATALOG, optimum=False
    )
    assert harmless.commands[0].starts is True


def test_the_one_line_command_keeps_what_a_shell_fills_in() -> None:
    text = f'vllm serve {LLAMA} "$@" --api-key \'a$(id)b\' --port=${{P:-1}} --x "$(cat k)"'
    command = lint_command(text, "h100-sxm", catalog=CATALOG, optimum=False).commands[0].fixed_command
    assert command == f'vllm serve {LLAMA} "$@" --api-key \'a$(id)b\' --port=1 --x "$(cat k)"'


def test_fix_all_never_lowers_quality(tmp_path: Path) -> None:
    made = report(tmp_path, "a.sh", f"vllm serve {LLAMA} --max-model-len 100000\n", gpu="l4", fix="all", advice=True)
    assert any("fp8" in str(change.to) for finding in made.findings for change in finding.changes)
    assert "fp8" not in made.fixed_text


def test_a_finding_carries_its_own_edit() -> None:
    text = f"vllm serve {LLAMA} \\\n  --swap-space 4 --max-model-len 8192"
    made = lint_command(text, "h100-sxm", "0.33", catalog=CATALOG, optimum=False)
    (finding,) = [each for each in made.findings if each.rule == "removed_flag"]
    assert finding.fix is not None
    assert finding.fix.safe
    assert [(edit.start_line, edit.end_line, edit.text) for edit in finding.fix.edits] == [(1, 2, ""), (2, 2, "")]


def test_in_place_writes_whole_files_and_prints_the_diff(tmp_path: Path, capsys: Capture) -> None:
    first, second = tmp_path / "a.sh", tmp_path / "b.yaml"
    first.write_bytes(f"vllm serve {LLAMA} --swap-space 4 --max-model-len 8192\r\n".encode())
    second.write_text("services: {a: {image: vllm/vllm-openai:v0.33.0, command: '--model Qwen/Qwen3-8B'}}\n")
    before = second.stat().st_mtime_ns
    assert main(["lint", str(tmp_path), "--gpu", "h100", "--fix", "--in-place"]) == 1
    assert first.read_bytes() == f"vllm serve {LLAMA} --max-model-len 8192\r\n".encode()
    assert second.stat().st_mtime_ns == before
    out = capsys.readouterr().out
    assert "-vllm serve" in out
    assert "+vllm serve" in out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.sh", "b.yaml"]
    assert main(["lint", str(tmp_path), "--gpu", "h100", "--fix", "--in-place"]) == 0
    assert capsys.readouterr().out == ""


def test_diff_leaves_the_file_alone(tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "a.sh"
    file.write_text(f"vllm serve {LLAMA} --swap-space 4\n")
    assert main(["lint", str(file), "--gpu", "h100", "--no-optimum", "--diff", "--exit-zero"]) == 0
    assert "--swap-space 4" in file.read_text()
    assert capsys.readouterr().out.startswith("--- a/")
