"""What encoding images, videos or speech does to the times of an engine's requests.

An encoder runs on the GPUs that decode, so the n users of one engine wait for each other's items: in the time that each
of them needs for one request, n items of X seconds are encoded.

    e2e' = e2e (1 + (n - 1) X / e2e) + X, and TTFT and TPOT are stretched alike
    requests/s' = requests/s * e2e / e2e' of a closed loop or a burst;   capacity' = 1 / (1 / capacity + X)

n is the number of users, or what random arrivals have in flight (rate x e2e). TTFT and TPOT still never fall when users
grow, because n / e2e does not. A prefix that is loaded from host memory lengthens its own request alone: the copy runs
beside the steps (vLLM 0.33 `v1/kv_offload/worker`).
"""

import numpy as np

from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, Scalars

SOONEST_S = 1e-12
"""Stands for no time at all where it is divided by."""


def encodes(c: LatencyCoefficients) -> bool:
    """Whether any engine encodes or loads something: most do neither, and keep every digit of their times."""
    return bool(np.any(np.asarray(c.encoder_s) > 0) or np.any(np.asarray(c.load_s) > 0))


def stretched(e2e: Numbers, in_flight: Numbers, encoder_s: Scalars) -> Numbers:
    """By what other requests' items lengthen a request's own steps."""
    return np.asarray(1.0 + np.maximum(0.0, in_flight - 1.0) * encoder_s / e2e)


def with_encoding(
    c: LatencyCoefficients, times: tuple[Numbers, ...], outputs: Numbers, load: Numbers, *, random: bool
) -> tuple[Numbers, ...]:
    """TTFT, TPOT, requests/s and saturation of engines with their encoders; `load` is users, or requests/s."""
    ttft, tpot, rate, saturated = times
    e2e = ttft + np.where(outputs <= 1.0, 0.0, np.nan_to_num(tpot) * np.maximum(outputs - 1.0, 0.0))
    factor = stretched(e2e, rate * e2e if random else load, c.encoder_s)
    if random:
        slower = np.minimum(rate, 1.0 / np.maximum(c.encoder_s, SOONEST_S))
    else:
        slower = rate * e2e / (e2e * factor + c.encoder_s + c.load_s)
    return ttft * factor + c.encoder_s + c.load_s, tpot * factor, slower, saturated
