"""Predicted speed of many (row, step width, batch) at once, remembered: explanations ask for the same points often."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.latency import closed_loop
from vllm_opt.constraints.latency_spread import quantile_factor
from vllm_opt.constraints.step_time import prefill_attention, step_time
from vllm_opt.optimizer.landscape import Landscape
from vllm_opt.optimizer.landscape_memory import Integers
from vllm_opt.optimizer.solve_setting import SolveSetting

Numbers = NDArray[np.float64]
COLUMNS = 4
SEQUENCE_BITS, WIDTH_BITS = 21, 12
SAFETY = 0.98
"""Room for rounding in lower bounds, so that a bound never drops what the exact prediction admits."""


@dataclass(frozen=True)
class Speed:
    """Bounds at the confidence asked; `rate` is the central output rate of one engine, `rate_factor` bounds it."""

    ttft_ms: Numbers
    tpot_ms: Numbers
    rate: Numbers
    rate_factor: Numbers


@dataclass(frozen=True)
class Bounds:
    """What no batch of a row can beat: lowest times, highest output rate of one engine."""

    ttft_ms: Numbers
    tpot_ms: Numbers
    rate: Numbers


class SpeedTable:
    """Speeds of one landscape for one typical request."""

    def __init__(self, landscape: Landscape, setting: SolveSetting) -> None:
        self._landscape = landscape
        self._setting = setting
        self._widths: dict[int, int] = {}
        self._keys = np.empty(0, dtype=np.int64)
        self._values = np.empty((0, COLUMNS))

    def at(self, rows: Integers, tokens: Integers, sequences: Integers, users: Integers) -> Speed:
        """Speeds of these points; those with users that wait outside the batch are never remembered."""
        values = np.empty((len(rows), COLUMNS))
        plain = users <= sequences
        waiting = np.flatnonzero(~plain)
        if len(waiting):
            values[waiting] = self._evaluate(rows[waiting], tokens[waiting], sequences[waiting], users[waiting])
        keys = self._keys_of(rows, tokens, sequences)
        self._learn(keys[plain], rows[plain], tokens[plain], sequences[plain])
        if plain.any():
            values[plain] = self._values[np.searchsorted(self._keys, keys[plain])]
        return Speed(*values.T)

    def bounds(self, rows: Integers, tokens: Integers) -> Bounds:
        """Bounds at the confidence asked that no batch can beat: one step each, where a prediction takes forty.

        TPOT >= T(1, context, 0);  TTFT >= frontend + TPOT / 2 + one pass over the prompt, nobody else running;
        rate <= what the arithmetic of one request allows, or two sequences alone (`steady_state.step_mix`).
        """
        request, (inputs, outputs) = self._setting.request, self._setting.lengths
        c = self._landscape.coefficients(rows)
        hit = np.where(self._landscape.cached[rows], request.prefix_hit_share, 0.0)
        computed, span = np.maximum(1.0, inputs * (1.0 - hit)), inputs * (1.0 + hit) / 2.0
        whole, context = np.minimum(computed, np.maximum(tokens, 2.0)), inputs + outputs / 2.0
        none = np.zeros(len(rows))
        tpot = step_time(c, none + 1.0, context, none, span, padding=False)
        prompt = step_time(c, none, context, whole, span, padding=False) * computed / whole
        ttft = c.frontend_s + tpot / 2 + prompt * c.prefill_factor / c.pipeline_stages
        each = c.dense_compute_s_per_token + c.expert_compute_s_per_token + c.token_s
        work = (outputs - 1.0) * each + computed * (each + prefill_attention(c, span)) / 2.0
        steps = max(1.0, outputs - 1.0)
        rate = c.pipeline_stages * outputs * np.maximum(2.0 / (steps * tpot), 1.0 / work)
        if outputs <= 1:
            ttft, tpot, rate = np.asarray(c.frontend_s), none, none + np.inf
        factors = [quantile_factor(c, metric, request.confidence) for metric in ("ttft", "tpot", "throughput")]
        return Bounds(
            SAFETY * ttft * 1e3 * factors[0], SAFETY * tpot * 1e3 * factors[1], rate / SAFETY * factors[2]
        )  # fmt: skip

    def _keys_of(self, rows: Integers, tokens: Integers, sequences: Integers) -> Integers:
        widths, position = np.unique(tokens, return_inverse=True)
        numbers = [self._widths.setdefault(width, len(self._widths)) for width in widths.tolist()]
        index = np.array(numbers, dtype=np.int64)[position] if numbers else np.empty(0, dtype=np.int64)
        return (((rows << WIDTH_BITS) | index) << SEQUENCE_BITS) | sequences

    def _learn(self, keys: Integers, rows: Integers, tokens: Integers, sequences: Integers) -> None:
        _, first = np.unique(keys, return_index=True)
        unknown = first[~np.isin(keys[first], self._keys, assume_unique=True)]
        if not len(unknown):
            return
        found = self._evaluate(rows[unknown], tokens[unknown], sequences[unknown], sequences[unknown])
        known = np.concatenate([self._keys, keys[unknown]])
        order = np.argsort(known)
        self._keys, self._values = known[order], np.concatenate([self._values, found])[order]

    def _evaluate(self, rows: Integers, tokens: Integers, sequences: Integers, users: Integers) -> Numbers:
        request, lengths = self._setting.request, self._setting.lengths
        coefficients = self._landscape.coefficients(rows)
        load = closed_loop(
            coefficients,
            users=users.astype(np.float64),
            max_num_seqs=sequences.astype(np.float64),
            max_num_batched_tokens=tokens.astype(np.float64),
            input_tokens=float(lengths[0]),
            output_tokens=float(lengths[1]),
            chunked_prefill=self._landscape.chunked[rows].astype(np.float64),
            prefix_hit_share=np.where(self._landscape.cached[rows], request.prefix_hit_share, 0.0),
        )
        confidence = request.confidence
        return np.stack(
            [
                load.ttft_ms * quantile_factor(coefficients, "ttft", confidence),
                load.tpot_ms * quantile_factor(coefficients, "tpot", confidence),
                load.output_tokens_per_s,
                np.broadcast_to(quantile_factor(coefficients, "throughput", confidence), rows.shape),
            ],
            axis=1,
        )
