"""What sequences in flight hold, against a simulated server: one request after another, looked at at random moments."""

from statistics import NormalDist

import numpy as np
import pytest
from numpy.typing import NDArray

from vllm_opt.profiles.nouns.workload import ContextsInFlight

REQUESTS = 200_000
MOMENTS = 400_000
Numbers = NDArray[np.float64]


def lengths(draw: np.random.Generator, mean: float, variation: float) -> Numbers:
    """Gamma distributed lengths with a mean and a coefficient of variation."""
    if variation == 0:
        return np.full(REQUESTS, float(mean))
    shape = 1 / variation**2
    return draw.gamma(shape, mean / shape, REQUESTS)


def contexts(prompt: float, answer: float, a: float, b: float) -> Numbers:
    """Tokens held by one slot of a busy server at random moments: one token a step, the next request at once."""
    draw = np.random.default_rng(7)
    prompts, answers = lengths(draw, prompt, a), lengths(draw, answer, b)
    ends = np.cumsum(answers)
    moments = draw.uniform(0, ends[-1], MOMENTS)
    current = np.minimum(np.searchsorted(ends, moments, side="right"), REQUESTS - 1)
    held: Numbers = prompts[current] + moments - (ends[current] - answers[current])
    return held


@pytest.mark.parametrize(
    ("prompt", "answer", "a", "b"),
    [(1000, 300, 0.5, 0.5), (200, 800, 0.0, 1.0), (5000, 100, 1.0, 0.0), (500, 500, 0.8, 0.3)],
)
def test_mean_and_spread_are_those_of_a_simulated_server(prompt: float, answer: float, a: float, b: float) -> None:
    held = contexts(prompt, answer, a, b)
    formula = ContextsInFlight.of_lengths(prompt, answer, input_variation=a, output_variation=b, quantile=0.0)
    assert held.mean() == pytest.approx(formula.mean_tokens, rel=0.01)
    assert held.std() == pytest.approx(formula.deviation_tokens, rel=0.03)


@pytest.mark.parametrize("sequences", [16, 64, 256])
@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.99])
def test_a_pool_overflows_as_seldom_as_was_asked(sequences: int, confidence: float) -> None:
    held = contexts(1200, 400, 0.5, 0.5)
    rows = held[: len(held) // sequences * sequences].reshape(-1, sequences).sum(axis=1)
    found = ContextsInFlight.of_lengths(
        1200, 400, input_variation=0.5, output_variation=0.5, quantile=NormalDist().inv_cdf(confidence)
    )
    pool = sequences * found.tokens_each(sequences)
    assert float((rows > pool).mean()) == pytest.approx(1 - confidence, abs=0.03)
    assert found.overflow_probability(sequences, pool) == pytest.approx(1 - confidence, abs=0.01)


def test_without_spread_the_pool_holds_or_does_not() -> None:
    constant = ContextsInFlight(mean_tokens=100, deviation_tokens=0, quantile=1.3)
    assert constant.tokens_each(10) == 100
    assert constant.overflow_probability(10, 1000) == 0.0
    assert constant.overflow_probability(10, 999) == 1.0
