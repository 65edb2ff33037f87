"""What weight formats and KV caches keep: the fit, the evidence behind it, and what negative reports do."""

import math

import pytest

from vllm_opt.constraints.weights.breakdown import parameter_count
from vllm_opt.optimizer.fitting.quality.fit import key_of, rows_of, summary
from vllm_opt.optimizer.fitting.quality.regression import Row, fit, noise_of, size_of
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.quality import Quality
from vllm_opt.profiles.reading.data_files import read_data_file

CATALOG = Catalog()
TABLE = CATALOG.quality
NEWEST = CATALOG.engine()[0]
Z90 = 1.2815515655446004


def weights(model_id: str, quantization: str, checkpoint: str | None = None) -> Quality:
    model = CATALOG.model(model_id)
    return TABLE.weights(model, quantization, checkpoint, parameter_count(model) / 1e9)


def test_every_row_has_an_address_and_agrees_with_its_scores() -> None:
    rows = (*TABLE.evidence, *read_data_file("kv_cache_quality.json")["rows"])
    assert len(rows) > 600
    for row in rows:
        assert row["source"].startswith("https://")
        if row.get("baseline") and row.get("score") is not None and "recovery" in row:
            assert row["score"] / row["baseline"] == pytest.approx(row["recovery"], abs=2e-2)


def test_the_shipped_fit_is_that_of_the_shipped_rows() -> None:
    content = read_data_file("quality_evidence.json")
    rows = rows_of(content)
    again = summary(rows, content, fit(rows))
    for name, one in again["formats"].items():
        assert one["level"] == pytest.approx(TABLE.fit["formats"][name]["level"], abs=1e-5)
        assert one["slope"] == pytest.approx(TABLE.fit["formats"][name]["slope"], abs=1e-5)
    assert {row["id"] for row in again["checkpoints"]} == {row["id"] for row in TABLE.fit["checkpoints"]}
    assert key_of({"model": "a/b", "quantization": "awq"}) == "a/b awq"


def test_the_fit_finds_what_made_the_rows_and_draws_the_few_to_the_many() -> None:
    rows = [
        Row(
            f"{name}-{size}", name, "4", "4", size, level - 0.03 * size_of(size) + (0.004 if index % 2 else -0.004), 1.0
        )
        for name, level, count in (("many", -0.010, 40), ("few", -0.016, 2))
        for size in (1.0, 8.0, 70.0)
        for index in range(count)
    ]
    found = fit(rows)
    assert found.of({"slope 4": 1.0})[0] == pytest.approx(-0.03, abs=2e-3)
    many, few = (found.of({"level 4": 1.0, f"format {name}": 1.0})[0] for name in ("many", "few"))
    assert many == pytest.approx(-0.010, abs=1e-3)
    assert -0.0165 < few < many


def test_few_questions_and_low_scores_weigh_less() -> None:
    assert noise_of("mmlu", 70.0) == 1.0
    assert noise_of("aime25", 70.0) == pytest.approx(1000 / 30)
    assert noise_of("gpqa_diamond", 30.0) > noise_of("gpqa_diamond", 70.0) > 1.0


def test_larger_models_lose_less_and_eight_bits_less_than_four() -> None:
    by_size = [TABLE.pooled("w4a16", size).recovery or 0.0 for size in (1, 4, 8, 32, 70)]
    assert by_size == sorted(by_size)
    for size in (1.0, 8.0, 70.0):
        for eight in ("fp8", "fp8_block", "int8"):
            assert (TABLE.pooled(eight, size).recovery or 0) > (TABLE.pooled("awq", size).recovery or 0)
    # Where the published medians lie: 0.99 at 7 to 35 billion, 0.995 from 47 billion on.
    assert TABLE.pooled("w4a16", 20.0).recovery == pytest.approx(0.990, abs=0.004)
    assert TABLE.pooled("w4a16", 70.0).recovery == pytest.approx(0.995, abs=0.004)


@pytest.mark.parametrize("quantization", ["w4a16", "awq", "gptq"])
def test_published_int4_of_seven_billion_and_more_passes_the_default_floor(quantization: str) -> None:
    for model_id in (
        "Qwen/Qwen2.5-7B-Instruct",
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-32B",
        "meta-llama/Llama-3.1-70B-Instruct",
    ):
        low = weights(model_id, quantization).low(0.9)
        assert low is not None
        assert low >= 0.98, (model_id, low)
    low = weights("Qwen/Qwen3-1.7B", quantization).low(0.9)
    assert low is not None
    assert low < 0.98


def test_own_evidence_comes_before_the_pool_and_the_published_model_is_the_reference() -> None:
    own = weights("Qwen/Qwen3-32B", "w4a16", "RedHatAI/Qwen3-32B-quantized.w4a16")
    assert "6 published benchmarks of RedHatAI/Qwen3-32B-quantized.w4a16" in own.evidence
    assert "pooled over" in weights("Qwen/Qwen2.5-14B-Instruct", "gptq").evidence
    assert weights("openai/gpt-oss-20b", "mxfp4").recovery == 1.0
    assert weights("deepseek-ai/DeepSeek-R1", "fp8_block").recovery == 1.0
    assert (weights("nobody/Qwen3-8B-AWQ", "awq", "nobody/Qwen3-8B-AWQ").recovery or 1.0) < 1.0
    assert weights("Qwen/Qwen3-8B", "mxfp8").recovery is None


def test_intervals_are_of_the_mean() -> None:
    quality = Quality(log_mean=math.log(0.99), log_deviation=0.004)
    assert quality.low(0.9) == pytest.approx(0.99 * math.exp(-Z90 * 0.004))
    low, high = quality.interval(0.9) or (0, 0)
    assert (low, high) == (
        pytest.approx(0.99 * math.exp(-1.6448536 * 0.004)),
        pytest.approx(0.99 * math.exp(1.6448536 * 0.004)),
    )


@pytest.mark.parametrize(
    ("model_id", "version", "capability", "long", "expected"),
    [
        ("Qwen/Qwen3-32B", None, (9, 0), False, 0.988),
        ("Qwen/Qwen3-32B", None, (9, 0), True, 0.958),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.8.5", (8, 9), False, 0.988),
        ("meta-llama/Llama-3.1-8B-Instruct", "0.8.5", (9, 0), True, None),
        ("Qwen/Qwen2.5-7B-Instruct", None, (9, 0), False, None),
        ("google/gemma-3-12b-it", None, (9, 0), False, None),
        ("deepseek-ai/DeepSeek-V3", None, (9, 0), False, None),
        ("nvidia/Qwen3-235B-A22B-NVFP4", None, (10, 0), False, 1.0),
    ],
)
def test_an_fp8_cache_by_attention_release_card_and_context(
    model_id: str, version: str | None, capability: tuple[int, int], long: bool, expected: float | None
) -> None:
    quality = TABLE.kv_cache(CATALOG.model(model_id), "fp8", CATALOG.engine(version)[0], capability, long=long)
    assert quality.recovery == (None if expected is None else pytest.approx(expected, abs=2e-3))
    if expected is None:
        assert "negative reports" in quality.evidence
        assert "https://" in quality.evidence


def test_a_sixteen_bit_cache_loses_nothing() -> None:
    for dtype in ("auto", "bfloat16", "float16"):
        assert TABLE.kv_cache(CATALOG.model("Qwen/Qwen2.5-7B"), dtype, NEWEST, (9, 0), long=True).recovery == 1.0
    assert TABLE.kv_cache(CATALOG.model("Qwen/Qwen3-8B"), "nvfp4", NEWEST, (10, 0), long=False).recovery is None
