"""Predicted speed of many (row, step width, batch) at once, remembered: explanations ask for the same points often."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vllm_opt.constraints.speed.bracket import closed_loop_bracket
from vllm_opt.constraints.speed.encoding import encodes
from vllm_opt.constraints.speed.latency import LoadPrediction, closed_loop
from vllm_opt.constraints.speed.spread import Metric, quantile_factor
from vllm_opt.constraints.speed.step_time import decode_attention, prefill_attention, step_time
from vllm_opt.optimizer.questions.landscape import Landscape
from vllm_opt.optimizer.questions.pools import Integers
from vllm_opt.optimizer.space.queued import queued
from vllm_opt.optimizer.space.setting import SolveSetting

Numbers = NDArray[np.float64]
COLUMNS, LONE, BRACKET = 4, 7, 3
METRICS: tuple[Metric, ...] = ("ttft", "tpot", "throughput")
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

    def take(self, index: Integers) -> "Speed":
        """Some of the points."""
        return Speed(*(column[index] for column in (self.ttft_ms, self.tpot_ms, self.rate, self.rate_factor)))


@dataclass(frozen=True)
class Bounds:
    """What no batch of a row can beat: lowest times, highest output rate of one engine."""

    ttft_ms: Numbers
    tpot_ms: Numbers
    rate: Numbers


class SpeedTable:
    """Speeds of one landscape for one typical request."""

    def __init__(self, landscape: Landscape, setting: SolveSetting) -> None:
        self._landscape, self._setting = landscape, setting
        self._alike = landscape.alike(hits=setting.request.hit_share > 0)
        self._lones: dict[int, Numbers] = {}
        self._widths: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._averages: dict[float, int] = {}
        self._rates: dict[int, float] = {}
        self._values = np.empty((0, COLUMNS))
        self._count = 0
        self._bracket_row: dict[int, int] = {}
        self._brackets = np.empty((0, BRACKET))

    def at(self, rows: Integers, tokens: Integers, sequences: Integers) -> Speed:
        """Speeds of so many users, all of whom run."""
        rows = self._alike[rows]
        keys = self._keys_of(rows, tokens, sequences)
        index = np.array([self._known.get(key, -1) for key in keys.tolist()], dtype=np.int64)
        missing = np.flatnonzero(index < 0)
        if len(missing):
            _, first = np.unique(keys[missing], return_index=True)
            self._learn(keys, missing[first], rows, tokens, sequences)
            index[missing] = [self._known[key] for key in keys[missing].tolist()]
        values = self._values[index] if len(self._values) else np.empty((len(rows), COLUMNS))
        return Speed(*np.ascontiguousarray(values.T))

    def under_rate(self, rows: Integers, tokens: Integers, sequences: Integers, engines: Integers) -> Speed:
        """Speeds of so many slots where engines share random arrivals; the rate is that of one engine."""
        shared = engines.astype(np.float64)
        ttft, tpot, rate = self._queued(rows, tokens, sequences.astype(np.float64), shared, shared)
        return Speed(ttft, tpot, rate / shared, np.ones(len(rows)))

    def _queued(
        self, rows: Integers, tokens: Integers, slots: Numbers, users: Numbers, engines: Numbers
    ) -> tuple[Numbers, Numbers, Numbers]:
        """(TTFT, TPOT, tokens/s of all engines) at the confidence asked, by queueing."""
        if not len(rows):
            return slots, slots, slots
        coefficients = self._landscape.coefficients(rows)
        flags = slots, tokens.astype(np.float64), self._landscape.chunked[rows].astype(np.float64)
        found = queued(self._setting, coefficients, engines, users, (*flags, self._landscape.cached[rows]))
        output = found.times.requests_per_s * float(self._setting.lengths[1])
        first, token = found.times.ttft_ms, found.times.tpot_ms
        if self._setting.demand.arrivals == "closed" and not self._setting.demand.think_s:
            load = self._closed(rows, tokens, users)
            first, token = load.ttft_ms, load.tpot_ms
        ttft, tpot, total = found.bounds(engines, first, token, output)
        return ttft, tpot, total

    def rates(self, rows: Integers, tokens: Integers, users: Numbers) -> Numbers:
        """Output rate of one engine whose users are an average over engines, and so no whole number."""
        rows = self._alike[rows]
        keys = self._keys_of(rows, tokens, self._numbers(users)).tolist()
        new = [at for at, key in enumerate(keys) if key not in self._rates]
        if new:
            fresh = self._evaluate(rows[new], tokens[new], users[new])[:, 2]
            self._rates.update(zip((keys[at] for at in new), fresh.tolist(), strict=True))
        return np.array([self._rates[key] for key in keys])

    def brackets(self, rows: Integers, tokens: Integers, users: Numbers) -> Bounds | None:
        """Bounds at the confidence asked on the speeds of so many users, all of whom run: close to what is predicted.

        None for answers of one token, percentiles, random arrivals, and prompts that are encoded or loaded.
        """
        if self._setting.lengths[1] <= 1 or self._setting.request.needs_queueing:
            return None
        rows, known = self._alike[rows], self._bracket_row
        keys = self._keys_of(rows, tokens, self._numbers(users)).tolist()
        new = list({key: at for at, key in enumerate(keys) if key not in known}.values())
        if new:
            found = self._bracketed(rows[new], tokens[new], users[new])
            if found is None:
                return None
            known.update(zip((keys[at] for at in new), range(len(known), len(known) + len(new)), strict=True))
            self._brackets = np.concatenate([self._brackets, found])
        return Bounds(*self._brackets[[known[key] for key in keys]].T)

    def _bracketed(self, rows: Integers, tokens: Integers, users: Numbers) -> Numbers | None:
        c, confidence = self._landscape.coefficients(rows), self._setting.request.confidence
        if encodes(c):
            return None
        hit = np.where(self._landscape.cached[rows], self._setting.request.hit_share, 0.0)
        flags = np.ceil(users), tokens.astype(np.float64)
        chunked = self._landscape.chunked[rows].astype(np.float64)
        bracket = closed_loop_bracket(c, users, *flags, self._setting.lengths, chunked, hit)
        ttft, tpot, throughput = (quantile_factor(c, metric, confidence) for metric in METRICS)
        rate = bracket.most_requests_per_s * float(self._setting.lengths[1]) * throughput
        return np.stack([bracket.least_ttft_s * 1e3 * ttft, bracket.least_tpot_s * 1e3 * tpot, rate], axis=1)

    def _numbers(self, users: Numbers) -> Integers:
        """A number for each number of users, which need not be whole."""
        averages, position = np.unique(users, return_inverse=True)
        numbers = [self._averages.setdefault(average, len(self._averages)) for average in averages.tolist()]
        found: Integers = np.array(numbers, dtype=np.int64)[position]
        return found

    def bounds(self, rows: Integers, tokens: Integers, most: Integers) -> Bounds:
        """Bounds at the confidence asked that no batch of up to `most` can beat: one step, where a prediction takes 40.

            TPOT(D) >= a = T(1, context, 0)    and    TPOT(D) >= D b + (D - 1) c
            TTFT    >= frontend + one pass over the prompt, nobody else running
            rate    <= min(most, (a + c) / (b + c)) / ((O - 1) a)

        b: arithmetic and cache reads per decoded token, c: arithmetic of the prompt tokens that ride along with each
        (`steady_state.step_mix`); the two bounds on TPOT cross at D = (a + c) / (b + c).
        """
        outputs = self._setting.lengths[1]
        ttft, tpot, most_decoders, decoding, *factors = self._lone(self._alike[rows] // 2, tokens).T
        rate = np.minimum(most, most_decoders) * outputs / decoding if outputs > 1 else most_decoders
        return Bounds(
            SAFETY * ttft * 1e3 * factors[0], SAFETY * tpot * 1e3 * factors[1], rate / SAFETY * factors[2]
        )  # fmt: skip

    def _lone(self, places: Integers, tokens: Integers) -> Numbers:
        """What bounds are made of, per place and width, computed once: TTFT, TPOT, the decoders where the two bounds on
        TPOT cross, seconds of a request's decoding, and the factors of the confidence asked."""
        found = np.empty((len(places), LONE))
        one = len(tokens) > 0 and bool((tokens == tokens[0]).all())
        for width in [int(tokens[0])] if one else np.unique(tokens).tolist():
            if width not in self._lones:
                self._lones[width] = np.full((len(self._landscape.places), LONE), np.nan)
            known, mine = self._lones[width], np.flatnonzero(tokens == width)
            missing = np.unique(places[mine])
            missing = missing[np.isnan(known[missing, 0])]
            if len(missing):
                known[missing] = self._lone_of(missing, float(width))
            found[mine] = known[places[mine]]
        return found

    def _lone_of(self, places: Integers, width: float) -> Numbers:
        request, (inputs, outputs) = self._setting.request, self._setting.lengths
        # Eager mode is never faster than the same layout with graphs before padding, which bounds leave out.
        c = self._landscape.coefficients(2 * places)
        hit = np.where(self._landscape.cached[2 * places], request.hit_share, 0.0)
        judged = self._setting.targets.ttft_percentile is not None
        prompt_tokens = inputs * (self._setting.demand.lengths.median_input if judged else 1.0)
        computed, span = np.maximum(1.0, prompt_tokens * (1.0 - hit)), prompt_tokens * (1.0 + hit) / 2.0
        whole, context = np.minimum(computed, max(width, 2.0)), inputs + outputs / 2.0
        none = np.zeros(len(places))
        tpot = step_time(c, none + 1.0, context, none, span, padding=False)
        prompt = step_time(c, none, context, whole, span, padding=False) * computed / whole
        ttft = c.frontend_s + prompt * c.prefill_factor / c.pipeline_stages
        each = c.dense_compute_s_per_token + c.expert_compute_s_per_token + c.token_s
        steps = max(1.0, outputs - 1.0)
        riding = computed / steps * (each + prefill_attention(c, span))
        crossing = np.maximum(1.0, (tpot + riding) / (each + decode_attention(c, context) + riding))
        lone = [ttft, tpot, c.pipeline_stages * crossing, steps * tpot]
        if outputs <= 1:
            lone = [np.asarray(c.frontend_s), none, none + np.inf, none]
        factors = [np.broadcast_to(quantile_factor(c, metric, request.confidence), none.shape) for metric in METRICS]
        return np.stack([*lone, *factors], axis=1)

    def _keys_of(self, rows: Integers, tokens: Integers, sequences: Integers) -> Integers:
        widths, position = np.unique(tokens, return_inverse=True)
        numbers = [self._widths.setdefault(width, len(self._widths)) for width in widths.tolist()]
        index = np.array(numbers, dtype=np.int64)[position] if numbers else np.empty(0, dtype=np.int64)
        return (((rows << WIDTH_BITS) | index) << SEQUENCE_BITS) | sequences

    def _learn(self, keys: Integers, chosen: Integers, rows: Integers, tokens: Integers, sequences: Integers) -> None:
        found = self._evaluate(rows[chosen], tokens[chosen], sequences[chosen].astype(np.float64))
        end = self._count + len(chosen)
        if end > len(self._values):
            room = np.empty((max(end, 2 * len(self._values)), COLUMNS))
            room[: self._count] = self._values[: self._count]
            self._values = room
        self._values[self._count : end] = found
        self._known.update(zip(keys[chosen].tolist(), range(self._count, end), strict=True))
        self._count = end

    def _evaluate(self, rows: Integers, tokens: Integers, users: Numbers) -> Numbers:
        coefficients, confidence = self._landscape.coefficients(rows), self._setting.request.confidence
        load = self._closed(rows, tokens, users)
        ttft, tpot, rate = load.ttft_ms, load.tpot_ms, load.output_tokens_per_s
        first, token = (quantile_factor(coefficients, metric, confidence) for metric in METRICS[:2])
        slower = np.broadcast_to(quantile_factor(coefficients, "throughput", confidence), rows.shape)
        if self._setting.request.needs_queueing:
            timed = self._queued(rows, tokens, np.ceil(users), np.ceil(users), np.ones(len(rows)))
            rate = rate if self._setting.demand.arrivals == "closed" else timed[2] / slower
            return np.stack([timed[0], timed[1], rate, slower], axis=1)
        return np.stack([ttft * first, tpot * token, rate, slower], axis=1)

    def _closed(self, rows: Integers, tokens: Integers, users: Numbers) -> LoadPrediction:
        """A closed loop of so many users, all of whom run."""
        request, lengths = self._setting.request, self._setting.lengths
        return closed_loop(
            self._landscape.coefficients(rows),
            users=users,
            max_num_seqs=np.ceil(users),
            max_num_batched_tokens=tokens.astype(np.float64),
            input_tokens=float(lengths[0]),
            output_tokens=float(lengths[1]),
            chunked_prefill=self._landscape.chunked[rows].astype(np.float64),
            prefix_hit_share=np.where(self._landscape.cached[rows], request.hit_share, 0.0),
        )
