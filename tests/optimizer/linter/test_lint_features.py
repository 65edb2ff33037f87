"""Drafts, adapters, images and hybrids in commands: what is predicted, refused, or said to be left out."""

import json
from typing import Any

import pytest

from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.subject.fields import estimate_fields
from vllm_opt.optimizer.linter.subject.report import CommandReport
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.shell.shell import serve_commands
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
LLAMA = "vllm serve meta-llama/Llama-3.1-8B-Instruct"
HYBRID = "vllm serve Qwen/Qwen3-Next-80B-A3B-Instruct --tensor-parallel-size 4 --max-model-len 32768"


def _run(command: str, version: str = "0.33", **load: Any) -> CommandReport:
    load.setdefault("optimum", False)
    return lint_command(command, "h100-sxm", version, catalog=CATALOG, **load).commands[0]


def _rules(report: CommandReport) -> set[str]:
    return {finding.rule for finding in report.findings}


def test_a_hybrid_with_more_sequences_than_blocks_is_refused_with_a_remedy_that_starts() -> None:
    flags = "--max-num-seqs 1024 --kv-cache-memory-bytes 2000000000"
    report = _run(f"{HYBRID} {flags}", "0.20")
    (refused,) = (finding for finding in report.findings if finding.rule == "state_blocks")
    assert refused.level == "error"
    assert "exceeds available Mamba cache blocks" in refused.message
    assert refused.flag == "--max-num-seqs"
    again = _run(f"{HYBRID} {flags}".replace("1024", str(refused.to)), "0.20")
    assert "state_blocks" not in _rules(again)
    assert "state_blocks" not in _rules(_run(f"{HYBRID} {flags} --enforce-eager", "0.20"))
    assert "state_blocks" not in _rules(_run(f"{HYBRID} {flags}", "0.19"))


def test_adapters_and_drafts_are_in_the_prediction() -> None:
    plain = _run(LLAMA)
    assert plain.memory is not None
    adapted = _run(f"{LLAMA} --enable-lora --max-loras 8 --max-lora-rank 128")
    assert adapted.memory is not None
    assert adapted.memory.lora_bytes > 0
    assert adapted.memory.num_gpu_blocks < plain.memory.num_gpu_blocks
    some = _run(f"{LLAMA} --enable-lora --max-loras 8 --max-lora-rank 128 --lora-target-modules q_proj v_proj")
    assert some.memory is not None
    assert some.memory.lora_bytes == 8 * 8 * 18_874_368
    config = json.dumps({"method": "draft_model", "model": "meta-llama/Llama-3.2-1B", "num_speculative_tokens": 3})
    drafted = _run(f"{LLAMA} --speculative-config '{config}'")
    assert drafted.memory is not None
    assert drafted.memory.num_gpu_blocks < plain.memory.num_gpu_blocks
    assert not {"not_modelled"} & (_rules(adapted) | _rules(drafted))


@pytest.mark.parametrize(
    "flags",
    [
        '--speculative-config \'{"method": "telepathy", "num_speculative_tokens": 2}\'',
        '--speculative-config \'{"method": "eagle3", "model": "nobody/nothing", "num_speculative_tokens": 2}\'',
        "--speculative-config nonsense",
        "--hf-overrides '[1]'",
        '--hf-overrides \'{"rope_parameters": {"rope_type": "spiral"}}\'',
        '--compilation-config \'{"cudagraph_capture_sizes": "all"}\'',
        "--kv-transfer-config '[]'",
        '--limit-mm-per-prompt \'{"image": "many"}\'',
        "--eplb-config '{\"num_redundant_experts\": -3}' --enable-eplb",
    ],
)
def test_what_is_not_understood_never_stops_the_linter(flags: str) -> None:
    report = _run(f"{LLAMA} {flags}")
    assert report.memory is not None or any(finding.level == "error" for finding in report.findings)


def test_a_drafter_that_cannot_be_read_is_said_to_be_left_out() -> None:
    config = json.dumps({"method": "telepathy", "num_speculative_tokens": 2})
    (finding,) = (
        item for item in _run(f"{LLAMA} --speculative-config '{config}'").findings if item.rule == "not_modelled"
    )
    assert finding.flag == "--speculative-config"


def test_the_optimum_keeps_the_adapters() -> None:
    report = _run(f"{LLAMA} --enable-lora --max-loras 4 --max-lora-rank 64 --max-model-len 8192", optimum=True)
    assert report.optima
    assert all("--enable-lora --max-loras 4 --max-lora-rank 64" in best.command for best in report.optima)


@pytest.mark.parametrize(
    "dotted",
    [
        "--speculative-config.method ngram --speculative-config.num_speculative_tokens 3",
        "--speculative_config.method=ngram --speculative-config.num_speculative_tokens=3",
        "--speculative-config '{}' --speculative-config.method ngram --speculative-config.num_speculative_tokens 3",
    ],
)
def test_keys_behind_dots_are_the_json_they_make(dotted: str) -> None:
    whole = '--speculative-config \'{"method": "ngram", "num_speculative_tokens": 3}\''
    reports = [_run(f"{LLAMA} --max-model-len 8192 {flags}") for flags in (whole, dotted)]
    assert reports[0].memory == reports[1].memory
    assert reports[0].performance == reports[1].performance
    assert not [finding for report in reports for finding in report.findings if finding.rule == "not_modelled"]


def test_keys_behind_dots_nest_and_gather_lists() -> None:
    (command,) = serve_commands("vllm serve m -cc.pass_config.fuse_norm true -cc.custom_ops+ none,+silu -cc.mode 3")
    parsed = parse_flags(command.arguments, CATALOG.engine("0.33")[0])
    assert json.loads(estimate_fields(parsed)["compilation_config"]) == {
        "pass_config": {"fuse_norm": True}, "custom_ops": ["none", "+silu"], "mode": 3,
    }  # fmt: skip


def test_the_best_on_the_same_gpus_keeps_every_feature() -> None:
    """Adapters, drafts, connectors and what no plan decides; adapters take their memory there, too."""
    drafts = json.dumps({"method": "ngram", "num_speculative_tokens": 3})
    connector = json.dumps({"kv_connector": "OffloadingConnector", "kv_role": "kv_both"})
    flags = (
        "--enable-lora --max-loras 4 --max-lora-rank 64 --lora-target-modules q_proj o_proj "
        "--lora-modules sql=a/b chat=c/d --kv-offloading-size 20 "
        f"--enable-sleep-mode --speculative-config '{drafts}' --kv-transfer-config '{connector}' --max-num-seqs 2"
    )
    report = _run(f"{LLAMA} --max-model-len 8192 {flags}", optimum=True)
    assert report.optima
    for found in report.optima:
        for kept in (
            "--enable-lora", "--max-loras 4", "--max-lora-rank 64",
            "--lora-target-modules q_proj o_proj", "--lora-modules sql=a/b chat=c/d",
            "--kv-offloading-size 20", "--enable-sleep-mode", "OffloadingConnector",
        ):  # fmt: skip
            assert kept in found.command, kept
        assert any("kept as they are" in note for note in found.notes)
        drafted = "--speculative-config" in found.command
        assert drafted or any("speculative decoding is left off" in note for note in found.notes)


def test_a_pooling_task_of_older_releases_is_a_pooling_runner() -> None:
    plain, embeds = _run(LLAMA, "0.8.5"), _run(f"{LLAMA} --task embed", "0.8.5")
    assert plain.memory is not None
    assert embeds.memory is not None
    assert embeds.memory.weights_bytes < plain.memory.weights_bytes
    assert "removed_flag" in _rules(_run(f"{LLAMA} --task embed"))
