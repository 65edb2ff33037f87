"""`lint` let loose on a repository: folders, suppressions, selections, settings, formats, and the rules' pages."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.estimation.estimate import STARTUP_RULES
from vllm_opt.optimizer.linter.checks.startup import ORDER
from vllm_opt.optimizer.linter.lint import lint, lint_command
from vllm_opt.optimizer.linter.rules import RULES, documentation
from vllm_opt.optimizer.linter.subject.request import LintRequest
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
ROOT = Path(__file__).parents[3]
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve.sh").write_text(f"vllm serve {LLAMA} --swap-space 4 --max-model-len 8192\n")
    (tmp_path / "broken.yaml").write_text("vllm: [\n")
    (tmp_path / "pod.yaml").write_text(
        "kind: Pod\nspec:\n  nodeSelector: {nvidia.com/gpu.product: NVIDIA-L4}\n  containers:\n"
        f"  - {{name: a, image: 'vllm/vllm-openai:v0.33.0', args: [--model, {LLAMA}, --max-model-len, '4096']}}\n"
    )
    (tmp_path / "notes.md").write_text("vllm is fast\n")
    return tmp_path


def rules(text: str, **fields: object) -> list[str]:
    return [
        each.rule for each in lint_command(text, "h100-sxm", "0.33", catalog=CATALOG, optimum=False, **fields).findings
    ]


def test_a_folder_without_a_gpu_is_checked_for_its_flags(folder: Path) -> None:
    report = lint(LintRequest(paths=(str(folder),)), CATALOG)
    by_file = {Path(command.file or "").name: command for command in report.commands}
    assert set(by_file) == {"serve.sh", "pod.yaml"}
    assert (by_file["serve.sh"].gpu, by_file["serve.sh"].starts) == (None, False)
    assert (by_file["pod.yaml"].gpu, by_file["pod.yaml"].starts) == ("l4", True)
    assert [Path(each.file or "").name for each in report.unread] == ["broken.yaml"]
    assert {Path(each.file).name for each in report.files} == {"serve.sh", "pod.yaml"}
    assert report.fixed_text == ""


def test_exit_codes_of_paths(folder: Path, capsys: Capture, complaint: Callable[[], str]) -> None:
    assert main(["lint", "."]) == 1
    assert main(["lint", ".", "--exit-zero"]) == 0
    assert main(["lint", "*.yaml"]) == 0
    assert main(["lint", "notes.md", "--allow-none"]) == 0
    assert main(["lint", "pod.yaml", "notes.md"]) == 0
    capsys.readouterr()
    assert main(["lint", "notes.md", "--gpu", "h100"]) == 2
    assert "holds no command" in complaint()
    assert main(["lint", "serve.sh", "none.sh", "--gpu", "h100"]) == 2
    assert "No such file" in complaint()
    assert main(["lint", "serve.sh", "--ignore", "removed-flg", "--gpu", "h100"]) == 2
    assert "did you mean 'removed_flag'" in complaint()


def test_settings_of_the_folder(folder: Path, capsys: Capture, complaint: Callable[[], str]) -> None:
    (folder / "vllm-opt.toml").write_text('[lint]\nignore = ["removed_flag"]\nexclude = ["broken*"]\ngpu = "h100"\n')
    assert main(["lint", ".", "--format", "json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["suppressed"], document["unread"]) == (1, [])
    assert {command["gpu"] for command in document["commands"]} == {"h100-sxm"}
    (folder / "vllm-opt.toml").write_text("[lint]\nignroe = []\n")
    assert main(["lint", "."]) == 2
    assert "did you mean 'ignore'" in complaint()


def test_github_annotations(folder: Path, capsys: Capture) -> None:
    assert main(["lint", "serve.sh", "--gpu", "h100", "--no-optimum", "--format", "github"]) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first.startswith("::error file=serve.sh,line=1,title=removed_flag::vLLM 0.33 no longer has --swap-space")


@pytest.mark.parametrize(
    ("text", "silent"),
    [
        ("vllm serve x --swap-space 4  # vllm-opt: ignore[removed_flag]", True),
        ("vllm serve x --swap-space 4  # vllm-opt: ignore", True),
        ("# vllm-opt: ignore[removed-flag, unknown_model]\nvllm serve x \\\n  --swap-space 4", True),
        ("# vllm-opt: ignore-file[removed_flag]\n\n\nvllm serve x --swap-space 4", True),
        ("vllm serve x --swap-space 4  # vllm-opt: ignore[no_model]", False),
        ("# vllm-opt: ignore[removed_flag]\nvllm serve y\nvllm serve x --swap-space 4", False),
    ],
)
def test_comments_silence_a_rule(text: str, silent: bool) -> None:
    assert ("removed_flag" not in rules(text)) is silent


def test_select_ignore_and_advice() -> None:
    line = f"vllm serve {LLAMA} --max-model-len 8192 --swap-space 4 --gpu-memory-utilization 0.5"
    assert rules(line, select="removed_flag") == ["removed_flag"]
    assert "removed_flag" not in rules(line, ignore=("removed-flag",))
    assert "utilization_unused" not in rules(line)
    assert "utilization_unused" in rules(line, advice=True)
    with pytest.raises(InvalidRequest, match="no rule is called 'x'"):
        rules(line, select="x")


def test_advice_speaks_when_it_decides_the_load() -> None:
    held = lint_command(
        f"vllm serve {LLAMA} --max-model-len 8192 --max-num-seqs 200", "h100-sxm", "0.33", catalog=CATALOG,
        optimum=False, concurrency=100,
    )  # fmt: skip
    assert "fp8_kv_cache" in [finding.rule for finding in held.findings]


@pytest.mark.parametrize(
    ("line", "rule", "part"),
    [
        ("--disable-log-requests", "equals_default", "--disable-log-requests is what"),
        ('--compilation-config \'{"pass_config": {"nope": 1}}\'', "unknown_json_key", "'pass_config.nope'"),
        ("--compilation-config.nope 1", "unknown_json_key", "'nope'"),
        ("--enable-eplb", "flag_conflict", "enable_expert_parallel must be True"),
        ("-max-num-seqs 8", "typographic_dash", "one dash"),
        ("--quantization ascend", "plugin_flag", "vllm-ascend"),
        ("--config none.yaml", "unresolved_arguments", "no such file beside it"),
        ('--speculative-config \'{"method": "ngram"}\'', "not_modelled", "leaves it out: num_speculative_tokens"),
        ("--enable-dbo", "not_modelled", "leaves out the second micro-batch"),
        ("--enable-dbo", "flag_conflict", "only supports the all2all backends"),
        ("--performance-mode interactivity", "not_modelled", "at small batches"),
        ("--long-prefill-token-threshold 9000", "flag_conflict", "cannot be greater than the max_model_len (8192)"),
        ("--max-num-active-seqs 9 --max-num-seqs 8", "flag_conflict", "cannot be greater than max_num_seqs (8)"),
    ],
)
def test_true_sentences(line: str, rule: str, part: str) -> None:
    found = lint_command(f"vllm serve {LLAMA} --max-model-len 8192 {line}", "h100-sxm", "0.33", catalog=CATALOG,
                         optimum=False).findings  # fmt: skip
    assert any(finding.rule == rule and part in finding.message for finding in found), found


def test_no_default_is_claimed_where_the_environment_stretches_the_context() -> None:
    text = "VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 vllm serve Qwen/Qwen3-8B --max-model-len 131072"
    assert "equals_default" not in rules(text)


def test_hybrid_models_cache_prefixes_only_where_prompts_are_cut() -> None:
    assert "flag_conflict" in rules("vllm serve Qwen/Qwen3-Next-80B-A3B-Instruct -tp 4 --no-enable-chunked-prefill")
    assert "flag_conflict" not in rules(
        "vllm serve Qwen/Qwen3-Next-80B-A3B-Instruct -tp 4 --no-enable-chunked-prefill --no-enable-prefix-caching"
    )


def test_a_release_without_a_profile_is_named_everywhere(capsys: Capture) -> None:
    arguments = ["lint", f"vllm serve {LLAMA} --max-model-len 8192", "--gpu", "h100", "--no-optimum"]
    for format_name in ("table", "json", "sarif", "github"):
        assert main([*arguments, "--vllm-version", "0.15.0", "--ignore", "no_model", "--format", format_name]) == 0
        out = capsys.readouterr().out
        assert format_name == "github" or "0.15.0" in out
    old = lint_command(f"vllm serve {LLAMA}", "h100-sxm", "0.5.0", catalog=CATALOG, optimum=False).commands[0]
    assert old.release == "0.5.0"
    assert "older than every profile" in old.notes[0]


def test_a_flag_that_a_release_between_may_have_is_not_judged() -> None:
    line = "vllm serve m --mamba-cache-mode align"  # 0.14 lacks the flag, 0.16 has it.
    report = lint_command(line, "h100-sxm", "0.15.0", catalog=CATALOG, optimum=False)
    found = [finding.rule for finding in report.findings if finding.flag == "--mamba-cache-mode"]
    assert found == ["release_not_known"]
    assert report.errors == 0


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("docker run vllm/vllm-openai-cpu:latest --model m -tp 16", "other_hardware"),
        (f"VLLM_ROCM_USE_AITER=1 vllm serve {LLAMA} --block-size 1", "other_hardware"),
    ],
)
def test_other_hardware_is_not_judged(text: str, rule: str) -> None:
    report = lint_command(text, "h100-sxm", catalog=CATALOG, optimum=False)
    assert rule in [finding.rule for finding in report.findings]
    assert (report.errors, report.commands[0].starts) == (0, None)


def test_amds_own_kernels_are_not_judged() -> None:
    line = "VLLM_ROCM_USE_AITER=1 vllm serve deepseek-ai/DeepSeek-R1 -tp 8 --block-size 1 --max-model-len 8192"
    report = lint_command(line, "mi300x", "0.33", catalog=CATALOG, optimum=False)
    assert "compatibility" not in [finding.rule for finding in report.findings]


def test_unified_memory_is_left_to_the_system() -> None:
    line = "vllm serve Qwen/Qwen3-8B --gpu-memory-utilization 0.5 --max-model-len 8192"
    report = lint_command(line, "gb10", catalog=CATALOG, optimum=False, advice=True)
    assert "utilization_unused" not in [finding.rule for finding in report.findings]


def test_nodes_of_a_group_count(tmp_path: Path) -> None:
    text = (
        "kind: LeaderWorkerSet\nspec:\n  leaderWorkerTemplate:\n    size: 2\n    leaderTemplate:\n      spec:\n"
        "        containers:\n        - name: l\n          image: vllm/vllm-openai:v0.8.5\n"
        "          command: [sh, -c, 'ray start --head; vllm serve deepseek-ai/DeepSeek-R1 -tp 8 -pp 2']\n"
        "          resources: {limits: {nvidia.com/gpu: '8'}}\n"
    )
    file = tmp_path / "lws.yaml"
    file.write_text(text)
    report = lint(LintRequest(file=str(file), gpu="h100-sxm", optimum=False), CATALOG)
    assert "gpu_count" not in [finding.rule for finding in report.findings]


def test_pages_of_the_rules_are_current() -> None:
    pages = documentation()
    assert {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs" / "lint").glob("*.md")} == pages
    assert set(pages) == {"README.md", *(f"{code}.md" for code in RULES)}


def test_every_rule_of_the_start_has_a_page_and_a_place_in_the_order() -> None:
    assert set(ORDER) == STARTUP_RULES
    assert set(RULES) >= STARTUP_RULES


def test_hooks_name_commands_that_exist() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert [hook["id"] for hook in hooks] == ["vllm-opt-lint", "vllm-opt-lint-fix"]
    assert all(hook["entry"].startswith("vllm-opt lint --allow-none") for hook in hooks)
