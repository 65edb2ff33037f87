"""The closed loop solved again, one number at a time, by plain bisection over the decoders that run at once.

    users(D) = D + X (TTFT - wait for a slot)         X = D / (decode steps x TPOT)                   Little's law

Borrowed from `constraints/speed`: the seconds per unit (`coefficients.py`), which are facts about model and card; the
steps, the mix of prefill and decode, the waits and the rates are counted here. They agree within `TOLERANCE`: the other
side solves on a grid and interpolates where a step is rounded up to a captured size. A rounded step makes users(D) jump
and fall, so a load may have several solutions: where the one found differs, any of them is accepted (`solutions`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, exp, expm1, inf, log1p, sqrt
from statistics import NormalDist
from typing import Any

from vllm_opt.constraints.decisions.configuration import Layout
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.model_work import model_work
from vllm_opt.optimizer.second_opinion.subject import OutOfReach, Subject
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants
from vllm_opt.profiles.nouns.model import StateSpace

TOLERANCE = 0.02
HALVINGS = 200
CELL = 0.01
"""relative distance of decoders within which the other side's grid tells nothing apart"""
FEWEST_DECODERS = 1e-5
LARGEST_GRAPH = 512
CHORD = 64
Range = tuple[float, float]


@dataclass(frozen=True)
class Speed:
    """What one load gives, in the units of an answer."""

    ttft_ms: float
    tpot_ms: float | None
    output_tokens_per_s: float


@dataclass(frozen=True)
class Loop:
    """One engine's numbers: seconds per unit, lengths of the typical request, and the width of a step."""

    unit: Any
    """`LatencyCoefficients` of one layout: plain floats by name."""
    prompt: int
    answer: int
    hit: float
    width: float
    chunked: bool

    @property
    def computed(self) -> float:
        """Prompt tokens that are not found in the prefix cache."""
        return max(1.0, self.prompt * (1 - self.hit))

    @property
    def steps(self) -> int:
        """Decode steps of a request."""
        return max(self.answer - 1, 1)

    @property
    def span(self) -> float:
        """Tokens that a prompt token attends to on average."""
        return self.prompt * (1 + self.hit) / 2

    @property
    def context(self) -> float:
        """Tokens that a decoding sequence holds on average."""
        return self.prompt + self.answer / 2

    @property
    def most(self) -> float:
        """Decoders at which steps are full."""
        return self.width / (1 + self.computed / self.steps) if self.chunked else self.width

    def step(self, decoders: float, prefill: float, *, padded: bool = True) -> float:
        """Seconds of one step."""
        c, tokens = self.unit, decoders + prefill
        batch = _rounded(tokens) if padded else tokens
        total = _overlap(c.dense_memory_s, c.dense_compute_s_per_token * batch, c.serial_share)
        total += _overlap(c.head_memory_s, c.head_compute_s_per_sequence * max(decoders, 1.0), c.serial_share)
        missed = c.expert_miss_log - c.expert_shape * log1p(-max(tokens - 1, 0.0) * c.expert_miss_log / c.expert_shape)
        hit = -expm1(missed)
        hit = min(hit + c.expert_imbalance * sqrt(hit * (1 - hit)), 1.0)
        total += _overlap(c.expert_memory_s * hit, c.expert_compute_s_per_token * batch, c.serial_share)
        total += c.token_s * batch + c.sequence_s * decoders + c.fixed_s
        total += decoders * (
            c.decode_s_per_context_token * self.context
            + c.decode_s_per_window_token * min(self.context, c.window_tokens)
        )
        total += prefill * self._attend()
        launch = c.eager_launch_s if c.eager else 0.0
        if padded and tokens > LARGEST_GRAPH:
            launch = max(launch, c.wide_launch_s)
        if padded:
            launch = max(launch, (1 + min(decoders, 1.0) * (prefill > 0)) * c.latent_launch_s)
        return float(max(total, launch) + c.eager * c.eager_s)

    def _attend(self) -> float:
        c = self.unit
        return float(
            c.prefill_s_per_span_token * self.span + c.prefill_s_per_window_token * min(self.span, c.window_tokens)
        )

    def mix(self, decoders: float) -> tuple[float, float]:
        """(TPOT, one request's own prefill) with so many decoders on average."""
        running, others = max(decoders, 1.0), max(decoders - 1, 0.0)
        room, whole = max(self.width - decoders, 1.0), min(self.computed, self.width)
        riding = others * self.computed / self.steps
        share = min(max(1 - exp(-max(riding / whole, 1e-9)), riding / room), 1.0)
        alone = self.step(running, 0.0)
        factor, stages = self.unit.prefill_factor, self.unit.pipeline_stages
        if not self.chunked:
            prefill = self.step(0.0, self.computed) * factor
            return alone + others / self.steps * prefill, prefill * self._fill(1.0)
        beside = self.step(running, min(riding / share, room))
        chunk = min(whole, room)
        prefill = self.step(others, chunk) * self.computed / chunk * factor
        delayed = 1 - (1 - share) ** stages
        return alone + delayed * (beside - alone), prefill * self._fill(self.computed / whole)

    def _fill(self, chunks: float) -> float:
        stages = self.unit.pipeline_stages
        return float((chunks + stages - 1) / (chunks * stages))

    def wait(self, users: float, tpot: float) -> float:
        """Seconds that a prompt waits for others' prefills."""
        c = self.unit
        work = c.dense_compute_s_per_token + c.expert_compute_s_per_token + c.token_s + self._attend()
        added = self.computed * work * c.prefill_factor
        alone, crowd = self.step(1.0, 0.0, padded=False), self.step(float(CHORD), 0.0, padded=False)
        growth = max(crowd - alone, 0.0) / (CHORD - 1) * self.steps
        others = max(users - 1, 0.0)
        meeting = added / max(added + alone * self.steps + growth * others, 1e-300)
        together = meeting + (1 - meeting) * c.synchrony / 2
        step = others / max(users, 1.0) * tpot * (0.5 + c.ahead_steps)
        crowd = others / max(others + c.busy_users, 1e-300) * c.busy_frontend_s
        request = c.request_s + c.frontend_token_s * self.prompt
        return float(step + crowd + others * together * (added + request))

    def held(self, decoders: float) -> float:
        """Users of whom so many decode at once."""
        tpot, prefill = self.mix(decoders)
        rate = decoders / (self.steps * tpot)
        crowd = decoders + rate * (self.before + prefill)
        return float(crowd + rate * self.wait(crowd, tpot))

    @property
    def before(self) -> float:
        """Seconds before the engine sees a request."""
        return float(self.unit.frontend_s + self.unit.frontend_token_s * self.prompt)

    def solve(self, users: float, slots: float) -> tuple[float, float, float]:
        """(TTFT s, TPOT s, requests per second) of so many users on so many slots."""
        if self.answer <= 1:
            return self._prompts_only(users, slots)
        admitted = min(users, slots)
        low, high = 0.0, self.most
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.held(middle) < admitted else (low, middle)
        return self._with(high, users, admitted)

    def _with(self, decoders: float, users: float, admitted: float) -> tuple[float, float, float]:
        """What so many decoders make of (TTFT s, TPOT s, requests per second)."""
        tpot, prefill = self.mix(decoders)
        rate, resident = decoders / (self.steps * tpot), min(admitted, self.held(self.most))
        queue = (users - resident) / rate if users > resident else 0.0
        return float(self.before + prefill + self.wait(resident, tpot) + queue), tpot, rate

    def solutions(self, users: float, slots: float) -> Iterator[tuple[Range, Range, Range]]:
        """Every solution, as the least and the most of TTFT, TPOT and rate within a cell around it."""
        if self.answer <= 1:
            yield tuple((one, one) for one in self._prompts_only(users, slots))  # type: ignore[misc]
            return
        admitted, decoders = min(users, slots), FEWEST_DECODERS * min(self.most, 1.0)
        while decoders < self.most:
            following = min(decoders * (1 + CELL), self.most)
            ends = self.held(decoders), self.held(following)
            if min(ends) <= admitted <= max(ends) or (following == self.most and admitted > max(ends)):
                near = (decoders / (1 + CELL), decoders, following, min(following * (1 + CELL), self.most))
                found = [self._with(count, users, admitted) for count in near]
                yield tuple((min(column), max(column)) for column in zip(*found, strict=True))  # type: ignore[misc]
            decoders = following

    def _prompts_only(self, users: float, slots: float) -> tuple[float, float, float]:
        alone = min(self.computed, self.width)
        factor = self.unit.prefill_factor
        one = self.step(0.0, alone) * self.computed / alone * factor * self._fill(self.computed / alone)
        least = self.step(0.0, self.width) * factor * self.computed / self.width
        others = max(min(users, slots) - 1, 0.0)
        ttft = self.before + max(one + others * least, users * least)
        return ttft, inf, users / ttft


def _overlap(memory: float, compute: float, serial: float) -> float:
    return max(memory, compute) + serial * min(memory, compute)


def _rounded(tokens: float) -> float:
    """Tokens of a step, rounded up to a captured batch: 1, 2, 4, every 8 to 256, every 16 to 512."""
    whole = ceil(tokens - 1e-9)
    if whole > LARGEST_GRAPH:
        return tokens
    gap = 1 if whole <= 2 else 2 if whole <= 4 else 8 if whole <= 256 else 16
    return ceil(whole / gap) * gap


def loop_of(subject: Subject) -> Loop:
    """The numbers of one engine of the plan."""
    plan, request = subject.plan, subject.request
    layout = Layout(
        gpu=plan.gpu, tensor_parallel_size=subject.ranks, pipeline_parallel_size=plan.pipeline_parallel_size,
        data_parallel_size=plan.data_parallel_size, decode_context_parallel_size=plan.decode_context_parallel_size,
        expert_parallel=plan.expert_parallel, quantization=plan.quantization, checkpoint=plan.checkpoint,
        kv_cache_dtype=plan.kv_cache_dtype, enforce_eager=subject.eager,
    )  # fmt: skip
    if plan.performance.load.pattern != "closed" or request.get("think_time_s"):
        raise OutOfReach("speed of traffic that is no closed loop")
    if request.get("lengths"):
        raise OutOfReach("speed of lengths that differ")
    if plan.flags.get("distributed-executor-backend") == "ray":
        raise OutOfReach("the speed of a server on several nodes")
    if request.get("offload_hit_share"):
        raise OutOfReach("the speed of prompts that come from a KV offload tier")
    unit = latency_coefficients(
        subject.model, subject.quantization, layout, subject.gpu, default_latency_constants(),
        calibrated=bool(request.get("calibration", True)), release=plan.vllm_version,
        work=model_work.__wrapped__(subject.model, subject.quantization),
    )  # fmt: skip
    hit = float(request.get("prefix_hit_share") or 0.0)
    if not plan.flags.get("enable-prefix-caching", _caches_prefixes(subject)):
        hit = 0.0
    return Loop(
        unit, int(request["input_tokens"]), int(request["output_tokens"]), hit,
        float(max(2, subject.number("max-num-batched-tokens"))), subject.chunked,
    )  # fmt: skip


def _caches_prefixes(subject: Subject) -> bool:
    """Whether the release caches prefixes where no flag says so."""
    engine = subject.engine
    recurrent = any(isinstance(layer.mixer, StateSpace) for layer in subject.model.layers)
    return engine.prefix_caching_default_hybrid if recurrent else engine.prefix_caching_default


def speed_at(subject: Subject, loop: Loop, users: int) -> Speed:
    """What the plan gives to so many users: times of the fullest engine, rates of the average one."""
    stages, slots = loop.unit.pipeline_stages, max(subject.number("max-num-seqs"), 1) / loop.unit.pipeline_stages
    ttft, tpot, _ = loop.solve(ceil(users / subject.engines) / stages, slots)
    _, _, rate = loop.solve(users / subject.engines / stages, slots)
    return Speed(ttft * 1e3, None if loop.answer <= 1 else tpot * 1e3, rate * stages * loop.answer * subject.engines)


def solved_by(subject: Subject, loop: Loop, users: int, shown: Speed) -> bool:
    """Whether speeds that are shown are those of some solution of the load."""
    stages, slots = loop.unit.pipeline_stages, max(subject.number("max-num-seqs"), 1) / loop.unit.pipeline_stages
    times = loop.solutions(ceil(users / subject.engines) / stages, slots)
    rates = loop.solutions(users / subject.engines / stages, slots)
    per_rate = stages * loop.answer * subject.engines
    return any(
        _inside(shown.ttft_ms, ttft, 1e3) and (shown.tpot_ms is None or _inside(shown.tpot_ms, tpot, 1e3))
        for ttft, tpot, _ in times
    ) and any(_inside(shown.output_tokens_per_s, rate, per_rate) for _, _, rate in rates)


def _inside(shown: float, solution: Range, unit: float) -> bool:
    return solution[0] * unit * (1 - TOLERANCE) <= shown <= solution[1] * unit * (1 + TOLERANCE)


def sure(loop: Loop, speed: Speed, confidence: float) -> Speed:
    """The values that hold with this probability: exp(z sigma) of TTFT and TPOT, exp(-z sigma) of the rate."""
    z = NormalDist().inv_cdf(max(confidence, 0.5))
    c = loop.unit
    return Speed(
        speed.ttft_ms * exp(z * c.ttft_spread),
        None if speed.tpot_ms is None else speed.tpot_ms * exp(z * c.tpot_spread),
        speed.output_tokens_per_s * exp(-z * c.throughput_spread),
    )
