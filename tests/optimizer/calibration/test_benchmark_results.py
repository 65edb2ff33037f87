"""Benchmark results of every format become the same points."""

import json
from pathlib import Path
from typing import Any

from vllm_opt.optimizer.calibration.point import BenchmarkPoint
from vllm_opt.optimizer.calibration.reading import Readings, read_all
from vllm_opt.optimizer.calibration.sources import files_of

SERVE: dict[str, Any] = {
    "date": "20260102-030405", "backend": "vllm", "model_id": "Qwen/Qwen3-8B", "num_prompts": 64, "request_rate": "inf",
    "burstiness": 1.0, "max_concurrency": 8, "duration": 20.0, "completed": 64, "total_input_tokens": 65536,
    "total_output_tokens": 16384, "request_throughput": 3.2, "output_throughput": 819.2, "mean_ttft_ms": 61.0,
    "median_ttft_ms": 55.0, "p99_ttft_ms": 200.0, "mean_tpot_ms": 9.1, "median_tpot_ms": 9.0, "mean_itl_ms": 9.0,
}  # fmt: skip


def points_of(folder: Path, **stated: object) -> list[BenchmarkPoint]:
    """Every point of a folder."""
    readings: Readings = read_all(files_of((str(folder),)))
    return [point for _, point in readings.points(stated)]


def test_vllm_bench_serve(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(SERVE))
    (point,) = points_of(tmp_path, gpu="h100-sxm", tensor_parallel_size=2)
    assert (point.model, point.gpu, point.tensor_parallel_size) == ("Qwen/Qwen3-8B", "h100-sxm", 2)
    assert (point.kind, point.load, point.input_tokens, point.output_tokens) == ("closed", 8, 1024, 256)
    assert point.measured == {"ttft": 55.0, "tpot": 9.0, "throughput": 819.2}


def test_metadata_of_a_result_wins_over_what_is_stated(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({**SERVE, "gpu": "l40s", "tensor_parallel_size": "4"}))
    (point,) = points_of(tmp_path, gpu="h100-sxm", tensor_parallel_size=2)
    assert (point.gpu, point.tensor_parallel_size) == ("l40s", 4)


def test_rates_bursts_and_servers_that_fell_behind(tmp_path: Path) -> None:
    slow = {"request_rate": 2.0, "request_throughput": 1.98, "max_concurrency": None}
    behind = {"request_rate": 9.0, "request_throughput": 3.0}
    at_once = {"num_prompts": 8, "completed": 8, "total_input_tokens": 8192, "total_output_tokens": 2048}
    for name, change in (("a", slow), ("b", behind), ("c", at_once)):
        (tmp_path / f"{name}.json").write_text(json.dumps({**SERVE, **change}))
    assert [(point.kind, point.load) for point in points_of(tmp_path)] == [("open", 2.0), ("closed", 8), ("burst", 8)]


def test_a_sweep_folder_counts_each_run_once(tmp_path: Path) -> None:
    run = tmp_path / "20260102_030405" / "SERVE--max-num-seqs=32-BENCH--max-concurrency=8"
    run.mkdir(parents=True)
    for number in range(2):
        record = {**SERVE, "max-num-seqs": 32, "run_number": number, "median_tpot_ms": 9.0 + number}
        (run / f"run={number}.json").write_text(json.dumps(record))
    (run / "summary.json").write_text(json.dumps([SERVE, SERVE]))
    (tmp_path / "20260102_030405" / "summary.csv").write_text(
        "max_concurrency,median_tpot_ms,median_ttft_ms,x\n8,9,55,1\n"
    )
    points = points_of(tmp_path)
    assert [(point.max_num_seqs, point.measured["tpot"]) for point in points] == [(32, 9.0), (32, 10.0)]


def test_guidellm(tmp_path: Path) -> None:
    def spread(value: float) -> dict[str, Any]:
        return {"successful": {"mean": value * 1.1, "median": value}, "errored": {"mean": 0}}

    report = {
        "metadata": {"version": 1}, "args": {"model": "Qwen/Qwen3-8B", "target": "http://localhost:8000"},
        "benchmarks": [
            {
                "config": {"strategy": strategy},
                "metrics": {
                    "time_to_first_token_ms": spread(50), "inter_token_latency_ms": spread(9),
                    "output_tokens_per_second": spread(800), "request_latency": spread(2.4),
                    "prompt_token_count": spread(1000), "output_token_count": spread(250),
                },
            }
            for strategy in ({"type_": "concurrent", "streams": 8}, {"type_": "constant", "rate": 3.0},
                             {"type_": "synchronous"})
        ],
    }  # fmt: skip
    (tmp_path / "benchmarks.json").write_text(json.dumps(report))
    points = points_of(tmp_path)
    assert [(point.kind, point.load) for point in points] == [("closed", 8), ("open", 3.0), ("closed", 1)]
    assert points[0].measured == {"ttft": 50, "tpot": 9, "e2e": 2400.0, "throughput": 800}
    assert (points[0].model, points[0].input_tokens, points[0].output_tokens) == ("Qwen/Qwen3-8B", 1000, 250)


def test_inferencex_rows_are_in_seconds_and_per_gpu(tmp_path: Path) -> None:
    row = {
        "hw": "h200", "model": "Qwen/Qwen3-8B", "framework": "vllm", "precision": "fp8", "tp": 4, "ep": 1, "conc": 16,
        "isl": 1024, "osl": 1024, "image": "vllm/vllm-openai:v0.13.0", "median_ttft": 0.12, "median_tpot": 0.011,
        "output_tput_per_gpu": 250.0,
    }  # fmt: skip
    other = {**row, "framework": "sglang"}
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(one) for one in (row, other)))
    readings = read_all(files_of((str(tmp_path),)))
    ((_, point),) = readings.points({})
    assert (point.gpu, point.vllm_version, point.quantization, point.load) == ("h200", "0.13.0", "fp8", 16)
    assert point.measured == {"ttft": 120.0, "tpot": 11.0, "throughput": 1000.0}
    assert readings.sources()[0].unused == {"measured on sglang, not on vLLM": 1}


def test_csv(tmp_path: Path) -> None:
    (tmp_path / "ours.csv").write_text(
        "model,gpu,tp,users,input_tokens,output_tokens,ttft_ms,tpot_ms,comment\n"
        'Qwen/Qwen3-8B,l4,1,4,"1,024",128,210.5,33,"a, b"\n'
        "Qwen/Qwen3-8B,l4,1,8,1024,128,,,none\n"
    )
    readings = read_all(files_of((str(tmp_path / "ours.csv"),)))
    ((_, point),) = readings.points({})
    assert (point.load, point.input_tokens, point.measured) == (4, 1024, {"ttft": 210.5, "tpot": 33})
    assert readings.sources()[0].unused == {"no TTFT, TPOT or throughput in it": 1}
