"""Measurements go in, better answers come out: learned, kept, named, and never against a rule."""

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.optimizer import CalibrateRequest, CalibrationReport, calibrate, estimate, solve
from vllm_opt.optimizer.cli.main import main
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.optimizer.space.setting import resolve_solve
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.own_calibration import GpuCalibration, MemoryTerm, OwnCalibration, SpeedFactors, SpeedTerm

SERVED: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": "l40s", "vllm_version": "0.19", "input_tokens": 1024,
                          "output_tokens": 256}  # fmt: skip
USERS = (1, 4, 8, 16, 24, 32, 48)
V1_LOG = """\
INFO [core.py:77] Initializing a V1 LLM engine (v0.11.0) with config: model='meta-llama/Llama-3.1-8B-Instruct', \
dtype=torch.bfloat16, max_seq_len=16384, tensor_parallel_size=1, quantization=None, kv_cache_dtype=auto
INFO [model.py:1] Model loading took 14.9889 GiB and 3.1 seconds
INFO [gpu_worker.py:298] Available KV cache memory: 49.50 GiB
INFO [gpu.py:1] Graph capturing finished in 5 secs, took 1.50 GiB
"""


def measured_on_a_slower_stack(folder: Path, users: tuple[int, ...] = USERS, slower: float = 1.4) -> list[str]:
    """Results as `vllm bench serve` writes them, of a machine on which every step takes longer than predicted."""
    names = []
    for count in users:
        speed = estimate(EstimateRequest(**SERVED, concurrency=count, calibration=False)).performance
        assert speed is not None
        assert speed.tpot_ms is not None
        result = {
            "model_id": SERVED["model"], "max_concurrency": count, "completed": 8 * count, "request_rate": "inf",
            "total_input_tokens": 8192 * count, "total_output_tokens": 2048 * count, "num_prompts": 8 * count,
            "median_ttft_ms": slower * speed.ttft_ms, "median_tpot_ms": slower * speed.tpot_ms,
            "output_throughput": speed.output_tokens_per_s / slower,
        }  # fmt: skip
        file = folder / f"users-{count}.json"
        file.write_text(json.dumps(result))
        names.append(str(file))
    return names


def learned_from(files: list[str], place: Path, **more: Any) -> CalibrationReport:
    """Calibrate with what the results do not say of the machine."""
    return calibrate(
        CalibrateRequest(files=files, calibration_file=str(place), gpu="l40s", vllm_version="0.19", **more)
    )


@pytest.mark.parametrize(("users", "off"), [(USERS[::2], 0.12), (USERS, 0.06)], ids=["few points", "regression"])
def test_later_answers_come_near_what_was_measured(users: tuple[int, ...], off: float, tmp_path: Path) -> None:
    place = tmp_path / "ours.json"
    report = learned_from(measured_on_a_slower_stack(tmp_path, users), place)
    assert report.written
    assert report.points == len(users)
    asked = {**SERVED, "concurrency": 12}
    before = estimate(EstimateRequest(**asked)).performance
    found = estimate(EstimateRequest(**asked, calibration_file=str(place)))
    after = found.performance
    assert before is not None
    assert after is not None
    assert before.tpot_ms is not None
    assert after.tpot_ms == pytest.approx(1.4 * before.tpot_ms, rel=off)
    assert after.basis == "measured"
    low, high = after.interval["tpot_ms"]
    assert math.log(high / low) < math.log(before.interval["tpot_ms"][1] / before.interval["tpot_ms"][0])
    assert any(str(place) in note and f"{len(users)} benchmark points" in note for note in found.notes)


def test_no_calibration_leaves_it_out_and_other_skus_do_not_move(tmp_path: Path) -> None:
    place = tmp_path / "ours.json"
    learned_from(measured_on_a_slower_stack(tmp_path), place)
    plain = estimate(EstimateRequest(**SERVED, calibration=False))
    assert estimate(EstimateRequest(**SERVED, calibration=False, calibration_file=str(place))).performance == (
        plain.performance
    )
    other = {**SERVED, "gpu": "h100-sxm"}
    with_file = estimate(EstimateRequest(**other, calibration_file=str(place)))
    assert with_file.performance == estimate(EstimateRequest(**other)).performance
    assert not any("your own" in note for note in with_file.notes)


def test_what_was_learned_stays_and_grows(tmp_path: Path) -> None:
    place = tmp_path / "ours.json"
    files = measured_on_a_slower_stack(tmp_path)
    learned_from(files[:3], place)
    again = learned_from(files[:3], place)
    assert (again.points_before, again.points) == (3, 3)
    more = learned_from(files[3:], place)
    assert (more.points_before, more.points) == (3, 7)
    text = place.read_text()
    dry = learned_from(files[:1], place, replace=True, dry_run=True)
    assert not dry.written
    assert place.read_text() == text
    assert learned_from(files[:1], place, replace=True).points == 1


def test_the_users_own_file_is_found_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    files = measured_on_a_slower_stack(tmp_path)
    assert main(["calibrate", *files, "--gpu", "l40s", "--vllm-version", "0.19", "-o", os.devnull]) == 0
    found = estimate(EstimateRequest(**SERVED))
    assert any("calibrated by your own measurements of l40s" in note for note in found.notes)
    answer = solve(SolveRequest(model="Qwen/Qwen3-8B", gpu="l40s", concurrency=8))
    assert any("your own measurements" in note for note in answer.notes)


def test_a_start_up_log_moves_the_pool_to_what_it_printed(tmp_path: Path) -> None:
    log, place = tmp_path / "vllm.log", tmp_path / "ours.json"
    log.write_text(V1_LOG)
    report = calibrate(CalibrateRequest(files=str(log), calibration_file=str(place), gpu="h100"))
    assert report.written
    asked: dict[str, Any] = {"gpu": "h100-sxm", "vllm_version": "0.11", "max_model_len": 16384, "confidence": 0.5}
    before = estimate(EstimateRequest(**asked, calibration=False)).memory
    after = estimate(EstimateRequest(**asked, calibration_file=str(place))).memory
    measured = 49.5 * 2**30
    assert abs(after.kv_cache_bytes - measured) < 0.35 * abs(before.kv_cache_bytes - measured)
    assert after.weights_bytes == before.weights_bytes
    assert after.budget_bytes == before.budget_bytes
    terms = {one.term: one for one in report.comparisons}
    assert terms["cuda_graph_actual_bytes"].measured == pytest.approx(1.5 * 2**30)
    assert {gain.term for gain in report.gains if gain.after > gain.before + 1e-9} == set()


def test_a_log_of_other_weights_teaches_nothing(tmp_path: Path) -> None:
    log = tmp_path / "vllm.log"
    log.write_text(V1_LOG.replace("14.9889", "5.4"))
    report = calibrate(CalibrateRequest(files=str(log), calibration_file=str(tmp_path / "o.json"), gpu="h100"))
    assert not report.written
    assert any("weights printed" in why for why in report.sources[0].unused)


def test_results_beside_a_log_take_the_rest_from_it(tmp_path: Path) -> None:
    (tmp_path / "vllm.log").write_text(V1_LOG)
    (tmp_path / "r.json").write_text(
        json.dumps({"median_tpot_ms": 9.0, "median_ttft_ms": 60.0, "max_concurrency": 8, "completed": 80,
                    "total_input_tokens": 81920, "total_output_tokens": 20480})
    )  # fmt: skip
    report = calibrate(CalibrateRequest(files=str(tmp_path), calibration_file=str(tmp_path / "o.jsn"), gpu="h100"))
    assert {source.file: source.used for source in report.sources} == {"r.json": 1, "vllm.log": 1}
    assert {one.model for one in report.comparisons} == {"meta-llama/Llama-3.1-8B-Instruct"}


factors = st.floats(0.25, 4.0)


@settings(max_examples=8, deadline=None)
@given(
    speed=st.builds(SpeedFactors, memory=factors, compute=factors, host=factors, step=factors, prefill=factors),
    activation=factors, graphs=factors, extra=st.integers(-(2**33), 2**34),
)  # fmt: skip
def test_no_calibration_makes_a_plan_violate_a_rule(
    speed: SpeedFactors, activation: float, graphs: float, extra: int
) -> None:
    term = MemoryTerm(model="Qwen/Qwen3-8B", engine="v1", tensor_parallel_size=1, activation=activation, graphs=graphs,
                      logs=1)  # fmt: skip
    general = MemoryTerm(engine="v1", tensor_parallel_size=1, non_torch_bytes=extra, logs=1)
    own = GpuCalibration(gpu="l40s", speed=(SpeedTerm(factors=speed, points=1),), memory=(term, general), points=1)
    catalog = Catalog()
    catalog._calibrations[None] = OwnCalibration(gpus=(own,))
    request = SolveRequest(model="Qwen/Qwen3-8B", gpu="l40s", concurrency=8, max_gpus=4)
    answer = solve(request, catalog)
    if answer.plan is None:
        return
    setting = resolve_solve(request, catalog)
    assert setting.gpus[0].gpu.own == own
    flags = answer.plan.flags
    estimated = estimate(
        EstimateRequest(
            model=answer.plan.model, gpu="l40s", quantization=answer.plan.quantization,
            kv_cache_dtype=answer.plan.kv_cache_dtype, tensor_parallel_size=answer.plan.tensor_parallel_size,
            pipeline_parallel_size=answer.plan.pipeline_parallel_size,
            **{name.replace("-", "_"): flags[name]
               for name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "gpu-memory-utilization")
               if name in flags},
        ),
        catalog,
    )  # fmt: skip
    assert estimated.fits, estimated.violations
    assert answer.plan.memory.budget_bytes <= answer.plan.memory.gpu_total_bytes


def test_a_shape_kept_before_it_named_its_weights_still_holds() -> None:
    kept = SpeedTerm(
        shape="4096 wide, 32 layers, 128256 words", path="bf16", tensor_parallel_size=1,
        factors=SpeedFactors(step=1.1), points=4,
    )  # fmt: skip
    own = GpuCalibration(gpu="h100-sxm", speed=(kept,), points=4)
    assert own.speed_of("4096 wide, 32 layers, 128256 words, 6.98 G weights", "bf16", 1) == (kept,)
    assert own.speed_of("4096 wide, 32 layers, 32000 words, 6.48 G weights", "bf16", 1) == ()
    assert own.speed_of("4096 wide, 32 layers, 128256 words, 6.98 G weights", "fp8", 1) == ()
