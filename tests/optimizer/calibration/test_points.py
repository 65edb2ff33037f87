"""What a measured point must say to be compared, what is compared of it, and how the report says so."""

from typing import Any

import pytest

from vllm_opt.optimizer.calibration.observe import NotComparable, cache_dtype, comparable, known_gpu, observation_of
from vllm_opt.optimizer.calibration.point import BenchmarkPoint
from vllm_opt.optimizer.calibration.render import render_calibration
from vllm_opt.optimizer.calibration.report import CalibrationReport, Comparison, Gain, SourceReport
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration, MemoryTerm, SpeedFactors, SpeedTerm

CATALOG = Catalog()
SERVED: dict[str, Any] = {
    "model": "Qwen/Qwen3-8B", "gpu": "l40s", "vllm_version": "0.19", "load": 8.0, "input_tokens": 512.0,
    "output_tokens": 64.0, "measured": {"ttft": 100.0, "tpot": 20.0, "throughput": 400.0, "e2e": 1360.0},
}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": None}, "the model is not stated; give --model"),
        ({"model": "who/knows-what"}, "the catalogue holds no model 'who/knows-what'; give --model"),
        ({"gpu": None}, "the GPU is not stated; give --gpu"),
        ({"gpu": "a-toaster"}, "the catalogue holds no GPU 'a-toaster'; give --gpu"),
        ({"quantization": "q9_k"}, "the weight format 'q9_k' is not known; give --quantization"),
        ({"vllm_version": "none"}, "no profile stands for vLLM none"),
        ({"input_tokens": None}, "the lengths are not stated; give --input-tokens and --output-tokens"),
        ({"output_tokens": 1.0}, "the lengths are not stated; give --input-tokens and --output-tokens"),
        ({"load": None}, "the load is not stated; give --concurrency"),
        ({"pipeline_parallel_size": 2}, "pipeline stages take no part in a calibration"),
    ],
)
def test_what_a_point_lacks_is_one_clause(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(NotComparable) as caught:
        observation_of(BenchmarkPoint(**{**SERVED, **changes}), "ours.json", CATALOG)
    assert str(caught.value) == said


def test_load_and_throughput_are_those_of_one_engine() -> None:
    point = BenchmarkPoint(**{**SERVED, "replicas": 2, "data_parallel_size": 2, "load": 20.0})
    found = observation_of(point, "ours.json", CATALOG)
    assert (found.load, found.measured["throughput"]) == (5.0, 100.0)
    assert found.data_parallel_size == 1  # dense replicas of one server do not wait for each other
    spread = observation_of(BenchmarkPoint(**{**SERVED, "data_parallel_size": 2, "enable_expert_parallel": True}),
                            "ours.json", CATALOG)  # fmt: skip
    assert spread.data_parallel_size == 2
    assert observation_of(BenchmarkPoint(**{**SERVED, "replicas": 16}), "ours.json", CATALOG).load == 1.0


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("closed", {"ttft", "tpot", "throughput"}), ("burst", {"ttft", "tpot"}), ("open", {"ttft", "tpot"}),
        ("offline", {"throughput"}),
    ],
)  # fmt: skip
def test_what_the_model_predicts_of_each_kind_of_load(kind: str, kept: set[str]) -> None:
    assert set(comparable(BenchmarkPoint(**{**SERVED, "kind": kind}), 1)) == kept


def test_end_to_end_counts_where_it_is_all_there_is() -> None:
    assert comparable(BenchmarkPoint(**{**SERVED, "measured": {"e2e": 1360.0}}), 1) == {"e2e": 1360.0}


@pytest.mark.parametrize(("name", "dtype"), [(None, "auto"), ("auto", "auto"), ("FP8_E4M3", "fp8"), ("bf16", "auto")])
def test_words_for_the_kv_cache(name: str | None, dtype: str) -> None:
    assert cache_dtype(name) == dtype


@pytest.mark.parametrize(
    ("name", "sku"), [("NVIDIA L40S", "l40s"), ("h100-dgxc", "h100-sxm"), ("", None), (None, None), ("toaster", None)]
)
def test_names_of_cards_in_results(name: str | None, sku: str | None) -> None:
    found = known_gpu(name, CATALOG)
    assert (found.id if found else None) == sku


def comparison(term: str, unit: str, measured: float, predicted: float) -> Comparison:
    return Comparison(
        file="a.json", model="m", gpu="l40s", what="8 users", term=term, unit=unit, measured=measured,
        predicted=predicted,
    )  # fmt: skip


def test_the_report_reads_as_it_should() -> None:
    report = CalibrationReport(
        calibration_file="/tmp/ours.json", written=False, points_before=0, points=2,
        sources=(
            SourceReport(file="a.json", kind="benchmark", used=2, unused={"the load is not stated": 3}),
            SourceReport(file="b.log", kind="startup log", used=1, lines=40, lines_not_understood=1, examples=("odd",)),
        ),
        comparisons=(
            comparison("tpot_ms", "ms", 20.0, 10.0), comparison("output_tokens_per_s", "tokens/s", 4000.0, 5000.0),
            comparison("weights_bytes", "bytes", 2.0**31, 2.0**30), comparison("ttft_ms", "ms", 0.0, 5.0),
            *(comparison("tpot_ms", "ms", 1.0, 1.0) for _ in range(200)),
        ),
        gains=(Gain(term="TPOT", points=2, before=0.25, after=0.05),),
        learned=(
            GpuCalibration(
                gpu="l40s",
                speed=(SpeedTerm(factors=SpeedFactors(), points=1),),
                memory=(
                    MemoryTerm(engine="v1", tensor_parallel_size=1, logs=2),
                    MemoryTerm(engine="v1", model="m", tensor_parallel_size=2, logs=1, activation=1.5,
                               non_torch_bytes=2**29),
                ),
            ),
        ),
        notes=("all is well",),
    )  # fmt: skip
    lines = render_calibration(report).splitlines()
    assert "  a.json: benchmark, 2 points compared" in lines
    assert "    not used (3): the load is not stated" in lines
    assert "  b.log: startup log, 1 start compared; 40 lines, 1 about memory not understood" in lines
    assert "    not understood: odd" in lines
    shown = {line.split()[0]: line.split()[1:] for line in lines if line.startswith("    ")}
    assert shown["output_tokens_per_s"] == ["4,000", "tok/s", "5,000", "tok/s", "+25%"]
    assert shown["weights_bytes"] == ["2.00", "GiB", "1.00", "GiB", "-50%"]
    assert shown["ttft_ms"] == ["0", "ms", "5", "ms", "-"]
    assert any(line.startswith("  and ") and line.endswith(" more; --format json lists all") for line in lines)
    assert "  TPOT                             25.0%    5.0%       2" in lines
    assert "  l40s, every model, 1 point: as shipped" in lines
    assert "  l40s, every model, TP 1: as shipped, 2 logs" in lines
    (learned,) = [line for line in lines if line.startswith("  l40s, m, TP 2: ")]
    assert " x 1.5, non-torch memory +0.50 GiB, 1 log" in learned
    assert lines[-2:] == ["Nothing was written to /tmp/ours.json.", "Note: all is well"]
