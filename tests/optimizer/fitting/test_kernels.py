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


H100 = {"peak": 990e12, "fp8": 1979e12, "bandwidth": 3.35e12}
FLOOR_S, READS, COMPUTES = 5e-6, 0.8, 0.7


def law_ms(memory_s: float, compute_s: float) -> float:
    """What a kernel takes: the slower of reading and computing, and a launch."""
    return 1e3 * (max(memory_s / READS, compute_s / COMPUTES) + FLOOR_S)


def parquet(folder: Path, operation: str, name: str, rows: list[dict[str, object]], version: str = "0.19.0") -> None:
    from pyarrow import Table
    from pyarrow.parquet import write_table

    place = folder / "h100_sxm" / operation / "vllm" / version
    place.mkdir(parents=True, exist_ok=True)
    write_table(Table.from_pylist(rows), place / f"{name}_perf.parquet")


def gemm_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for m in (1, 4, 16, 64, 256, 1024, 4096, 8192):
        for n in (2048, 4096, 8192, 16384, 28672):
            for k in (2048, 4096, 8192, 12288, 16384):
                moved, flop = n * k * 2.0 + 2 * m * (n + k), 2.0 * m * n * k
                ms = law_ms(moved / H100["bandwidth"], flop / H100["peak"])
                row = {"gemm_dtype": "bfloat16", "m": m, "n": n, "k": k}
                rows += [{**row, "latency": ms}, {**row, "latency": 1.5 * ms}]  # a slower kernel that nobody runs
    return [*rows, {"gemm_dtype": "fp8", "m": 1, "n": 4096, "k": 4096, "latency": 1.0}]


def moe_rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for m in (1, 2, 4, 8, 32, 128, 512, 2048, 8192):
        for h, i, k, e in ((2048, 768, 8, 128), (4096, 1536, 8, 128), (5120, 2048, 4, 64), (4096, 1024, 8, 256)):
            read = 3 * h * i * 2.0 * e / H100["bandwidth"]
            balanced = min(1.0, m * k / e) * read
            miss = (1 - k / e) * (1 - (m - 1) * np.log1p(-k / e) / 0.5) ** -0.5
            row = {"moe_dtype": "bfloat16", "moe_tp_size": 1, "moe_ep_size": 1, "num_tokens": m, "hidden_size": h,
                   "inter_size": i, "topk": k, "num_experts": e}  # fmt: skip
            compute = 6.0 * m * k * h * i / H100["peak"]
            rows.append({**row, "distribution": "balanced", "latency": law_ms(balanced, compute)})
            skewed = law_ms((1 - miss) * read, compute)
            rows.append({**row, "distribution": "power_law_1.01", "latency": skewed})
    return rows


def test_a_folder_of_tables_becomes_the_law_that_made_them(tmp_path: Path) -> None:
    parquet(tmp_path, "gemm", "gemm", gemm_rows())
    parquet(tmp_path, "gemm", "gemm", [{"gemm_dtype": "bfloat16", "m": 1, "n": 1, "k": 1, "latency": 9.0}], "0.9.1")
    parquet(tmp_path, "moe", "moe", moe_rows())
    attention = [
        {"batch_size": 1, "isl": isl, "num_heads": 32, "head_dim": 128, "kv_cache_dtype": "bfloat16",
         "latency": 1e3 * 2.0 * isl**2 * 32 * 128 / H100["peak"] / 0.6}
        for isl in (12288, 16384, 20480)
    ]  # fmt: skip
    parquet(tmp_path, "attention", "context_attention", attention)
    generation = []
    for kind, width, share in (("bfloat16", 4.0, 0.9), ("fp8", 2.0, 0.72)):
        for batch in (128, 256):
            moved = batch * 8192.0 * 8 * 128
            generation.append(
                {"batch_size": batch, "step": 8191, "num_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                 "kv_cache_dtype": kind, "latency": 1e3 * width * moved / H100["bandwidth"] / share}
            )  # fmt: skip
    small = {**generation[0], "batch_size": 1, "step": 15, "latency": 0.004}
    parquet(tmp_path, "attention", "generation_attention", [*generation, small])
    messages = [2**power for power in range(12, 27)]
    own = [{"backend": backend, "message_size": size, "num_gpus": 2, "latency": slower * (0.01 + size * 2e3 / 300e9)}
           for size in messages for backend, slower in (("vllm_graph", 1.0), ("vllm_eager", 0.1))]  # fmt: skip
    library = [{"op_name": name, "nccl_dtype": "half", "message_size": size, "num_gpus": 2, "latency": 0.5}
               for size in messages[:3] for name in ("all_reduce", "all_gather")]  # fmt: skip
    parquet(tmp_path, "comm", "custom_allreduce", own)
    parquet(tmp_path, "comm", "nccl", library)
    output = tmp_path / "kernels.json"
    assert write.main([str(tmp_path), str(output)]) == 0
    found = json.loads(output.read_text())["systems"]["h100-sxm"]
    assert set(found["products"]) == {"bf16"}  # one row of fp8 says nothing
    dense = found["products"]["bf16"]
    assert dense["memory_efficiency"] == pytest.approx(READS, rel=0.02)
    assert dense["compute_efficiency"] == pytest.approx(COMPUTES, rel=0.02)
    assert dense["floor_us"] == pytest.approx(FLOOR_S * 1e6, rel=0.1)
    assert dense["points"] == 8 * 5 * 5
    assert dense["large_compute_efficiency"] == pytest.approx(COMPUTES, rel=0.05)
    routed = found["experts"]["bf16"]
    assert routed["memory_efficiency"] == pytest.approx(READS, rel=0.02)
    assert routed["routing_shape"] == pytest.approx(0.5, rel=0.1)
    assert found["attention"]["prefill_efficiency"] == pytest.approx(0.6, rel=1e-3)
    assert found["attention"]["decode_efficiency"] == pytest.approx(0.9, rel=1e-3)
    assert found["attention"]["narrow_decode_ratio"] == pytest.approx(0.8, rel=1e-3)
    assert found["attention"]["decode_floor_us"] == 4.0
    pair = found["all_reduce"]["2"]
    assert set(found["all_reduce"]) == {"2"}
    assert pair["alpha_us"] == pytest.approx(10.0, rel=0.05)
    assert pair["gb_per_s"] == pytest.approx(300.0, rel=0.05)
