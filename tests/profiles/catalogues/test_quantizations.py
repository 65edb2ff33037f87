"""Weight formats and KV-cache dtypes: sizes, spellings, hardware."""

import pytest

from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest, UnknownProfile
from vllm_opt.profiles.nouns.kv_cache_dtype import KvCacheDtype
from vllm_opt.profiles.nouns.quantization import Quantization
from vllm_opt.profiles.reading.name_index import lookup_key

CATALOG = Catalog()
LLAMA_8B_QUANTISED_WEIGHTS = 32 * (4096 * (4096 + 2 * 1024) + 4096 * 4096 + 3 * 4096 * 14336)
GIB = 2**30


@pytest.mark.parametrize("row", CATALOG.quantizations, ids=lambda row: row.id)
def test_every_format_has_sources_and_sane_numbers(row: Quantization) -> None:
    assert row.sources
    assert all(source.startswith("https://") for source in row.sources)
    assert 4 <= row.weight_bits <= 16
    assert row.weight_bits <= row.effective_bits <= row.weight_bits + 0.7
    assert (row.group_size is None) == (row.scale_granularity in ("none", "tensor", "channel"))
    assert row.min_capability is None or (6, 0) <= row.min_capability <= (9, 0)
    assert row.native_capability is None or row.native_capability >= (row.min_capability or (0, 0))
    assert row.quantizes_at_load == bool(row.load_flags)
    assert row.load_flag in (None, *(flag.value for flag in row.load_flags))


@pytest.mark.parametrize(
    ("name", "effective_bits"),
    [
        ("bf16", 16),
        ("fp8", 8),
        ("fp8_block", 8 + 32 / 16384),
        ("mxfp8", 8.25),
        ("int8_w8a16", 8.125),
        ("awq", 4.15625),
        ("gptq", 4.15625),
        ("gptq_int8", 8.1875),
        ("w4a16", 4.125),
        ("nvfp4", 4.5),
        ("mxfp4", 4.25),
        ("gguf", 144 * 8 / 256),
        ("gguf_q6_k", 210 * 8 / 256),
        ("gguf_q8_0", 34 * 8 / 32),
    ],
)
def test_bits_per_weight(name: str, effective_bits: float) -> None:
    assert CATALOG.quantization(name).effective_bits == effective_bits


@pytest.mark.parametrize(("name", "gib"), [("awq", 5.3345), ("gptq", 5.3345), ("gptq_int8", 8.610), ("w4a16", 5.309)])
def test_bits_reproduce_llama_8b_as_vllm_allocates_it(name: str, gib: float) -> None:
    unquantised = 2 * (2 * 128256 * 4096 + 65 * 4096)
    quantised = LLAMA_8B_QUANTISED_WEIGHTS * CATALOG.quantization(name).effective_bits / 8
    assert (unquantised + quantised) / GIB == pytest.approx(gib, abs=6e-4)


def test_fp8_has_a_scale_per_channel_and_a_per_tensor_variant() -> None:
    fp8, per_tensor = CATALOG.quantization("fp8"), CATALOG.quantization("fp8_per_tensor")
    assert (fp8.scale_granularity, fp8.scale_bytes) == ("channel", 4)
    assert (per_tensor.scale_granularity, per_tensor.scale_bytes) == ("tensor", 4)
    assert (fp8.min_capability, fp8.native_capability) == ((7, 5), (8, 9))
    assert fp8.load_flag == "fp8_per_channel"
    assert [(flag.value, flag.until) for flag in fp8.load_flags] == [("fp8", "0.19.0"), ("fp8_per_channel", None)]


def test_hardware_limits() -> None:
    assert CATALOG.quantization("int8").capability_below == (10, 0)
    assert CATALOG.quantization("w4a8").min_capability == (9, 0)
    assert CATALOG.quantization("mxfp4").min_capability == (8, 0)
    assert CATALOG.quantization("mxfp4").activation_dtypes == ("bfloat16",)
    assert CATALOG.quantization("gptq").min_capability == (6, 0)
    assert CATALOG.quantization("bitsandbytes").vllm_until == "0.27.1"
    assert "amd" not in CATALOG.quantization("nvfp4").vendors
    assert "amd" in CATALOG.quantization("fp8").vendors


@pytest.mark.parametrize(
    ("name", "row_id"),
    [
        ("AWQ", "awq"),
        ("awq_marlin", "awq"),
        ("auto_gptq", "gptq"),
        ("W8A8", "int8"),
        ("FP8-dynamic", "fp8"),
        ("fp16", "bf16"),
        ("modelopt_fp4", "nvfp4"),
        ("gpt_oss_mxfp4", "mxfp4"),
        ("int4", "w4a16"),
        ("fp8_per_block", "fp8_block"),
    ],
)
def test_other_spellings(name: str, row_id: str) -> None:
    assert CATALOG.quantization(name).id == row_id


def test_no_spelling_means_two_formats() -> None:
    owner: dict[str, str] = {}
    for row in CATALOG.quantizations:
        for name in (row.id, *row.names):
            assert owner.setdefault(lookup_key(name), row.id) == row.id, name


def test_unknown_and_container_formats() -> None:
    with pytest.raises(UnknownProfile, match="quantization 'fp9' is unknown; did you mean 'fp8'"):
        CATALOG.quantization("fp9")
    with pytest.raises(InvalidRequest, match="'compressed-tensors' can hold several formats; name the one inside"):
        CATALOG.quantization("compressed_tensors")


def test_words_without_numbers_are_kept() -> None:
    assert any("lossless" in note for note in CATALOG.quantization("fp8").evidence_notes)


@pytest.mark.parametrize("row", CATALOG.kv_cache_dtypes, ids=lambda row: row.id)
def test_every_kv_cache_dtype_has_sources(row: KvCacheDtype) -> None:
    assert all(source.startswith("https://") for source in row.sources)
    assert row.element_bits in (None, 4, 8, 16)


def test_kv_cache_dtypes() -> None:
    assert CATALOG.kv_cache_dtype("fp8_e4m3").id == "fp8"
    assert CATALOG.kv_cache_dtype("FP8").min_capability == (8, 0)
    assert CATALOG.kv_cache_dtype("nvfp4").min_capability == (10, 0)
    assert not CATALOG.kv_cache_dtype("nvfp4").supports_latent_attention
    with pytest.raises(UnknownProfile, match="KV-cache dtype 'fp7' is unknown; did you mean 'fp8'"):
        CATALOG.kv_cache_dtype("fp7")


def test_every_kv_cache_dtype_of_the_newest_release_is_known() -> None:
    newest, _ = CATALOG.engine()
    for name in newest.kv_cache_dtypes:
        assert CATALOG.kv_cache_dtype(name).id
