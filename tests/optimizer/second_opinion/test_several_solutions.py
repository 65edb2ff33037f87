"""Loads that several mixes of prefill and decode explain: a step rounded up to a captured size makes users(D) jump."""

import random

import pytest

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.latency import closed_loop
from vllm_opt.optimizer.second_opinion.speed import TOLERANCE, Loop
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
Load = tuple[int, int, int, int, int]
"""prompt, answer, width of a step, users, slots"""


def both(name: str, sku: str, load: Load) -> tuple[Loop, tuple[float, float, float]]:
    """The second opinion's loop on one GPU, and the (TTFT s, TPOT s, requests/s) of the other side."""
    gpu, (prompt, answer, width, users, slots) = CATALOG.gpu(sku), load
    layout = Layout(gpu=gpu.id, tensor_parallel_size=1, quantization="bf16", checkpoint=name, kv_cache_dtype="auto")
    unit = latency_coefficients(
        CATALOG.model(name), CATALOG.quantization("bf16"), layout, gpu, default_latency_constants()
    )
    told = closed_loop(unit, users, slots, width, prompt, answer)
    speeds = float(told.ttft_ms) / 1e3, float(told.tpot_ms) / 1e3, float(told.requests_per_s)
    return Loop(unit, prompt, answer, 0.0, float(width), True), speeds


def is_solution(loop: Loop, load: Load, speeds: tuple[float, float, float]) -> bool:
    return any(
        all(
            low * (1 - TOLERANCE) <= value <= high * (1 + TOLERANCE)
            for value, (low, high) in zip(speeds, found, strict=True)
        )
        for found in loop.solutions(load[3], load[4])
    )


def test_what_the_other_side_finds_is_one_of_them() -> None:
    """Two output tokens after 512: an engine that is mostly prefilling, and one that is mostly waiting, both add up."""
    load = (512, 2, 2048, 25, 16)
    loop, speeds = both("Qwen/Qwen3-30B-A3B", "t4", load)
    assert loop.solve(25.0, 16.0)[2] < speeds[2] * (1 - TOLERANCE)
    assert is_solution(loop, load, speeds)


@pytest.mark.parametrize("name", ["Qwen/Qwen3-0.6B", "Qwen/Qwen3-30B-A3B"])
def test_random_loads_are_solved_alike(name: str) -> None:
    draw = random.Random(13)
    for _ in range(40):
        load = (
            draw.choice((16, 256, 4000)), draw.choice((2, 5, 100)), draw.choice((512, 8192)), draw.randint(1, 200),
            draw.choice((1, 8, 44)),
        )  # fmt: skip
        loop, speeds = both(name, "l4", load)
        bisected = loop.solve(load[3], load[4])
        near = all(abs(a - b) <= TOLERANCE * max(a, b) for a, b in zip(bisected, speeds, strict=True))
        assert near or is_solution(loop, load, speeds), (load, bisected, speeds)


def test_a_tenth_off_is_no_solution() -> None:
    load = (256, 2, 8192, 92, 8)
    loop, speeds = both("Qwen/Qwen3-30B-A3B", "a10", load)
    assert not is_solution(loop, load, (speeds[0], speeds[1], 1.1 * speeds[2]))
    assert not is_solution(loop, load, (speeds[0], 0.9 * speeds[1], speeds[2]))
