"""From a configuration to the `vllm serve` line: which flags are said, in which words, in each release."""

import shlex

import pytest

from vllm_opt.constraints.decisions.configuration import EngineFlags, Layout
from vllm_opt.optimizer.serve_lines.command_line import command_of, flags_of, has_flag, load_flag_value, not_above
from vllm_opt.optimizer.serve_lines.flags import parse_flags
from vllm_opt.optimizer.serve_lines.words import Word
from vllm_opt.profiles.catalogues.catalog import Catalog

CATALOG = Catalog()
NEWEST = CATALOG.engine("0.33.0")[0]
MODEL = CATALOG.model("meta-llama/Llama-3.1-8B-Instruct")
MEMORY_FLAGS = {
    "max-model-len": 8192,
    "max-num-seqs": 64,
    "max-num-batched-tokens": 2048,
    "gpu-memory-utilization": 0.9,
}


def stated(
    version: str = "0.33.0", flags: dict[str, object] | None = None, quantization: str = "bf16", **layout: object
) -> dict[str, object]:
    """The flags of a layout that is otherwise what the release does on its own."""
    engine = CATALOG.engine(version)[0]
    defaults = {
        "gpu": "h100-sxm", "checkpoint": MODEL.id, "quantization": quantization,
        "enable_prefix_caching": engine.prefix_caching_default, "async_scheduling": engine.async_scheduling_default,
    }  # fmt: skip
    sizes = {name.replace("-", "_"): value for name, value in MEMORY_FLAGS.items()}
    return flags_of(
        MODEL,
        CATALOG.quantization(quantization),
        Layout(**{**defaults, **layout}),
        EngineFlags(**{**sizes, "swap_space_gib": engine.default_swap_space_gib, **(flags or {})}),
        engine,
    )


@pytest.mark.parametrize("version", ["0.33.0", "0.19.0", "0.11.0", "0.8.5"])
def test_defaults_are_left_out_and_memory_flags_never(version: str) -> None:
    assert stated(version) == MEMORY_FLAGS


def test_memory_flags_are_said_even_where_they_are_the_default() -> None:
    assert stated(flags={"gpu_memory_utilization": 0.92})["gpu-memory-utilization"] == 0.92


@pytest.mark.parametrize(
    ("layout", "said"),
    [
        ({"tensor_parallel_size": 2}, {"tensor-parallel-size": 2}),
        ({"tensor_parallel_size": 1}, {}),
        ({"pipeline_parallel_size": 3}, {"pipeline-parallel-size": 3}),
        ({"data_parallel_size": 4}, {"data-parallel-size": 4}),
        (
            {"tensor_parallel_size": 16, "decode_context_parallel_size": 2},
            {"tensor-parallel-size": 16, "decode-context-parallel-size": 2},
        ),
        ({"expert_parallel": True}, {"enable-expert-parallel": True}),
        ({"nodes": 2}, {"distributed-executor-backend": "ray"}),
        ({"kv_cache_dtype": "fp8"}, {"kv-cache-dtype": "fp8"}),
        ({"block_size": 64}, {"block-size": 64}),
        ({"enforce_eager": True}, {"enforce-eager": True}),
        ({"enable_prefix_caching": False}, {"enable-prefix-caching": False}),
        ({"enable_chunked_prefill": False}, {"enable-chunked-prefill": False}),
        ({"async_scheduling": False}, {"async-scheduling": False}),
        ({"disable_hybrid_kv_cache_manager": True}, {"disable-hybrid-kv-cache-manager": True}),
    ],
)
def test_what_differs_from_the_default_is_said(layout: dict[str, object], said: dict[str, object]) -> None:
    assert stated(**layout) == {**MEMORY_FLAGS, **said}


def test_switches_follow_the_default_of_the_release() -> None:
    assert stated("0.11.0", async_scheduling=True)["async-scheduling"] is True
    assert "async-scheduling" not in stated("0.33.0", async_scheduling=True)
    assert stated("0.7.3", enable_prefix_caching=True)["enable-prefix-caching"] is True
    assert "enable-prefix-caching" not in stated("0.33.0", enable_prefix_caching=True)


def test_v0_says_chunked_prefill_always_for_its_default_depends_on_the_length() -> None:
    assert stated("0.7.3", enable_chunked_prefill=True)["enable-chunked-prefill"] is True
    assert stated("0.7.3", enable_chunked_prefill=False)["enable-chunked-prefill"] is False


@pytest.mark.parametrize(
    ("version", "layout", "flags", "name"),
    [
        ("0.9.0", {"decode_context_parallel_size": 2}, {}, "decode-context-parallel-size"),
        ("0.7.3", {"data_parallel_size": 2}, {}, "data-parallel-size"),
        ("0.9.0", {"async_scheduling": True}, {}, "async-scheduling"),
        ("0.8.5", {"disable_hybrid_kv_cache_manager": True}, {}, "disable-hybrid-kv-cache-manager"),
        ("0.11.0", {}, {"kv_offloading_size_gib": 8.0}, "kv-offloading-size"),
        ("0.18.0", {}, {"swap_space_gib": 8.0}, "swap-space"),
    ],
)
def test_a_flag_that_the_release_does_not_know_is_dropped(
    version: str, layout: dict[str, object], flags: dict[str, object], name: str
) -> None:
    assert not has_flag(CATALOG.engine(version)[0], name)
    assert name not in stated(version, flags, **layout)


def test_the_host_tier_is_said_where_it_exists() -> None:
    assert stated("0.33.0", {"kv_offloading_size_gib": 8.0})["kv-offloading-size"] == 8.0
    assert "kv-offloading-size" not in stated("0.33.0", {"kv_offloading_size_gib": 0.0})
    assert stated("0.7.3", {"swap_space_gib": 16.0})["swap-space"] == 16.0
    assert stated("0.7.3", {"swap_space_gib": 0.0})["swap-space"] == 0.0
    assert "swap-space" not in stated("0.7.3", {"swap_space_gib": 4.0})


@pytest.mark.parametrize(
    ("quantization", "version", "value"),
    [
        ("fp8", "0.8.5", "fp8"),
        ("fp8", "0.19.0", "fp8"),
        ("fp8", "0.33.0", "fp8_per_channel"),
        ("fp8", "0.7.3", None),
        ("fp8_per_tensor", "0.33.0", "fp8_per_tensor"),
        ("fp8_block", "0.33.0", "fp8_per_block"),
        ("fp8_block", "0.19.0", None),
        ("mxfp8", "0.19.0", "mxfp8"),
        ("mxfp8", "0.18.0", None),
        ("bitsandbytes", "0.27.0", "bitsandbytes"),
        ("bitsandbytes", "0.28.0", None),
        ("experts_int8", "0.33.0", None),
        ("awq", "0.33.0", None),
        ("bf16", "0.33.0", None),
    ],
)
def test_the_word_that_quantises_at_load_is_the_releases_own(
    quantization: str, version: str, value: str | None
) -> None:
    assert load_flag_value(CATALOG.quantization(quantization), CATALOG.engine(version)[0]) == value
    assert stated(version, quantization=quantization).get("quantization") == value


def test_a_checkpoint_that_is_already_quantised_needs_no_flag() -> None:
    assert "quantization" not in stated(quantization="fp8", checkpoint="RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8")
    assert "quantization" not in stated(quantization="fp8", checkpoint=None)


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        ("0.9", "0.10", True),
        ("0.10", "0.9", False),
        ("0.33", "0.33.4", True),
        ("0.33.4", "0.33", True),
        ("0.19.1", "0.19.0", False),
        ("0.19.0", "0.19.0", True),
        ("0.8.5-v0", "0.8.5", True),
        ("1.0", "0.33.0", False),
    ],
)
def test_releases_compare_by_number(left: str, right: str, *, expected: bool) -> None:
    assert not_above(left, right) is expected


def test_the_line_spells_switches_and_numbers() -> None:
    said = {"enforce-eager": True, "enable-prefix-caching": False, "max-num-seqs": 64, "gpu-memory-utilization": 0.9}
    assert command_of(MODEL.id, said, NEWEST) == (
        "vllm serve meta-llama/Llama-3.1-8B-Instruct --enforce-eager --no-enable-prefix-caching --max-num-seqs 64 "
        "--gpu-memory-utilization 0.9"
    )
    assert command_of("m", {"swap-space": 16.0, "gpu-memory-utilization": 0.925}, NEWEST) == (
        "vllm serve m --swap-space 16 --gpu-memory-utilization 0.925"
    )
    assert command_of("m", {"max-model-len": 1}, NEWEST) == "vllm serve m --max-model-len 1", (
        "1 is a number, not a switch"
    )
    assert command_of("m", {"swap-space": 0.0}, NEWEST) == "vllm serve m --swap-space 0", "0 is a number, not a switch"


@pytest.mark.parametrize(
    ("version", "word"), [("0.6.6", "--enable-chunked-prefill=False"), ("0.33", "--no-enable-chunked-prefill")]
)
def test_a_switch_is_turned_off_as_the_release_reads_it(version: str, word: str) -> None:
    release = CATALOG.engine(version)[0]
    line = command_of("m", {"enable-chunked-prefill": False}, release)
    assert line == f"vllm serve m {word}"
    for words in ([word], ["--enable-chunked-prefill", "false"] if version == "0.6.6" else [word]):
        parsed = parse_flags([Word(text, -1, -1, 1) for text in ("m", *words)], release)
        assert parsed.value("enable-chunked-prefill") is False
        assert not parsed.problems


@pytest.mark.parametrize(
    ("checkpoint", "quoted"),
    [
        ("./my model", "'./my model'"),
        ("a;rm -rf b", "'a;rm -rf b'"),
        ("$HOME/x", "'$HOME/x'"),
        ("it's", "'it'\"'\"'s'"),
        ("/models/llama-3.1_8b", "/models/llama-3.1_8b"),
    ],
)
def test_the_line_is_quoted_for_a_shell(checkpoint: str, quoted: str) -> None:
    line = command_of(checkpoint, {"max-num-seqs": 1}, NEWEST)
    assert line == f"vllm serve {quoted} --max-num-seqs 1"
    assert shlex.split(line) == ["vllm", "serve", checkpoint, "--max-num-seqs", "1"]
