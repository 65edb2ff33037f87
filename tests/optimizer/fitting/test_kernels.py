"""Kernel tables in, efficiencies out: laws recovered from made-up timings, damaged tables named."""

import json
from pathlib import Path

import numpy as np
import pytest

from vllm_opt.optimizer.fitting.kernels import tables, write
from vllm_opt.optimizer.fitting.kernels.summary import affine, routing_shape, soft_law
from vllm_opt.optimizer.fitting.latency.prior import KERNELS, PRIOR, kernel_summary, read_prior, timed_as, timed_link
from vllm_opt.optimizer.fitting.latency.releases import release_of
from vllm_opt.profiles.errors import InvalidRequest


def test_a_law_is_recovered_from_its_own_times() -> None:
    memory, compute = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e-6, 1e-3, 9), np.geomspace(1e-7, 1e-2, 9)))
    slow, fast = np.maximum(memory / 0.8, compute / 0.5), np.minimum(memory / 0.8, compute / 0.5)
    found = soft_law(memory, compute, slow + 0.3 * fast + 4e-6)
    assert found["memory_efficiency"] == pytest.approx(0.8, rel=0.02)
    assert found["compute_efficiency"] == pytest.approx(0.5, rel=0.02)
    assert found["floor_us"] == pytest.approx(4.0, rel=0.05)
    assert found["serial_share"] == pytest.approx(0.3, abs=0.03)


def test_an_all_reduce_is_a_start_and_a_bandwidth() -> None:
    sizes = np.geomspace(2**13, 2**28, 16)
    found = affine(sizes, 6e-6 + sizes / 200e9)
    assert found["alpha_us"] == pytest.approx(6.0, rel=3e-2)  # small messages have a few bytes too
    assert found["gb_per_s"] == pytest.approx(200.0, rel=1e-2)
    assert found["worst_error"] < 0.03


def test_small_messages_are_not_charged_for_the_algorithm_of_large_ones() -> None:
    # One shot up to 512 KiB: 7 us and 60 GB/s; two shots beyond: 16 us and 320 GB/s.
    sizes = np.geomspace(2**13, 2**28, 16)
    found = affine(sizes, np.minimum(7e-6 + sizes / 60e9, 16e-6 + sizes / 320e9))
    assert found["alpha_us"] == pytest.approx(7.5, rel=0.05)
    assert found["gb_per_s"] == pytest.approx(300.0, rel=0.1)


def test_skewed_routing_is_recovered() -> None:
    tokens, share = np.array([2.0, 4.0, 8.0, 16.0, 32.0, 64.0]), np.full(6, 1 / 16)
    memory = np.full(6, 4e-4)
    miss = (1 - share) * (1 - (tokens - 1) * np.log1p(-share) / 1.5) ** -1.5
    law = {"memory_efficiency": 0.9, "compute_efficiency": 0.5, "serial_share": 0.5, "floor_us": 20.0}
    seconds = (1 - miss) * memory / 0.9 + 20e-6
    assert routing_shape(law, memory, np.zeros(6), seconds, tokens, share) == pytest.approx(1.5, rel=0.02)


def test_the_shipped_summary_is_plausible() -> None:
    systems = kernel_summary()
    assert set(systems) == set(tables.SYSTEMS.values())
    for summary in systems.values():
        half = summary["products"]["bf16"]
        assert 0.5 < half["memory_efficiency"] <= 1
        assert 0.5 < half["large_compute_efficiency"] <= 1
        for law in summary["all_reduce"].values():
            assert law["alpha_us"] > 2
    assert "https://" in json.loads(KERNELS.read_text())["source"]


def test_the_prior_takes_kernels_where_they_exist() -> None:
    prior, systems = read_prior(), kernel_summary()
    h100 = prior.gpus["h100-sxm"]
    assert h100.memory_efficiency == systems["h100-sxm"]["products"]["bf16"]["memory_efficiency"]
    assert h100.attention_efficiency == systems["h100-sxm"]["attention"]["prefill_efficiency"]
    assert prior.gpus["h200-nvl"].compute_efficiency == prior.gpus["h200-sxm"].compute_efficiency
    assert PRIOR.exists()


def test_expert_layers_and_links_are_those_that_were_timed() -> None:
    prior, systems = read_prior(), kernel_summary()
    found = (("h100-sxm", "fp8_block"), ("b200", "w4a16_hopper"), ("l40s", "w4a16_graphics"), ("b200", "nvfp4"))
    for gpu, path in found:
        law, half = systems[gpu]["experts"][timed_as(path)], systems[gpu]["products"]["bf16"]
        common, own = prior.kernel_paths[path], prior.gpus[gpu].paths[path]
        read = prior.gpus[gpu].memory_efficiency * prior.shared.expert_read_efficiency
        read *= common.memory_factor * common.expert_memory_factor * own.memory * own.expert_memory
        assert read == pytest.approx(law["memory_efficiency"], rel=1e-3)
        compute = half["large_compute_efficiency"] * prior.shared.expert_compute_efficiency
        compute *= common.compute_factor * common.expert_compute_factor * own.compute
        # Arithmetic goes half of the way from the path's common factor.
        assert compute * own.expert_compute**2 == pytest.approx(law["compute_efficiency"], rel=1e-3)
    assert systems["h200-sxm"]["experts"]["fp8"]["floor_us"] > 100
    for gpu in ("h100-sxm", "h200-sxm", "gh200-96gb"):  # bound by launches: nothing of their law is kept
        assert prior.gpus[gpu].paths["fp8"].expert_memory == prior.gpus[gpu].paths["fp8"].expert_compute == 1.0
    timed = systems["b200"]["all_reduce"]
    assert prior.collectives["b200"].alpha_us == tuple(timed[ranks]["alpha_us"] for ranks in ("2", "4", "8"))
    assert timed_link({"all_reduce": {"2": {"alpha_us": 5.0, "gb_per_s": 9.0}}}) == {
        "alpha_us": [5.0, 5.0, 5.0],
        "gb_per_s": [9.0, 9.0, 9.0],
    }
    assert timed_link({}) == {}


def test_damaged_kernel_files_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = tmp_path / "kernels.json"
    damaged.write_text("{")
    with pytest.raises(InvalidRequest, match="Cannot read the kernel summary"):
        kernel_summary(damaged)
    assert write.main([]) == 2
    assert write.main([str(tmp_path), str(tmp_path / "out.json")]) == 2
    assert "No folder of a known system" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


@pytest.mark.parametrize(
    ("row", "release"),
    [
        ({"version": "0.10.1 (rocm6.4.1)"}, "0.10"),
        ({"version": "0.26.1rc1.dev608+g99a10304d"}, "0.26"),
        ({"version": None, "date": "2024"}, "0.5"),
        ({"version": "mlperf-v5.1", "date": "2025-10-07"}, "0.11"),
        ({"version": None, "date": "2026-03"}, "0.17"),
        ({"version": None, "date": None}, "0.9"),
        ({"version": "", "date": "2019-01"}, "0.2"),
    ],
)
def test_releases_are_read_or_dated(row: dict[str, str | None], release: str) -> None:
    assert release_of(row) == release
