"""`simulate`: requests through one configuration, step by step, and what became of each."""

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from vllm_opt.constraints.memory.ledger import memory_terms
from vllm_opt.constraints.speed.coefficients import latency_coefficients
from vllm_opt.constraints.speed.step_time import LatencyCoefficients
from vllm_opt.optimizer.contract.answer import Estimate
from vllm_opt.optimizer.contract.simulation import Interval, Played, PlayedRequest, SimulateRequest, Simulation
from vllm_opt.optimizer.estimation.estimate import estimate_setting
from vllm_opt.optimizer.estimation.resolution import Setting, resolve
from vllm_opt.optimizer.simulation.arrivals import Clients
from vllm_opt.optimizer.simulation.scheduler import Engine, EngineLimits
from vllm_opt.optimizer.simulation.sequence import Arrival, Sequence
from vllm_opt.optimizer.simulation.step_clock import StepClock
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

WARM_UP_SHARE = 0.1
PERCENTILES = (50, 90, 95, 99)
PIECES = 60
"""Pieces of time of the picture."""
NOT_PLAYED = (
    "the simulation plays step times of the same model as the closed forms: it checks the queueing, not the hardware"
)


def simulate(request: SimulateRequest, catalog: Catalog | None = None) -> Simulation:
    """Play requests through the scheduler of one configuration.

    Raises:
        InvalidRequest: a value that cannot be understood, or a load that an engine does not see.
        UnknownProfile: a model, GPU, format or release that the catalogue does not hold.
    """
    catalog = catalog or Catalog(gpu_file=request.gpu_file, prices_file=request.prices)
    setting = resolve(request, catalog)
    found = estimate_setting(setting, request)
    answer = Simulation(
        request=found.request, fits=found.fits, closed_form=found.performance, violations=found.violations,
        notes=(*found.notes, NOT_PLAYED),
    )  # fmt: skip
    if not found.fits or found.performance is None:
        return answer
    log, engines, span = _play(request, setting, found)
    counted = _steady(log, request)
    played = _played(counted, log, engines, span)
    return answer.model_copy(update={"played": played, "timeline": timeline(log), "log": tuple(log)})


Log = tuple[list[PlayedRequest], list[Engine], float]
"""Every request, every lane, seconds until the last one is finished."""


def _play(request: SimulateRequest, setting: Setting, found: Estimate) -> Log:
    """Every lane, one after the other: they share nothing but the clients."""
    coefficients = latency_coefficients(
        setting.model, setting.quantization, setting.layout, setting.gpu, default_latency_constants(),
        calibrated=request.calibration, release=setting.engine.version,
    )  # fmt: skip
    stages = setting.layout.pipeline_parallel_size
    assert found.performance is not None
    clients = Clients(
        request, _lengths(found), found.performance.load.users,
        setting.layout.data_parallel_size * setting.replicas * stages,
    )  # fmt: skip
    limits = _limits(request, setting, found, stages)
    if request.pattern not in ("burst", "offline"):  # what is sent at once is there before the first step is planned
        limits = replace(limits, planned_ahead=bool(coefficients.ahead_steps))
    lanes = _Lanes(coefficients, limits, clients)
    return lanes.play()


def _lengths(found: Estimate) -> tuple[int, int]:
    return int(found.request["input_tokens"]), int(found.request["output_tokens"])


def _limits(request: SimulateRequest, setting: Setting, found: Estimate, stages: int) -> EngineLimits:
    """What bounds the batch of one lane; the lanes of a pipeline share slots and pool evenly."""
    terms = memory_terms(setting.model, setting.quantization, setting.layout, setting.engine, setting.gpu)
    tokens = int(found.request["max_num_batched_tokens"])

    @cache
    def blocks_of(context: int) -> int:
        return terms.kv.sequence_blocks(max(1, context), tokens).each

    longest = sum(_lengths(found))
    if request.lengths is not None:
        longest = int(found.request["max_model_len"])
    pool = found.memory.num_gpu_blocks // stages
    if blocks_of(min(longest, int(found.request["max_model_len"]))) > pool:
        raise InvalidRequest("the KV pool does not hold one request of the lengths asked; shorten them")
    cached = setting.layout.enable_prefix_caching
    return EngineLimits(
        max_num_seqs=max(1, int(found.request["max_num_seqs"]) // stages),
        max_num_batched_tokens=tokens,
        pool_blocks=pool,
        blocks_of=blocks_of,
        chunked_prefill=setting.layout.enable_chunked_prefill,
        hit_share=request.prefix_hit_share if cached else 0.0,
    )


@dataclass(frozen=True)
class _Lanes:
    """The engines of a simulation."""

    coefficients: LatencyCoefficients
    limits: EngineLimits
    clients: Clients

    def play(self) -> Log:
        """Every lane to its end."""
        closed = self.clients.request.pattern == "closed"
        streams = [] if closed else self.clients.streams()
        log: list[PlayedRequest] = []
        engines = []
        for lane in range(self.clients.lanes):
            done: list[Sequence] = []
            engine = self._engine(done)
            if closed:
                self._loop(engine, lane, done)
            else:
                for arrival in streams[lane]:
                    engine.send(arrival)
            engine.run()
            engines.append(engine)
            log += [_finished(one, lane) for one in done]
        log.sort(key=lambda one: (one.arrival_s, one.engine, one.number))
        return log, engines, max((engine.now for engine in engines), default=0.0)

    def _engine(self, done: list[Sequence]) -> Engine:
        c = self.coefficients
        begin, token, busy = (float(np.asarray(x)) for x in (c.frontend_s, c.frontend_token_s, c.busy_frontend_s))

        def delay(arrival: Arrival, others: bool) -> float:
            return begin + token * arrival.input_tokens + busy * others

        return Engine(StepClock(c), self.limits, delay, lambda one, _now: done.append(one))

    def _loop(self, engine: Engine, lane: int, done: list[Sequence]) -> None:
        """Users of a closed loop: each sends its next request when the last is finished, and a pause has passed."""
        clients, random = self.clients, np.random.default_rng([self.clients.request.seed, lane])
        users = clients.users // clients.lanes + (lane < clients.users % clients.lanes)
        share = clients.number * users // max(1, clients.users)
        sizes, pause = iter(list(clients.sizes(random))[:share]), clients.request.think_time_s

        def send(at: float) -> None:
            size = next(sizes, None)
            if size is not None:
                engine.send(Arrival(at, *size))

        def finished(one: Sequence, now: float) -> None:
            done.append(one)
            send(now + (random.exponential(pause) if pause else 0.0))

        engine.on_finish = finished
        spread = clients.lengths[1] * float(engine.clock.decode_law(1)(float(sum(clients.lengths)), 0.0)) + pause
        for start in sorted(random.uniform(0.0, spread, users).tolist()):
            send(start)


def _finished(one: Sequence, lane: int) -> PlayedRequest:
    first, outputs = one.first_token_s - one.arrival.at_s, one.arrival.output_tokens
    total = one.finished_s - one.arrival.at_s
    return PlayedRequest(
        number=one.number,
        engine=lane,
        arrival_s=one.arrival.at_s,
        input_tokens=one.arrival.input_tokens,
        output_tokens=outputs,
        ttft_ms=first * 1e3,
        tpot_ms=(total - first) / (outputs - 1) * 1e3 if outputs > 1 else None,
        e2e_ms=total * 1e3,
        preemptions=one.preemptions,
    )


def _steady(log: list[PlayedRequest], request: SimulateRequest) -> list[PlayedRequest]:
    """What is counted: all of a burst, a batch or a trace, else without the first tenth."""
    if request.pattern in ("burst", "offline") or request.lengths is not None:
        return log
    return log[int(len(log) * WARM_UP_SHARE) :]


def _played(counted: list[PlayedRequest], log: list[PlayedRequest], engines: list[Engine], span: float) -> Played:
    begin = min(one.arrival_s for one in log)
    lasted = max(span - begin, 1e-9)
    times = {
        "ttft_ms": spread([one.ttft_ms for one in counted]),
        "tpot_ms": spread([one.tpot_ms for one in counted if one.tpot_ms is not None]),
        "e2e_ms": spread([one.e2e_ms for one in counted]),
    }
    return Played(
        requests=len(counted),
        duration_s=lasted,
        output_tokens_per_s=sum(one.output_tokens for one in log) / lasted,
        requests_per_s=len(log) / lasted,
        preemptions=sum(one.preemptions for one in log),
        steps=sum(engine.steps for engine in engines),
        utilization=min(1.0, sum(engine.busy_s for engine in engines) / (lasted * len(engines))),
        times={name: values for name, values in times.items() if values},
    )


def spread(values: Many[float]) -> dict[str, float]:
    """Mean and percentiles; empty without values."""
    if not values:
        return {}
    found = {"mean": math.fsum(values) / len(values)}
    return found | {f"p{percent}": float(np.percentile(values, percent)) for percent in PERCENTILES}


def timeline(log: Many[PlayedRequest]) -> tuple[Interval, ...]:
    """TTFT by time of arrival, in pieces of equal length."""
    begin, end = log[0].arrival_s, log[-1].arrival_s
    width = (end - begin) / PIECES
    if width <= 0:
        return ()
    pieces: list[list[float]] = [[] for _ in range(PIECES)]
    for one in log:
        pieces[min(PIECES - 1, int((one.arrival_s - begin) / width))].append(one.ttft_ms)
    return tuple(
        Interval(
            from_s=begin + at * width, to_s=begin + (at + 1) * width, requests=len(values),
            ttft_ms={f"p{percent}": float(np.percentile(values, percent)) for percent in (50, 95)} if values else {},
        )
        for at, values in enumerate(pieces)
    )  # fmt: skip
