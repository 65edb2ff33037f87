"""Runs that begin with everyone at once, and bursts whose requests are sent one after another."""

import numpy as np

from vllm_opt.constraints.speed.first_token import burst_prefill, frontend
from vllm_opt.constraints.speed.latency import under_load
from vllm_opt.constraints.speed.steady_state import step_mix
from vllm_opt.constraints.speed.step_time import LatencyCoefficients, Numbers, step_time
from vllm_opt.constraints.speed.traffic import Traffic


def sent_one_by_one(c: LatencyCoefficients, table: dict[str, Numbers]) -> dict[str, Numbers]:
    """TTFT (ms) and throughput of bursts whose requests are sent at a rate, evenly over `arrival_s`.

    While prompts come faster than they are computed the engine works through them as through a burst, and everyone
    came half of the arrivals later on average; else each meets half of the others decoding and waits for one step.
    """
    together = np.minimum(table["load"], table["slots"])
    none = np.zeros_like(together)
    traffic = Traffic.of(
        table["input_tokens"], table["output_tokens"], table["max_num_batched_tokens"], none, np.ones_like(none)
    )
    prompts, before = burst_prefill(c, traffic, together), frontend(c, traffic)
    step_s, own_s = step_mix(c, traffic, together / 2.0)
    decode_s = step_time(c, together, traffic.context_tokens, none, none)
    waited_s = np.maximum(prompts.mean_s - table["arrival_s"] / 2.0, own_s + step_s / 2.0)
    whole_s = np.maximum(table["arrival_s"] + own_s, prompts.whole_s) + traffic.decode_steps * decode_s
    return {
        "ttft": 1e3 * (before + waited_s),
        "throughput": table["load"] * table["output_tokens"] / (before + whole_s),
    }


def with_first_wave(c: LatencyCoefficients, table: dict[str, Numbers], later_ms: Numbers) -> Numbers:
    """TTFT of closed loops of few requests per user, ms: the first wave of a run is the burst that it starts with.

    A mean counts every request once. The median is one of the later requests while they are the most, else the request
    of the burst at the rank that is left when those count as faster.
    """
    share = table["first_wave"]
    together = np.minimum(table["load"], table["slots"])
    none, all_chunked = np.zeros_like(share), np.ones_like(share)
    lengths = table["input_tokens"], table["output_tokens"]
    traffic = Traffic.of(*lengths, table["max_num_batched_tokens"], none, all_chunked)
    prompts, before = burst_prefill(c, traffic, together), frontend(c, traffic)
    flags = together, table["slots"], table["max_num_batched_tokens"], *lengths
    mean_ms = under_load(c, *flags, pattern="burst").ttft_ms
    rank = np.maximum(share - 0.5, 0.0) / share
    ranked_ms = 1e3 * (before + prompts.first_s + rank * (prompts.whole_s - prompts.first_s))
    median_ms = np.where(share >= 0.5, np.maximum(later_ms, ranked_ms), later_ms)
    return np.where(table["mean_ttft"], share * mean_ms + (1.0 - share) * later_ms, median_ms)
