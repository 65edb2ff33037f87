"""Users who think, and bursts, against laws that can be worked out by hand."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.queueing.demand import Lengths
from vllm_opt.constraints.queueing.engine import Demand, outcome
from vllm_opt.constraints.queueing.outcome import Outcome
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, step_time
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

CATALOG = Catalog()
C = latency_coefficients(
    CATALOG.model("meta-llama/Llama-3.1-8B-Instruct"), CATALOG.quantization("bf16"), Layout(gpu="h100-sxm"),
    CATALOG.gpu("h100"), default_latency_constants(), calibrated=True,
)  # fmt: skip
BARE = replace(
    LatencyCoefficients(**{item.name: 0.0 for item in fields(LatencyCoefficients)}),
    expert_miss_log=-50.0, expert_shape=1.0, window_tokens=1.0, prefill_factor=1.0, pipeline_stages=1.0,
)  # fmt: skip
"""An engine whose steps take no time: tests add the one cost that they are about."""


def thinking(c: LatencyCoefficients, users: object, slots: int, think_s: float, outputs: int) -> Outcome:
    return outcome(c, Demand("closed", think_s=think_s), users, slots, 8192, 1, outputs)  # type: ignore[arg-type]


def repairman(users: int, slots: int, service_s: float, think_s: float) -> float:
    """Requests/s of M/M/S with a finite source: the closed form of queueing theory."""
    weights = [1.0]
    for number in range(1, users + 1):
        weights.append(weights[-1] * (users - number + 1) / think_s * service_s / min(number, slots))
    served = [min(number, slots) / service_s * weight for number, weight in enumerate(weights)]
    return math.fsum(served) / math.fsum(weights)


@pytest.mark.parametrize("users", [3, 10, 40, 120])
def test_users_who_think_are_served_as_by_so_many_repairmen(users: int) -> None:
    """100 steps of 20 ms whatever the batch: each slot is a repairman who takes two seconds."""
    engine = replace(BARE, fixed_s=0.02)
    found = thinking(engine, users, 8, 5.0, 100)
    assert found.requests_per_s[0] == pytest.approx(repairman(users, 8, 2.0, 5.0), rel=0.05)


def test_a_user_alone_waits_for_nobody() -> None:
    found = outcome(C, Demand("closed", think_s=3.0), 1, 64, 1024, 6000, 5)
    assert found.ttft_ms(99)[0] == pytest.approx(found.ttft_ms(50)[0], rel=1e-6)
    lone = outcome(C, Demand("poisson"), 1e-6, 64, 1024, 6000, 5)
    assert found.ttft_ms(None)[0] == pytest.approx(lone.ttft_ms(None)[0], rel=0.01)


def test_long_pauses_are_random_arrivals() -> None:
    """Ten thousand users who think for 1,000 s are a Poisson stream of ten a second."""
    pauses = outcome(C, Demand("closed", think_s=1000.0), 10_000, 256, 2048, 1000, 200)
    stream = outcome(C, Demand("poisson"), float(pauses.requests_per_s[0]), 256, 2048, 1000, 200)
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        for percent in (None, 50, 95):
            assert getattr(pauses, name)(percent)[0] == pytest.approx(getattr(stream, name)(percent)[0], rel=0.06)


@given(
    inputs=st.integers(16, 8000), outputs=st.integers(8, 600), budget=st.sampled_from((1024, 2048, 8192)),
    slots=st.sampled_from((8, 32, 256)), pattern=st.sampled_from(("poisson", "closed", "burst")),
)  # fmt: skip
@settings(max_examples=25, deadline=None, derandomize=True)
def test_more_load_never_shortens_the_mean_wait(
    inputs: int, outputs: int, budget: int, slots: int, pattern: str
) -> None:
    """Within what the points of the lattice can tell: a twentieth."""
    demand = Demand(pattern, think_s=3.0 if pattern == "closed" else 0.0)  # type: ignore[arg-type]
    load = np.unique(np.round(np.exp(np.linspace(0.0, 6.0, 25))))
    if pattern == "poisson":
        load = np.linspace(0.02, 1.1, 25) * outcome(C, demand, 1e-6, slots, budget, inputs, outputs).capacity_per_s[0]
    found = outcome(C, demand, load, slots, budget, inputs, outputs)
    for times in (found.ttft_ms(None), found.e2e_ms(None)):
        assert (np.maximum.accumulate(times) <= times * 1.05).all()


def test_a_burst_takes_whole_steps() -> None:
    """24 prompts of 67 tokens in steps of 1,024: fifteen are computed in the first, nine in the second."""
    engine = replace(BARE, fixed_s=1.0)
    found = outcome(engine, Demand("burst"), 24, 64, 1024, 67, 32)
    assert found.ttft_ms(50)[0] == pytest.approx(1000.0)
    assert found.ttft_ms(95)[0] == pytest.approx(2000.0)
    assert found.ttft_ms(None)[0] == pytest.approx(1000 * (15 + 2 * 9) / 24, rel=0.01)


def test_the_next_of_a_burst_starts_while_the_last_prompts_are_computed() -> None:
    """A wave of ten prompts of a step each and 100 tokens: 100 steps later, not 110, the first slot is free again."""
    engine = replace(BARE, fixed_s=1.0)
    found = outcome(engine, Demand("burst"), 20, 10, 1000, 1000, 101)
    assert found.ttft_ms(0)[0] == pytest.approx(1000.0)
    assert 100_000 < found.ttft_ms(55)[0] < 106_000


def test_a_batch_of_different_answers_drains_ever_faster() -> None:
    """A step of 1 ms a sequence: of answers of 50 and 150 tokens the long ones are alone for the last hundred."""
    engine = replace(BARE, sequence_s=1e-3)
    lengths = Lengths(np.ones((2, 2)), np.array([[0.5, 0.5], [1.5, 1.5]]))
    found = outcome(engine, Demand("burst", lengths=lengths), 40, 64, 8192, 1, 101)
    step = float(step_time(engine, 40.0, 0.0, 0.0, 0.0))
    assert found.e2e_ms(5)[0] == pytest.approx(50 * step * 1e3, rel=0.05)
    assert found.e2e_ms(95)[0] == pytest.approx((50 * step + 100 * step / 2) * 1e3, rel=0.06)
