"""Engine profiles: what each vLLM release's own parser and source say."""

import pytest

from vllm_opt.constraints.decisions.engine_defaults import batch_defaults
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.engine import EngineProfile, FlagSpec

VERSIONS = (
    "0.6.6", "0.7.3", "0.8.0", "0.8.1", "0.8.2", "0.8.3", "0.8.4", "0.8.5", "0.9.2", "0.10.0", "0.10.1", "0.10.2",
    "0.11.0", "0.11.2", "0.12.0", "0.13.0", "0.14.0", "0.16.0", "0.17.0", "0.18.0", "0.19.0", "0.20.0", "0.20.2",
    "0.21.0", "0.22.0", "0.22.1", "0.23.0", "0.24.0", "0.25.0", "0.25.1", "0.26.0", "0.27.0", "0.28.0", "0.29.0",
    "0.30.0", "0.31.0", "0.32.0", "0.33.0",
)  # fmt: skip


def engine(version: str, which: str | None = None) -> EngineProfile:
    return Catalog().engine(version, which)[0]  # type: ignore[arg-type]


def flag(version: str, name: str) -> FlagSpec | None:
    return next((spec for spec in engine(version).flags if spec.name == name), None)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_release_has_the_flags_a_plan_is_made_of(version: str) -> None:
    names = {spec.name for spec in engine(version).flags}
    assert {"tensor-parallel-size", "pipeline-parallel-size", "gpu-memory-utilization", "max-model-len", "max-num-seqs",
            "max-num-batched-tokens", "kv-cache-dtype", "quantization", "enforce-eager", "block-size",
            "enable-prefix-caching", "enable-chunked-prefill", "num-gpu-blocks-override"} <= names  # fmt: skip


@pytest.mark.parametrize("version", VERSIONS)
def test_flag_names_and_removed_flags_are_consistent(version: str) -> None:
    profile = engine(version)
    names = [spec.name for spec in profile.flags]
    assert len(names) == len(set(names))
    assert not set(profile.removed_flags) & set(names)
    assert all(sentence.endswith(".") for sentence in profile.removed_flags.values())
    spellings = [s for spec in profile.flags for s in (f"--{spec.name}", *spec.short, *spec.negative)]
    assert len(spellings) == len(set(spellings))


@pytest.mark.parametrize(
    ("version", "utilization"),
    [("0.6.6", 0.90), ("0.11.0", 0.90), ("0.19.0", 0.90), ("0.20.0", 0.92), ("0.33.0", 0.92)],
)
def test_utilization_rose_in_0_20(version: str, utilization: float) -> None:
    assert engine(version).gpu_memory_utilization == utilization
    spec = flag(version, "gpu-memory-utilization")
    assert spec is not None
    assert (spec.kind, spec.default) == ("float", utilization)


def test_swap_space_is_real_then_without_effect_then_gone() -> None:
    assert engine("0.6.6").swap_space == "capacity"
    assert engine("0.8.5", "v0").swap_space == "capacity"
    assert engine("0.8.5", "v1").swap_space == "no_effect"
    assert engine("0.17.0").swap_space == "no_effect"
    assert engine("0.18.0").swap_space == "absent"
    assert flag("0.17.0", "swap-space") is not None
    assert flag("0.18.0", "swap-space") is None
    assert "kv-offloading-size" in engine("0.33.0").removed_flags["swap-space"]


@pytest.mark.parametrize(
    ("version", "choices"),
    [
        ("0.6.6", (8, 16, 32, 64, 128)),
        ("0.11.0", (1, 8, 16, 32, 64, 128)),
        ("0.16.0", (1, 8, 16, 32, 64, 128, 256)),
        ("0.18.0", None),
        ("0.33.0", None),
    ],
)
def test_block_size_choices(version: str, choices: tuple[int, ...] | None) -> None:
    profile, spec = engine(version), flag(version, "block-size")
    assert profile.block_size_choices == choices
    assert spec is not None
    assert (spec.choices is None) == (choices is None)
    if choices is not None and spec.choices is not None:
        assert tuple(int(choice) for choice in spec.choices) == choices


def test_graphs_joined_the_budget_in_0_20_and_the_null_block_in_0_29() -> None:
    assert [engine(v).graphs_in_budget for v in ("0.18.0", "0.19.0", "0.20.0", "0.33.0")] == [False, False, True, True]
    assert [engine(v).null_block_in_fit_check for v in ("0.28.0", "0.29.0", "0.33.0")] == [False, True, True]


def test_printed_tokens_and_window_in_flight_by_release() -> None:
    assert engine("0.20.0").printed_tokens == "blocks_over_groups"
    assert engine("0.21.0").printed_tokens == "concurrency_times_length"
    assert engine("0.21.0").sliding_window_in_flight == "one_batch"
    assert engine("0.26.0").sliding_window_in_flight == "concurrent_batches"
    assert engine("0.6.6").sliding_window_in_flight == "none"


def test_batch_tiers_by_release() -> None:
    def tiers(version: str) -> list[tuple[float, int, int]]:
        rows = engine(version).batch_defaults
        return [(row.min_memory_gib, row.max_num_batched_tokens, row.max_num_seqs) for row in rows]

    assert tiers("0.27.0") == [(70, 8192, 1024), (0, 2048, 256)]
    assert tiers("0.28.0") == [(160, 16384, 1024), (70, 8192, 1024), (0, 2048, 256)]
    assert engine("0.8.5").batch_defaults[0].excluded_names == ()
    assert engine("0.9.2").batch_defaults[0].excluded_names == ("a100",)


def test_capture_sizes_by_release() -> None:
    assert engine("0.33.0").graph_capture.max_size_capability_10 == 1024
    assert engine("0.26.0").graph_capture.max_size_capability_10 == 512
    assert engine("0.10.2").graph_capture.full_graphs is False
    assert engine("0.6.6").graph_capture.sequences_factor == 1


def test_flag_spellings_of_0_33() -> None:
    prefix = flag("0.33.0", "enable-prefix-caching")
    assert prefix is not None
    assert prefix.kind == "bool"
    assert prefix.negatable
    assert set(prefix.negative) == {"--disable-prefix-caching", "--no-enable-prefix-caching"}
    length = flag("0.33.0", "max-model-len")
    assert length is not None
    assert length.kind == "human_int"
    tensor = flag("0.33.0", "tensor-parallel-size")
    assert tensor is not None
    assert (tensor.short, tensor.default) == (("-tp",), 1)
    utilization = flag("0.33.0", "gpu-memory-utilization")
    assert utilization is not None
    assert utilization.short == ("--device-memory-utilization",)
    assert flag("0.33.0", "max-num-partial-prefills") is None
    assert "nvfp4" in engine("0.33.0").kv_cache_dtypes
    assert "bitsandbytes" not in engine("0.33.0").quantizations
    assert "bitsandbytes" in engine("0.26.0").quantizations


def test_interpolated_fields_are_named_where_no_wheel_exists() -> None:
    assert "flags.choices" in engine("0.22.0").interpolated
    assert engine("0.33.0").interpolated == ()


@pytest.mark.parametrize("version", [v for v in VERSIONS if v >= "0.8" or v.startswith("0.1")])
def test_a_release_that_image_tags_name_has_a_profile_of_its_own(version: str) -> None:
    assert Catalog().engine(version)[1] is None


def test_flags_come_and_go_with_their_release() -> None:
    """Read from each release's own parser."""
    assert flag("0.23.0", "watermark") is None
    assert flag("0.25.1", "watermark") is not None
    assert flag("0.25.1", "device-ids") is not None
    assert flag("0.10.0", "async-scheduling") is not None
    assert flag("0.10.0", "enable-reasoning") is None
    assert flag("0.8.1", "speculative-config") is None
    assert flag("0.8.2", "speculative-config") is not None
    assert flag("0.8.2", "data-parallel-size") is None
    assert flag("0.8.3", "data-parallel-size") is not None
    assert flag("0.11.0", "kv-offloading-size") is None
    assert flag("0.11.2", "kv-offloading-size") is not None


def test_v1_was_the_default_from_0_8_0_and_v0_stayed_beside_it() -> None:
    assert engine("0.8.0").engine == "v1"
    assert engine("0.8.0", "v0").engine == "v0"
    assert engine("0.8.4", "v0").swap_space == "capacity"
    assert engine("0.8.0").kv_cache_dtypes == ("auto",)


@pytest.mark.parametrize(
    ("version", "gpu", "tokens", "sequences"),
    [
        ("0.8.0", "h100-sxm", 8192, 1024),
        ("0.8.0", "a100-sxm-80gb", 2048, 1024),
        ("0.8.3", "b200", 2048, 1024),
        ("0.8.4", "h200-sxm", 8192, 1024),
        ("0.8.4", "a100-sxm-80gb", 2048, 256),
        ("0.8.5", "b200", 8192, 1024),
    ],
)
def test_batch_tiers_of_0_8_go_by_device_name(version: str, gpu: str, tokens: int, sequences: int) -> None:
    tier = batch_defaults(engine(version), Catalog().gpu(gpu))
    assert (tier.max_num_batched_tokens, tier.max_num_seqs) == (tokens, sequences)


def test_hybrid_prefix_caching_became_the_default_in_0_26() -> None:
    assert [engine(v).prefix_caching_default_hybrid for v in ("0.22.0", "0.25.1", "0.26.0")] == [False, False, True]


@pytest.mark.parametrize(
    ("version", "taken", "why"),
    [
        ("0.15.1", "0.14", "has no profile of its own"),
        ("0.34.0", "0.33", "newer than every profile"),
        ("0.5.4", "0.6.6", "older than every profile"),
    ],
)
def test_a_release_without_a_profile_says_so(version: str, taken: str, why: str) -> None:
    profile, note = Catalog().engine(version)
    assert profile.version == taken
    assert note is not None
    assert why in note


@pytest.mark.parametrize(
    ("version", "era"),
    [
        ("0.8.5", "0.8"),
        ("0.16.0", "0.13"),
        ("0.17.0", "0.17"),
        ("0.19.0", "0.18"),
        ("0.28.0", "0.27"),
        ("0.33.0", "0.33"),
    ],
)
def test_start_up_constants_follow_the_release(version: str, era: str) -> None:
    assert engine(version).startup.from_release == era
    assert engine(version).startup.engine == "v1"


RETURNS = frozenset((
    "cold_compile", "model_runner_v2_estimates_graphs", "sampler_warmup_bytes_per_logit", "state_blocks_cover_captures",
))  # fmt: skip
"""What a release took up and a later one dropped: compiling in the profile, graphs without estimate, an assertion."""


@pytest.mark.parametrize(
    "field",
    sorted(
        set(EngineProfile.model_fields)
        - RETURNS
        - {"version", "released", "interpolated", "sources", "flags", "removed_flags", "startup_texts", "engine"}
    ),
)
def test_a_fact_of_a_release_does_not_come_back_after_it_changed(field: str) -> None:
    """A file between two others that agree must agree with them: a rule left out of it would be a hole."""
    values = [
        repr(getattr(engine(version, "v1"), field)) for version in VERSIONS if version >= "0.8" or version[2] == "1"
    ]
    runs = [value for at, value in enumerate(values) if at == 0 or value != values[at - 1]]
    assert len(runs) == len(set(runs))


@pytest.mark.parametrize(
    ("version", "refuses"),
    [("0.19.0", False), ("0.20.0", True), ("0.20.2", True), ("0.22.1", True), ("0.24.0", True), ("0.25.1", True),
     ("0.28.0", True), ("0.30.0", True), ("0.31.0", True), ("0.33.0", True)],
)  # fmt: skip
def test_since_0_20_a_sequence_with_states_needs_a_block_of_its_own(version: str, refuses: bool) -> None:
    """Read from each wheel's config/compilation.py; public reports with 0.22 and 0.25.1 were refused for it."""
    assert engine(version).state_blocks_cover_sequences is refuses
