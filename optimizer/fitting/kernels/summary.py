"""What kernel tables say: time = floor + soft maximum of reading at em of bandwidth and computing at ec of peak.

The same law as `constraints/speed/step_time.py`, fitted to single kernels in ln time, so that efficiencies, launch
floors, collective latency and the skew of routing need no end-to-end run.
"""

import numpy as np

from vllm_opt.optimizer.fitting.kernels.tables import Column, fastest
from vllm_opt.profiles.nouns.gpu import GpuProfile

WEIGHT_BYTES = {
    "bfloat16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "nvfp4": 0.5625,
    "int4_wo": 0.515625,
    "w4a16_mxfp4": 0.53125,
    "w4a8_mxfp4_mxfp8": 0.53125,
}
PATHS = {
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8_block",
    "nvfp4": "nvfp4",
    "int4_wo": "w4a16",
    "w4a16_mxfp4": "mxfp4",
    "w4a8_mxfp4_mxfp8": "mxfp4_native",
}
"""Kernel paths of the product by the tables' names of formats."""
HALF_PRECISION = ("bfloat16", "int4_wo", "w4a16_mxfp4")
LEAST_EXPERT_POINTS = 24
SCALE = 0.1
LARGE_WEIGHT = 2.0**22
LARGE_BATCH = 4096
MOST_ELEMENTS = 2.0**28
SMALL_BYTES, LARGE_BYTES = (2.0**13, 2.0**17), 2.0**21
PREFILL_FLOP = (1e12, 1e13)
DECODE_BYTES = 2e8
LATENT_CONTEXT, LATENT_USERS = 256, 32


def peak_of(kind: str, gpu: GpuProfile) -> float:
    """Dense peak of the arithmetic that a format computes in."""
    if kind in HALF_PRECISION:
        return gpu.half_flops_per_s
    peak = gpu.fp4_flops_per_s if kind == "nvfp4" else gpu.fp8_flops_per_s
    return peak or gpu.half_flops_per_s


def soft_law(memory: Column, compute: Column, seconds: Column) -> dict[str, float]:
    """em, ec, floor, serial share with the least robust ln error; `memory`, `compute`: seconds at full efficiency."""
    from scipy.optimize import least_squares

    def predicted(x: Column) -> Column:
        em, ec, floor, share = np.exp(x[0]), np.exp(x[1]), np.exp(x[2]), 1 / (1 + np.exp(-x[3]))
        slow, fast = np.maximum(memory / em, compute / ec), np.minimum(memory / em, compute / ec)
        return np.asarray(slow + share * fast + floor)

    lowest, highest = [np.log(0.05), np.log(0.05), np.log(1e-7), -6.0], [0.0, 0.0, np.log(1e-3), 4.0]
    solved = least_squares(
        lambda x: np.log(seconds / predicted(x)), [-0.2, -0.5, np.log(4e-6), -1.0], loss="soft_l1", f_scale=SCALE,
        bounds=(lowest, highest),
    )  # fmt: skip
    off = np.abs(np.log(seconds / predicted(solved.x)))
    em, ec, floor = np.exp(solved.x[:3])
    return {
        "memory_efficiency": round(float(em), 4),
        "compute_efficiency": round(float(ec), 4),
        "floor_us": round(float(floor) * 1e6, 2),
        "serial_share": round(float(1 / (1 + np.exp(-solved.x[3]))), 3),
        "median_error": round(float(np.median(off)), 3),
        "points": int(seconds.size),
    }


def products(table: dict[str, Column], gpu: GpuProfile) -> dict[str, dict[str, float]]:
    """Dense matrix products by kernel path; shapes of at least 2^22 weights."""
    found = {}
    for kind in sorted(set(table["gemm_dtype"]) & set(PATHS)):
        sizes = table["n"].astype(np.float64) * table["k"]
        kept = (table["gemm_dtype"] == kind) & (sizes >= LARGE_WEIGHT) & (np.minimum(table["n"], table["k"]) >= 1024)
        if kept.sum() < 200:
            continue
        rows, ms = fastest([table[key][kept] for key in ("m", "n", "k")], table["latency"][kept].astype(np.float64))
        m, n, k = rows.T
        moved = n * k * WEIGHT_BYTES[kind] + 2 * m * (n + k)
        flop_s = 2 * m * n * k / peak_of(kind, gpu)
        law = soft_law(moved / gpu.memory_bandwidth_bytes_per_s, flop_s, ms * 1e-3)
        large = (m >= LARGE_BATCH) & (n * k >= 4 * LARGE_WEIGHT)
        law["large_compute_efficiency"] = round(float(np.median((flop_s / ms * 1e3)[large])), 4)
        found[PATHS[kind]] = law
    return found


def experts(table: dict[str, Column], gpu: GpuProfile) -> dict[str, dict[str, float]]:
    """Expert layers by kernel path: the law from balanced routing, then the skew from power-law routing."""
    found = {}
    alone = (table["moe_tp_size"] == 1) & (table["moe_ep_size"] == 1) & (table["num_experts"] >= 32)
    balanced = table["distribution"] == "balanced"
    names = ("num_tokens", "hidden_size", "inter_size", "topk", "num_experts")
    for kind in sorted(set(table["moe_dtype"]) & set(PATHS)):
        here = alone & (table["moe_dtype"] == kind)
        if (here & balanced).sum() < LEAST_EXPERT_POINTS:
            continue

        def work(mask: Column, *, skewed: bool, kind: str = kind) -> tuple[Column, ...]:
            rows, ms = fastest([table[name][mask] for name in names], table["latency"][mask].astype(np.float64))
            m, h, i, k, e = rows.T
            bytes_s = 3 * h * i * WEIGHT_BYTES[kind] * e / gpu.memory_bandwidth_bytes_per_s
            hit = np.ones_like(m) if skewed else np.minimum(1.0, m * k / e)
            return hit * bytes_s, 6 * m * k * h * i / peak_of(kind, gpu), ms * 1e-3, m, k / e

        memory, compute, seconds, *_ = work(here & balanced, skewed=False)
        law = soft_law(memory, compute, seconds)
        power = here & np.char.startswith(table["distribution"].astype(str), "power_law_1.01")
        if power.sum() >= LEAST_EXPERT_POINTS:
            law["routing_shape"] = routing_shape(law, *work(power, skewed=True))
        found[PATHS[kind]] = law
    return found


def routing_shape(
    law: dict[str, float], memory: Column, compute: Column, seconds: Column, m: Column, share: Column
) -> float:
    """Shape of the gamma law of expert popularity that makes the distinct experts hit explain power-law routing."""
    from scipy.optimize import minimize_scalar

    few = (m > 1) & (m * share <= 8)

    def cost(log_shape: float) -> float:
        shape = np.exp(log_shape)
        miss = (1 - share) * (1 - (m - 1) * np.log1p(-np.minimum(share, 0.999)) / shape) ** -shape
        read, flop = (1 - miss) * memory / law["memory_efficiency"], compute / law["compute_efficiency"]
        predicted = np.maximum(read, flop) + law["serial_share"] * np.minimum(read, flop) + law["floor_us"] * 1e-6
        return float(np.abs(np.log(seconds / predicted))[few].mean())

    return round(float(np.exp(minimize_scalar(cost, bounds=(-2.0, 4.0), method="bounded").x)), 3)


def attention(context: dict[str, Column], generation: dict[str, Column], gpu: GpuProfile) -> dict[str, float]:
    """Share of the 16-bit peak of large prefills, share of the bandwidth of large KV reads, floor of a small decode."""
    window = generation.get("window_size", np.zeros(len(generation["latency"])))
    plain = (window == 0) & (generation["head_dim"] == 128) & (generation["kv_cache_dtype"] == "bfloat16")
    heads, kv_heads = generation["num_heads"], generation["num_key_value_heads"]
    moved = generation["batch_size"] * (generation["step"] + 1.0) * 4 * kv_heads * generation["head_dim"]
    seconds = generation["latency"].astype(np.float64) * 1e-3
    large = plain & (moved >= DECODE_BYTES) & (heads > kv_heads) & (heads <= 8 * kv_heads)
    read = moved[large] / seconds[large] / gpu.memory_bandwidth_bytes_per_s
    narrow = (window == 0) & (generation["head_dim"] == 128) & (generation["kv_cache_dtype"] == "fp8")
    narrow &= (moved >= 2 * DECODE_BYTES) & (heads > kv_heads) & (heads <= 8 * kv_heads)
    eighth = moved[narrow] / 2 / seconds[narrow] / gpu.memory_bandwidth_bytes_per_s
    more = {"narrow_decode_ratio": round(float(np.median(eighth) / np.median(read)), 4)} if narrow.any() else {}
    window = context.get("window_size", np.zeros(len(context["latency"])))
    flop = 2.0 * context["batch_size"] * context["isl"].astype(np.float64) ** 2 * context["num_heads"] * 128
    kept = (window == 0) & (context["head_dim"] == 128) & (context["kv_cache_dtype"] == "bfloat16")
    kept &= (flop >= PREFILL_FLOP[0]) & (flop < PREFILL_FLOP[1])
    speed = flop[kept] / (context["latency"][kept].astype(np.float64) * 1e-3) / gpu.half_flops_per_s
    return {
        "prefill_efficiency": round(float(np.median(speed)), 4),
        "decode_efficiency": round(float(np.median(read)), 4),
        "decode_floor_us": round(float(np.median(seconds[plain & (moved < 1e6)])) * 1e6, 2),
        **more,
    }


def latent(module: dict[str, Column], gpu: GpuProfile) -> dict[str, float]:
    """What a whole latent-attention mixer of DeepSeek-V3 takes beyond reading its weights: few users, short texts.

    Its 16-bit projections hold hidden (q_rank + kv_rank + rope) + heads (q_rank (nope + rope) + kv_rank (nope + v) +
    v hidden) weights.
    """
    kept = (module["gemm_type"] == "bfloat16") & (module["step"] <= LATENT_CONTEXT)
    kept &= module["batch_size"] <= LATENT_USERS
    weights = 7168 * (1536 + 576) + module["num_heads"] * (1536 * 192 + 512 * 256 + 128 * 7168)
    read_s = 2.0 * weights / gpu.memory_bandwidth_bytes_per_s
    over = module["latency"].astype(np.float64) * 1e-3 - read_s
    return {"floor_us": round(float(np.median(over[kept])) * 1e6, 2)}


def all_reduce(elements: Column, ms: Column, ranks: Column) -> dict[str, dict[str, float]]:
    """Start-up microseconds and GB/s by ranks, from 16-bit messages: those of a decode step, and those of a prefill."""
    found = {}
    for count in sorted({int(value) for value in ranks}):
        kept = (ranks == count) & (elements >= 2**12) & (elements <= MOST_ELEMENTS / 2)
        if kept.sum() < 4:
            continue
        rows, least = fastest([elements[kept]], ms[kept].astype(np.float64))
        found[str(count)] = affine(rows[:, 0] * 2.0, least * 1e-3)
    return found


def affine(size: Column, seconds: Column) -> dict[str, float]:
    """Start-up as the messages of small decode steps see it, bandwidth as those of prefills do beyond that start.

    One line through all sizes would charge small messages for the switch to another algorithm at large ones.
    """
    small, large = (size >= SMALL_BYTES[0]) & (size <= SMALL_BYTES[1]), size >= LARGE_BYTES
    start = float(np.median(seconds[small])) if small.any() else float(seconds.min())
    rate = float(np.exp(np.mean(np.log(size[large] / np.maximum(seconds[large] - start, 1e-9)))))
    off = np.abs(np.log(seconds / (start + size / rate)))
    return {
        "alpha_us": round(start * 1e6, 2),
        "gb_per_s": round(rate / 1e9, 2),
        "worst_error": round(float(off.max()), 3),
    }
