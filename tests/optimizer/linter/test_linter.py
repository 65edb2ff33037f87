"""What the linter finds: flags by name, start-up, improvements with numbers that estimates confirm, and fixes."""

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import vllm_opt.optimizer
from vllm_opt.optimizer import EstimateRequest, LintRequest, SolveRequest, estimate, lint, solve
from vllm_opt.optimizer.linter.lint import lint_command
from vllm_opt.optimizer.linter.rules import RULES
from vllm_opt.optimizer.linter.subject.report import CommandReport, Finding, LintReport
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile

CATALOG = Catalog()
LLAMA = "meta-llama/Llama-3.1-8B-Instruct"
SERVE = f"vllm serve {LLAMA}"


def run(flags: str, gpu: str = "h100-sxm", version: str | None = "0.33", **load: Any) -> CommandReport:
    load.setdefault("optimum", False)
    text = flags if flags.startswith(("vllm", "python", "docker", "VLLM", "CUDA")) else f"{SERVE} {flags}"
    report = lint_command(text, gpu, version, catalog=CATALOG, **load)
    assert {finding.rule for finding in report.findings} <= set(RULES)
    return report.commands[0]


def finding(report: CommandReport, rule: str) -> Finding:
    found = [each for each in report.findings if each.rule == rule]
    assert found, f"no {rule} among {[each.rule for each in report.findings]}"
    return found[0]


def rules(report: CommandReport, level: str | None = None) -> set[str]:
    return {each.rule for each in report.findings if level in (None, each.level)}


# --- flags by name --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "version", "rule", "part"),
    [
        ("--swap-space 4", "0.33", "removed_flag", "use --kv-offloading-size GIB"),
        ("--num-scheduler-steps 8", "0.11", "removed_flag", "no longer has"),
        ("--kv-offloading-size 20", "0.8.5", "flag_not_yet_existing", "first release known to have it is"),
        ("--kv-cache-memory-bytes 1G", "0.8.5", "flag_not_yet_existing", "upgrade"),
        ("--gpu-memory-utilisation 0.9", "0.33", "unknown_flag", "write --gpu-memory-utilization"),
        ("--max-modle-len 8192", "0.33", "unknown_flag", "did you mean '--max-model-len'"),
        ("--block-size 24", "0.8.5", "wrong_choice", "choose from"),
        ("--quantization bitsandbytes", "0.33", "wrong_choice", "invalid choice"),
        ("--enable-auto-tool-choice", "0.33", "missing_companion", "requires --tool-call-parser"),
        ("--max-num-seqs -5", "0.33", "value_out_of_range", "--max-num-seqs"),
        ("--gpu-memory-utilization 1.5", "0.33", "value_out_of_range", "less than or equal to 1"),
    ],
)
def test_flags_by_name(flags: str, version: str, rule: str, part: str) -> None:
    found = finding(run(flags, version=version), rule)
    assert found.level == "error"
    assert part in found.message


def test_swap_space_is_known_to_old_releases() -> None:
    assert "removed_flag" not in rules(run("--swap-space 4 --max-model-len 8192", version="0.8.5"))


def test_the_parsers_own_words_come_first() -> None:
    report = run("--swap-space 4 --max-model-len 200000")
    assert report.startup_log == ("vllm: error: unrecognized arguments: --swap-space 4",)
    assert report.starts is False
    assert {"removed_flag", "context_length"} <= rules(report, "error")


def test_a_flag_given_twice_and_against_itself() -> None:
    report = run("--max-num-seqs 8 --max-num-seqs 16 --enable-prefix-caching --no-enable-prefix-caching")
    found = [each for each in report.findings if each.rule == "conflicting_flags"]
    assert [(each.flag, each.to) for each in found] == [("--max-num-seqs", 16), ("--enable-prefix-caching", False)]
    assert report.fixed_command == f"{SERVE} --max-num-seqs 16 --no-enable-prefix-caching"


def test_the_release_comes_from_the_image() -> None:
    report = run(f"docker run --ipc=host vllm/vllm-openai:v0.11.0 --model {LLAMA} --swap-space 4", version=None)
    assert report.vllm_version == "0.11"


# --- start-up -------------------------------------------------------------------------------------------------------


def test_the_largest_context_that_fits_a_24_gb_card() -> None:
    """Seed example 11: 8B with 128k on a 24 GB card."""
    report = run("", gpu="a10")
    found = finding(report, "memory_budget")
    estimated = re.search(r"estimated maximum model length is (\d+)", found.message)
    assert estimated is not None
    longest = int(estimated.group(1))
    assert (found.flag, found.from_value, found.to) == ("--max-model-len", 131072, longest)
    assert report.startup_log == (f"ValueError: {found.message}.",)
    assert report.fixed_command == f"{SERVE} --max-model-len {longest}"
    asked = EstimateRequest(model=LLAMA, gpu="a10", vllm_version="0.33", confidence=0.5)
    assert estimate(asked.replaced(max_model_len=longest), CATALOG).fits
    assert not estimate(asked.replaced(max_model_len=longest + 16), CATALOG).fits
    assert any("--tensor-parallel-size 2" in other for other in found.alternatives)


def test_the_utilization_needed_is_the_smallest() -> None:
    report = run("--max-model-len 28000 --gpu-memory-utilization 0.85", gpu="a10")
    found = finding(report, "memory_budget")
    assert found.flag == "--gpu-memory-utilization"
    asked = EstimateRequest(model=LLAMA, gpu="a10", vllm_version="0.33", max_model_len=28000, confidence=0.5)
    assert estimate(asked.replaced(gpu_memory_utilization=found.to), CATALOG).fits
    assert not estimate(asked.replaced(gpu_memory_utilization=round(found.to - 0.01, 2)), CATALOG).fits


def test_a_target_keeps_the_context_long_enough() -> None:
    found = finding(run("", gpu="a10", target_context=40_000), "memory_budget")
    assert all(change.flag != "--max-model-len" or change.to >= 40_000 for change in found.changes)


@pytest.mark.parametrize(
    ("flags", "gpu", "rule", "flag", "to"),
    [
        ("-tp 3", "h100-sxm", "divisibility", "--tensor-parallel-size", 2),
        ("--enable-expert-parallel", "h100-sxm", "divisibility", "--enable-expert-parallel", None),
        ("--decode-context-parallel-size 2", "h100-sxm", "divisibility", "--decode-context-parallel-size", None),
        ("--block-size 8", "h100-sxm", "compatibility", "--block-size", None),
        ("--kv-cache-dtype nvfp4", "h100-sxm", "compatibility", "--kv-cache-dtype", "fp8"),
        ("--kv-cache-dtype float16", "h100-sxm", "compatibility", "--kv-cache-dtype", None),
        ("--max-model-len 200000", "h100-sxm", "context_length", "--max-model-len", 131072),
        ("--max-num-seqs 512 --max-num-batched-tokens 256", "h100-sxm", "batching", "--max-num-batched-tokens", 512),
        (
            "--no-enable-chunked-prefill --max-num-batched-tokens 4096 --max-model-len 8192",
            "h100-sxm", "batching", "--enable-chunked-prefill", None,
        ),
        ("--max-model-len 8192 --gpu-memory-utilization 1.0", "h100-sxm", "startup_headroom",
         "--gpu-memory-utilization", 0.99),
        ("--num-gpu-blocks-override 100", "h100-sxm", "memory_budget", "--num-gpu-blocks-override", None),
        ("--max-model-len 8192 --kv-cache-memory-bytes 200G", "h100-sxm", "memory_budget", "--kv-cache-memory-bytes",
         None),
    ],
)  # fmt: skip
def test_refusals_name_the_flag_and_the_smallest_change(flags: str, gpu: str, rule: str, flag: str, to: Any) -> None:
    report = run(flags, gpu)
    found = finding(report, rule)
    assert (found.level, found.flag, found.to) == ("error", flag, to)
    assert report.starts is False
    assert run(report.fixed_command, gpu).starts is True


def test_fp8_on_a_card_that_cannot() -> None:
    report = run("vllm serve Qwen/Qwen2.5-7B-Instruct --kv-cache-dtype fp8 --max-model-len 2048", gpu="t4")
    assert "requires SM89+" in finding(report, "compatibility").message
    assert "ValueError" in report.startup_log[0]


def test_weights_that_are_not_stored_as_asked() -> None:
    report = run("--quantization awq")
    assert (
        "hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4"
        in finding(report, "quantization_without_checkpoint").message
    )
    assert report.startup_log == ("ValueError: Cannot find the config file for awq",)
    stored = run("vllm serve hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4 --quantization gptq")
    assert "does not match" in finding(stored, "quantization_without_checkpoint").message
    assert run("vllm serve hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4 -q awq_marlin").starts is True


def test_quantised_checkpoints_are_counted_as_such() -> None:
    memory = run("vllm serve RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic --max-model-len 8192").memory
    assert memory is not None
    assert (
        memory.weights_bytes
        == estimate(
            EstimateRequest(model=LLAMA, gpu="h100-sxm", quantization="fp8", max_model_len=8192), CATALOG
        ).memory.weights_bytes
    )


def test_a_name_that_says_the_format_is_taken_for_it() -> None:
    report = run("vllm serve someone/Qwen3-8B-GPTQ-Int4 --max-model-len 8192")
    assert report.model == "Qwen/Qwen3-8B"
    assert "by its name" in finding(report, "model_by_name").message


def test_an_unknown_model_is_said_and_flags_are_still_checked() -> None:
    report = run("vllm serve /models/mine --swap-space 4")
    assert report.starts is False
    assert "--model NAME" in finding(report, "unknown_model").message
    assert finding(run("vllm serve /models/mine --max-num-seqs 64"), "unknown_model").level == "warning"
    assert run("vllm serve /models/mine --max-model-len 8192", model=LLAMA).starts is True


def test_a_narrow_margin_is_a_warning() -> None:
    longest = finding(run("", gpu="a10"), "memory_budget").to
    found = finding(run(f"--max-model-len {longest}", gpu="a10"), "startup_margin")
    assert found.level == "warning"
    assert found.to < longest


# --- improvements ---------------------------------------------------------------------------------------------------


def test_sequences_below_the_pool() -> None:
    """Seed advice: max-num-seqs below what the pool holds limits throughput."""
    report = run("--max-model-len 8192 --max-num-seqs 8 --no-enable-prefix-caching")
    found = finding(report, "max_num_seqs_below_pool")
    before, after = found.gain["output_tokens_per_s"]
    asked = EstimateRequest(model=LLAMA, gpu="h100-sxm", max_model_len=8192, input_tokens=7168, output_tokens=1024)
    speed = [estimate(asked.replaced(max_num_seqs=number), CATALOG).performance for number in (8, found.to)]
    assert [before, after] == [each.output_tokens_per_s for each in speed if each]
    assert found.to == int(finding(report, "max_num_seqs_below_pool").gain["max_concurrency"][0])
    assert after > 1.9 * before


def test_sequences_far_above_the_pool() -> None:
    """Seed advice: far above it only makes requests wait."""
    found = finding(run("--max-num-seqs 512", target_context=131072), "max_num_seqs_above_pool")
    assert found.level == "note"
    assert found.to < 20
    assert "max_num_seqs_above_pool" not in rules(run("--max-num-seqs 512", mean_context=1000))


def test_context_beyond_need() -> None:
    found = finding(run("", target_context=8192), "max_model_len_above_need")
    assert (found.from_value, found.to) == (131072, 8192)
    before, after = found.gain["max_concurrency"]
    assert after / before == pytest.approx(16, rel=0.01)
    assert "max_model_len_above_need" not in rules(run("--max-model-len 8192", target_context=8192))
    assert finding(run("--max-model-len 4096", target_context=8192), "max_model_len_below_need").level == "error"


def test_utilization_left_unused() -> None:
    found = finding(run("--max-model-len 8192 --gpu-memory-utilization 0.7", advice=True), "utilization_unused")
    assert (found.level, found.flag, found.to) == ("advice", "--gpu-memory-utilization", 0.95)
    before, after = found.gain["kv_cache_tokens"]
    memory = [
        estimate(
            EstimateRequest(model=LLAMA, gpu="h100-sxm", max_model_len=8192, gpu_memory_utilization=share), CATALOG
        ).memory.kv_cache_tokens
        for share in (0.7, 0.95)
    ]
    assert [before, after] == memory


def test_fp8_kv_cache_doubles_the_sequences() -> None:
    found = finding(run("--max-model-len 8192", advice=True), "fp8_kv_cache")
    assert found.level == "advice"
    assert "fp8_kv_cache" not in rules(run("--max-model-len 8192"))
    before, after = found.gain["max_concurrency"]
    assert after / before == pytest.approx(2, rel=0.01)
    assert "+100 % sequences" in found.gain_text
    assert "fp8_kv_cache" not in rules(run("--max-model-len 8192 --kv-cache-dtype fp8", advice=True))
    assert "fp8_kv_cache" not in rules(
        run("vllm serve Qwen/Qwen2.5-7B-Instruct --max-model-len 2048", gpu="t4", advice=True)
    )


def test_narrower_steps_admit_more_sliding_window_sequences() -> None:
    found = finding(run("vllm serve google/gemma-3-27b-it -tp 2 --max-model-len 131072"), "sliding_window_in_flight")
    assert (found.flag, found.to) == ("--max-num-batched-tokens", 2048)
    before, after = found.gain["max_concurrency"]
    assert 1.3 < after / before < 1.6
    assert "sliding_window_in_flight" not in rules(run("--max-model-len 8192"))


def test_limits_choose_the_width_of_a_step() -> None:
    report = run("--max-model-len 8192 --max-num-seqs 64 --max-num-batched-tokens 16384", max_tpot_ms=30)
    found = finding(report, "tpot")
    changes = {change.flag.removeprefix("--").replace("-", "_"): change.to for change in found.changes}
    asked = EstimateRequest(
        model=LLAMA, gpu="h100-sxm", max_model_len=8192, input_tokens=7168, output_tokens=1024, max_tpot_ms=30,
        **{"max_num_seqs": 64, "max_num_batched_tokens": 16384, **changes},
    )  # fmt: skip
    assert estimate(asked, CATALOG).violations == ()


def test_limits_that_nothing_meets_point_to_explain() -> None:
    found = finding(run("--max-model-len 8192", max_ttft_ms=0.001), "ttft")
    assert found.changes == ()
    assert "vllm-opt explain" in found.message


def test_concurrency_asked() -> None:
    report = run("--max-model-len 8192 --max-num-seqs 16", concurrency=100, mean_context=2000)
    found = finding(report, "concurrency")
    assert (found.flag, found.to) == ("--max-num-seqs", 100)
    assert "concurrency" not in rules(
        run("--max-model-len 8192 --max-num-seqs 100", concurrency=100, mean_context=2000)
    )


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        ("--max-model-len 8192 --enforce-eager", "eager_mode"),
        ('--max-model-len 8192 --compilation-config \'{"cudagraph_mode": "NONE"}\'', "eager_mode"),
        ("--max-model-len 8192 -O0", "eager_mode"),
        ("--max-model-len 8192 --no-enable-prefix-caching", "prefix_caching_off"),
        ("--max-model-len 8192 --no-enable-chunked-prefill", "chunked_prefill_off"),
        ("--max-model-len 8192 --no-async-scheduling", "async_scheduling_off"),
        ("--max-model-len 8192 -tp 16", "one_node"),
        ("--max-model-len 8192 --kv-cache-memory-bytes 20G --gpu-memory-utilization 0.9", "utilization_without_effect"),
        ('--max-model-len 8192 --speculative-config \'{"method": "ngram"}\'', "not_modelled"),
        ("--max-model-len 8192 --dtype auto", "equals_default"),
    ],
)
def test_switches_and_features(flags: str, rule: str) -> None:
    assert rule in rules(run(flags))


def test_nodes_may_be_spanned_on_purpose() -> None:
    assert "one_node" not in rules(run("--max-model-len 8192 -tp 16 --distributed-executor-backend ray"))
    assert "one_node" not in rules(run("--max-model-len 8192 -tp 16 --nnodes 2"))


def test_ranks_beyond_the_kv_heads() -> None:
    found = finding(run("vllm serve Qwen/Qwen3-30B-A3B -tp 8 --max-model-len 8192"), "tensor_parallel_beyond_kv_heads")
    assert "exceeds the 4 KV heads" in found.message
    assert [(change.flag, change.to) for change in found.changes] == [
        ("--tensor-parallel-size", 4), ("--data-parallel-size", 2),
    ]  # fmt: skip


def test_defaults_are_notes_and_memory_flags_stay() -> None:
    report = run(
        "--max-model-len 131072 --max-num-seqs 1024 --max-num-batched-tokens 8192 --seed 0 --enable-prefix-caching"
    )
    equal = {each.flag: each for each in report.findings if each.rule == "equals_default"}
    assert set(equal) >= {"--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--enable-prefix-caching"}
    assert equal["--max-num-seqs"].changes == ()
    assert equal["--enable-prefix-caching"].changes[0].to is None


# --- surroundings ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "version", "rule", "level", "part"),
    [
        (f"CUDA_VISIBLE_DEVICES=0 {SERVE} -tp 2", "0.33", "gpu_count", "error", "gets 1"),
        (f"CUDA_VISIBLE_DEVICES=0,1,2,3 {SERVE} -tp 2", "0.33", "gpu_count", "warning", "2 of the 4"),
        (f"VLLM_USE_V1=0 {SERVE}", "0.33", "environment", "warning", "VLLM_USE_V1"),
        (f"VLLM_ATTENTION_BACKEND=FLASHINFER {SERVE}", "0.33", "environment", "warning", "--attention-backend"),
        (f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 {SERVE} --max-model-len 200000", "0.33", "environment", "warning", "NaN"),
        (f"VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0 {SERVE}", "0.33", "environment", "warning", "beside it"),
        (f"VLLM_PP_LAYER_PARTITION=10,22 {SERVE} -pp 2", "0.33", "not_modelled", "note", "VLLM_PP_LAYER_PARTITION"),
        (f"docker run vllm/vllm-openai:v0.33.0 {LLAMA} -tp 2", None, "shared_memory", "warning", "--ipc=host"),
    ],
)
def test_environment(text: str, version: str | None, rule: str, level: str, part: str) -> None:
    found = finding(run(text, version=version), rule)
    assert found.level == level
    assert part in found.message


def test_the_environment_changes_the_prediction() -> None:
    counted, not_counted = (
        run(f"{switch}{SERVE} --max-model-len 8192").memory
        for switch in ("", "VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS=0 ")
    )
    assert counted is not None
    assert not_counted is not None
    assert not_counted.kv_cache_bytes == counted.kv_cache_bytes + counted.cuda_graph_bytes
    assert run(f"VLLM_ALLOW_LONG_MAX_MODEL_LEN=1 {SERVE} --max-model-len 200000").starts is True
    assert run(f"VLLM_USE_V1=0 {SERVE} --max-model-len 8192", version="0.8.5").startup_log[0].startswith("# GPU blocks")


# --- the optimum and the fixes --------------------------------------------------------------------------------------


def test_the_optimum_is_the_solvers() -> None:
    report = run("--max-model-len 8192 --max-num-seqs 8", optimum=True, target_context=8192, concurrency=32)
    best = report.optima[-1]
    plan = solve(
        SolveRequest(
            model=LLAMA, gpu="h100-sxm", gpus=1, target_context=8192, concurrency=32, vllm_version="0.33",
            objective=("throughput", "concurrency"), input_tokens=7168, output_tokens=1024,
        ),
        CATALOG,
    ).plan  # fmt: skip
    assert plan is not None
    assert (best.command, best.output_tokens_per_s) == (plan.command, plan.performance.output_tokens_per_s)
    assert report.performance is not None
    assert best.throughput_gain == pytest.approx(best.output_tokens_per_s / report.performance.output_tokens_per_s - 1)


@pytest.mark.parametrize("gpu", ["h100-sxm", "l40s"])
def test_the_solvers_own_command_has_no_error_and_no_better_one(gpu: str) -> None:
    plan = solve(SolveRequest(model=LLAMA, gpu=gpu, gpus=1, objective=("throughput",)), CATALOG).plan
    assert plan is not None
    report = run(plan.command, gpu, None, target_context=8192, concurrency=32)
    assert report.starts is True
    assert rules(report, "error") == set()


@pytest.mark.parametrize(
    "flags",
    [
        "--swap-space 4 --gpu_memory_utilization=90% --enforce-eager true --kv-cache-dtype FP8",
        "--max-num-seqs 1k --max-model-len 8192 —max-num-batched-tokens 512",
        "--enable-prefix-caching false -tp 3 --max-model-len 1M",
        "'--max-num-seqs 4' extra --rope-scaling '{\"a\": 1}' --worker-use-ray",
        "--num-scheduler-steps=8 --block-size 8 --max-num-seqs 512 --max-num-batched-tokens 256",
        "--max-batch-size 8 --tp 2",
    ],
)
@pytest.mark.parametrize("fix", ["errors", "all"])
def test_what_is_corrected_has_no_error(flags: str, fix: str) -> None:
    first = run(flags, gpu="l40s", fix=fix)
    assert rules(first, "error")
    again = run(first.fixed_command, gpu="l40s", fix=fix)
    assert rules(again, "error") == set()
    assert again.starts is True


def test_the_text_around_the_fix_stays() -> None:
    text = f"# serve\nexport A=1\n{SERVE} \\\n  --swap-space 4 \\\n  --max-model-len 200000   # long\necho done\n"
    fixed = lint_command(text, "h100-sxm", catalog=CATALOG, optimum=False).fixed_text
    assert fixed == f"# serve\nexport A=1\n{SERVE} \\\n  --max-model-len 131072   # long\necho done\n"


# --- as a library ---------------------------------------------------------------------------------------------------


def test_public_names() -> None:
    assert vllm_opt.optimizer.lint is lint
    report = lint(LintRequest(command=SERVE, gpu="h100", optimum=False), CATALOG)
    assert isinstance(report, LintReport)
    assert report.model_dump(mode="json")["schema"] == "vllm-opt/lint/1"
    assert report.clean


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "give one of the two"),
        ({"command": SERVE, "file": "x"}, "give one of the two"),
        ({"command": SERVE, "target_context": 10, "mean_context": 20}, "exceeds target_context"),
        ({"command": SERVE, "confidence": float("nan")}, "confidence"),
        ({"command": 5}, "command"),
        ({"command": SERVE, "fix": "everything"}, "fix"),
        ({"command": SERVE, "gpus": "h100"}, "unknown key 'gpus'; did you mean 'gpu'"),
    ],
)
def test_bad_requests(fields: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidRequest, match=sentence):
        LintRequest(**fields)


def test_no_gpu_and_unknown_gpu() -> None:
    with pytest.raises(InvalidRequest, match="no GPU is named"):
        lint_command(SERVE)
    with pytest.raises(UnknownProfile, match="did you mean"):
        lint_command(SERVE, "h1000")


def test_hostile_sizes() -> None:
    with pytest.raises(InvalidRequest, match="words is no command"):
        lint_command(SERVE + " --x" * 2000, "h100-sxm", catalog=CATALOG)
    long_value = "9" * 200_000
    report = run(f"--max-num-seqs {long_value} --served-model-name {'x' * 200_000} --max-model-len 8192")
    assert max(len(each.message) for each in report.findings) < 1000
    assert finding(report, "wrong_type").flag == "--max-num-seqs"


VALUES = st.sampled_from(
    [
        "",
        "0",
        "1",
        "-1",
        "3",
        "16",
        "4096",
        "2147483648",
        "1e9",
        "nan",
        "auto",
        "fp8",
        "8k",
        "8K",
        "true",
        "{}",
        "$X",
        "9" * 30,
    ]
)
FLAGS = st.sampled_from(
    [
        "-tp", "-pp", "-dp", "-dcp", "--max-model-len", "--max-num-seqs", "--max-num-batched-tokens", "--block-size",
        "--gpu-memory-utilization", "--kv-cache-dtype", "--quantization", "--kv-cache-memory-bytes",
        "--num-gpu-blocks-override", "--cpu-offload-gb", "--kv-offloading-size", "--enforce-eager", "--config",
        "--no-enable-chunked-prefill", "--enable-expert-parallel", "--swap-space", "-O", "--nonsense",
    ]
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(FLAGS, VALUES), max_size=5), st.sampled_from(["h100-sxm", "t4", "mi300x"]))
def test_any_flags_get_a_report_or_one_sentence(pairs: list[tuple[str, str]], gpu: str) -> None:
    text = " ".join(["vllm serve Qwen/Qwen3-8B", *(f"{flag} {value}" for flag, value in pairs)])
    try:
        report = lint_command(text, gpu, "0.33", catalog=CATALOG, optimum=False, fix="all")
    except InvalidRequest as error:
        sentence = str(error)
    else:
        sentence = ""
        unknown = report.commands[0].starts is None and report.commands[0].unresolved
        assert unknown or report.commands[0].starts is report.clean
    assert "\n" not in sentence
