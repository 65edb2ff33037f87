"""`starts` and the confidence asked: what fits as a plain prediction may not start often enough."""

import pytest

from vllm_opt.constraints.memory.start_probability import Margin
from vllm_opt.optimizer import Estimate, EstimateRequest, estimate
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest

CATALOG = Catalog()
GIB = 2**30


def _run(**fields: object) -> Estimate:
    return estimate(EstimateRequest(**fields), CATALOG)  # type: ignore[arg-type]


def test_a_roomy_start_is_sure_and_a_hopeless_one_is_not() -> None:
    roomy = _run(gpu="h100", max_model_len=8192).starts
    assert roomy is not None
    assert roomy.probability > 0.99
    assert roomy.available_bytes > roomy.needed_bytes
    hopeless = _run(model="meta-llama/Llama-3.1-70B-Instruct", gpu="h100", max_model_len=8192)
    assert hopeless.starts is not None
    assert hopeless.starts.probability < 0.01
    assert not hopeless.fits


def test_the_probability_falls_as_the_context_grows_and_fits_follows_the_confidence() -> None:
    """Near the limit there is a context that half of the starts would hold: it fits at 0.5 and not at 0.99."""
    loose, strict = (_run(gpu="l4", max_model_len=2048, confidence=share) for share in (0.5, 0.99))
    longest, surest = loose.memory.max_supported_model_len, strict.memory.max_supported_model_len
    assert longest is not None
    assert surest is not None
    assert longest > surest
    between = (longest + surest) // 2
    found = {share: _run(gpu="l4", max_model_len=between, confidence=share) for share in (0.5, 0.99)}
    assert found[0.5].fits
    assert not found[0.99].fits
    assert found[0.5].starts is not None
    assert found[0.99].starts is not None
    assert 0.5 <= found[0.5].starts.probability <= 0.99
    assert found[0.5].starts.probability == pytest.approx(found[0.99].starts.probability)
    (violation,) = (item for item in found[0.99].violations if item.rule == "memory_budget")
    assert violation.needed is not None
    assert violation.available is not None
    assert violation.needed > violation.available


def test_the_longest_context_at_a_confidence_is_one_that_fits() -> None:
    for share in (0.5, 0.9, 0.99):
        longest = _run(gpu="l4", max_model_len=2048, confidence=share).memory.max_supported_model_len
        assert longest is not None
        assert _run(gpu="l4", max_model_len=longest, confidence=share).fits
        assert not _run(gpu="l4", max_model_len=longest + 64, confidence=share).fits


def _start(model: str, gpu: str, version: str, **fields: object) -> Estimate:
    return _run(model=model, gpu=gpu, vllm_version=version, **fields)


def test_a_limit_borrowed_from_another_model_refuses_nothing_for_sure() -> None:
    borrowed = _run(model="NousResearch/Hermes-3-Llama-3.1-8B", gpu="h100", max_model_len=200_000)
    own = _run(model="meta-llama/Llama-3.1-8B-Instruct", gpu="h100", max_model_len=200_000)
    assert (borrowed.fits, own.fits) == (False, False)
    assert borrowed.starts is not None
    assert own.starts is not None
    assert (borrowed.starts.probability, own.starts.probability) == (pytest.approx(0.5), 0.0)
    assert "the context limit of meta-llama/Meta-Llama-3.1-8B" in borrowed.violations[0].message
    assert (borrowed.startup_log, len(own.startup_log)) == ((), 1)


def test_graphs_that_a_runner_does_not_estimate_make_a_start_unsure() -> None:
    """vLLM issue 49224: Llama 70B FP8 on eight L40S started with 0.23 and ran out while capturing with 0.25.1."""
    fields = {"quantization": "fp8", "tensor_parallel_size": 8}
    before, after, mended = (
        _start("meta-llama/Llama-3.1-70B-Instruct", "l40s", version, **fields) for version in ("0.23", "0.25.1", "0.29")
    )
    assert (before.fits, after.fits, mended.fits) == (True, False, True)
    assert after.starts is not None
    assert 0.5 < after.starts.probability < 0.9
    assert [violation.rule for violation in after.violations] == ["startup_headroom"]


@pytest.mark.parametrize(
    ("gpu", "version", "eager", "sure"),
    [("rtx-pro-6000-server", "0.28", False, False), ("h200-sxm", "0.28", False, True),
     ("rtx-pro-6000-server", "0.28", True, True), ("rtx-pro-6000-server", "0.24", False, True)],
)  # fmt: skip
def test_an_empty_compile_cache_is_part_of_a_hybrids_chance(gpu: str, version: str, *, eager: bool, sure: bool) -> None:
    """vllm-project/recipes pull 831: on SM 12.0 every format of the 27B had 8.6 GiB less than a warm start has."""
    found = _start("nvidia/Qwen3.6-27B-NVFP4", gpu, version, enforce_eager=eager)
    assert found.starts is not None
    assert found.fits is sure
    assert (found.starts.probability > 0.95) is sure
    cold = [violation for violation in found.violations if "empty compile cache" in violation.message]
    assert len(cold) == (0 if sure else 1)
    if cold:
        assert cold[0].rule == "state_blocks"
        assert "8.59 GiB more" in cold[0].message


@pytest.mark.parametrize(
    ("spare", "cold", "expected"), [(10, 0, 1.0), (10, 10, 0.6), (-1, 10, 0.0), (20, 10, 0.8047), (0, 10, 0.2)]
)
def test_a_margin_is_the_mean_of_a_cold_and_a_warm_start(spare: int, cold: int, expected: float) -> None:
    """Without spread: warm the chance is 0 or 1, cold it is Phi(ln(spare / cold)); four of five starts are cold."""
    assert Margin(100, 100 + spare, 0, cold).probability == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("model", "gpu", "version", "more"),
    [
        ("Qwen/Qwen3.6-27B", "rtx-3090", "0.27", {"quantization": "fp8_block", "tensor_parallel_size": 2}),
        ("Qwen/Qwen3.6-27B", "rtx-5090", "0.27", {"quantization": "fp8_block", "tensor_parallel_size": 2}),
        ("Qwen/Qwen3.5-9B", "rtx-3090", "0.27.1", {"max_model_len": 24576, "gpu_memory_utilization": 0.94}),
    ],
)
def test_few_sequences_time_few_kernels(model: str, gpu: str, version: str, more: dict[str, object]) -> None:
    """Published starts with steps of 2,048 to 8,192 tokens and up to 8 sequences had all of their cache at once."""
    fields = {"max_model_len": 65536, "max_num_batched_tokens": 8192, "kv_cache_dtype": "fp8", **more}
    few = _start(model, gpu, version, max_num_seqs=8, **fields)
    many = _start(model, gpu, version, max_num_seqs=96, **fields)
    assert few.starts is not None
    assert many.starts is not None
    assert few.starts.probability > 0.98
    assert few.starts.probability > many.starts.probability


@pytest.mark.parametrize(
    ("model", "more", "likely"),
    [
        ("Qwen/Qwen3.8-27B", {"quantization": "fp8_block"}, False),  # 939 blocks, refused
        ("Qwen/Qwen3.8-27B", {"quantization": "nvfp4"}, False),  # 1,011 blocks, refused
        ("Qwen/Qwen3.8-27B", {"gpu_memory_utilization": 0.95}, False),  # 556 blocks, refused
        ("Qwen/Qwen3.8-27B", {"quantization": "fp8_block", "max_num_seqs": 256}, True),
    ],
)
def test_the_three_formats_of_a_recipe(model: str, more: dict[str, object], *, likely: bool) -> None:
    """vllm-project/recipes pull 831: defaults on an RTX PRO 6000, first start."""
    found = _start(model, "rtx-pro-6000-ws", "0.28", **more)
    assert found.starts is not None
    assert (found.starts.probability > 0.5) is likely


def test_eplb_needs_experts_that_are_dealt() -> None:
    found = _start("Qwen/Qwen3-30B-A3B", "h100-sxm", "0.33", enable_eplb=True)
    assert "EPLB requires --enable-expert-parallel" in found.violations[0].message
    assert _start("Qwen/Qwen3-30B-A3B", "h100-sxm", "0.33", enable_eplb=True, enable_expert_parallel=True,
                  data_parallel_size=2).fits  # fmt: skip


def test_performance_mode_throughput_doubles_what_is_not_given() -> None:
    """Row F-H100-70 of vLLM 0.33: 16,384 tokens and 2,048 sequences."""
    asked = _start("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", "0.33", performance_mode="throughput").request
    assert (asked["max_num_batched_tokens"], asked["max_num_seqs"]) == (16_384, 2_048)
    given = _start(
        "meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", "0.33", performance_mode="throughput", max_num_seqs=64
    ).request
    assert (given["max_num_batched_tokens"], given["max_num_seqs"]) == (16_384, 64)
    with pytest.raises(InvalidRequest, match=r"vLLM 0\.12 has no --performance-mode"):
        _start("meta-llama/Llama-3.1-8B-Instruct", "h100-sxm", "0.12", performance_mode="throughput")


def test_a_development_build_is_judged_by_both_releases_around_it() -> None:
    """vLLM pull 38632: main after 0.19 refused 1,024 sequences for 600 blocks, as 0.20 does and 0.19 does not."""
    fields = {"data_parallel_size": 2, "enable_expert_parallel": True}
    chances = {}
    for version in ("0.19.0", "0.19.1rc1.dev100+gabc", "0.19", "0.20"):
        found = _start("nvidia/Qwen3.5-397B-A17B-NVFP4", "b200", version, **fields)
        assert found.starts is not None
        chances[version] = (round(found.starts.probability, 2), found.fits)
    assert chances == {
        "0.19.0": (1.0, True), "0.19.1rc1.dev100+gabc": (0.5, False), "0.19": (0.5, False), "0.20": (0.0, False),
    }  # fmt: skip
    said = _start("nvidia/Qwen3.5-397B-A17B-NVFP4", "b200", "0.19", **fields).notes
    assert "builds of main that print 0.19.x may refuse this as vLLM 0.20 does; write 0.19.0 for the release" in said


def test_a_version_of_two_numbers_is_its_release_where_no_check_came_between() -> None:
    for model, version in (("Qwen/Qwen3-8B", "0.19"), ("nvidia/Qwen3.6-27B-NVFP4", "0.24")):
        rounded, exact = (_start(model, "rtx-pro-6000-server", name) for name in (version, f"{version}.0"))
        assert rounded.starts == exact.starts
    assert _start("Qwen/Qwen3.5-9B", "b200", "0.19", max_num_seqs=64).fits
