"""One engine of vLLM's V1 scheduler, step by step (vllm/v1/core/sched/scheduler.py, 0.8 to 0.33).

    every step has max_num_batched_tokens to give
    first   each running sequence, in the order of admission: one token for a decoder, the next chunk of a prompt
    when the KV pool is short of a block, the sequence admitted last is preempted: its blocks are freed, it goes to the
            head of the queue and is computed again, answer so far included
    then    waiting requests in order of arrival, while tokens, max_num_seqs and free blocks last; none in a step that
            preempted
    without chunked prefill a step computes whole prompts and no decoder advances beside them

With asynchronous scheduling (the default since 0.14; vllm/v1/engine/core.py, step_with_batch_queue) the next step is
planned while one runs: what enters during a step rides in the one after the next.

A request sees its first token when the step that computes the last of its prompt ends. Steps in which nothing but
decoding can happen are taken together up to the next event.
"""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from vllm_opt.optimizer.simulation.sequence import Arrival, Sequence
from vllm_opt.optimizer.simulation.step_clock import Batch, StepClock

FEW_STEPS = 16
"""Steps taken together where sliding windows bend what a step reads."""


@dataclass(frozen=True)
class EngineLimits:
    """What bounds the batch of one engine."""

    max_num_seqs: int
    max_num_batched_tokens: int
    pool_blocks: int
    blocks_of: Callable[[int], int]
    """KV blocks of a sequence of so many tokens."""
    chunked_prefill: bool = True
    hit_share: float = 0.0
    planned_ahead: bool = False
    """The next step is planned while one runs."""


@dataclass
class Engine:
    """The state of one engine between two steps."""

    clock: StepClock
    limits: EngineLimits
    delay_s: Callable[[Arrival, bool], float]
    """Seconds before the engine sees a request; the second argument: others are being served."""
    on_finish: Callable[[Sequence, float], None]
    now: float = 0.0
    steps: int = 0
    busy_s: float = 0.0
    running: dict[int, Sequence] = field(default_factory=dict)
    waiting: deque[Sequence] = field(default_factory=deque)
    _clients: list[tuple[float, int, Arrival]] = field(default_factory=list)
    _entering: list[tuple[float, int, Sequence]] = field(default_factory=list)
    _sent: int = 0
    _began_s: float = 0.0
    """When the last step began."""
    _entered_s: float = 0.0
    """When the last request passed the front end, which keeps the order in which they came."""

    def send(self, arrival: Arrival) -> None:
        """A client sends a request, now or later."""
        heapq.heappush(self._clients, (arrival.at_s, self._sent, arrival))
        self._sent += 1

    def run(self) -> None:
        """Step until nothing is left."""
        while self._clients or self._entering or self.waiting or self.running:
            self._take_in()
            if not self.running and not self.waiting:
                self.now = self._began_s = max(self.now, self._next_event())
                continue
            before = self.now
            self._step()
            self.busy_s += self.now - before

    def _next_event(self) -> float:
        heads = [heap[0][0] for heap in (self._clients, self._entering) if heap]
        return min(heads) if heads else float("inf")

    def _take_in(self) -> None:
        """Requests that have reached the engine by now join the queue."""
        while self._clients and self._clients[0][0] <= self.now:
            _, number, arrival = heapq.heappop(self._clients)
            cached = min(arrival.input_tokens - 1, int(arrival.input_tokens * self.limits.hit_share))
            entering = max(arrival.at_s + self.delay_s(arrival, bool(self.running)), self._entered_s)
            self._entered_s = entering
            heapq.heappush(self._entering, (entering, number, Sequence(number, arrival, max(0, cached))))
        planned_s = self._began_s if self.limits.planned_ahead else self.now
        while self._entering and self._entering[0][0] <= planned_s:
            self.waiting.append(heapq.heappop(self._entering)[2])

    def _step(self) -> None:
        chunks = self._admit(*self._running_part())
        if not chunks:
            self._decode()
            return
        self._advance(chunks)

    def _blocks(self) -> int:
        return sum(self.limits.blocks_of(one.computed) for one in self.running.values())

    def _running_part(self) -> tuple[dict[int, int], int, bool]:
        """(tokens of each sequence that computes a chunk, tokens left in the step, whether any was preempted)."""
        limits, chunks = self.limits, dict[int, int]()
        left, preempted = limits.max_num_batched_tokens, False
        while self.running and self._blocks_after_step() > limits.pool_blocks and len(self.running) > 1:
            self._preempt()
            preempted = True
        for number, one in self.running.items():
            take = min(one.missing, left) if one.missing > 0 else min(1, left)
            if one.missing > 1 or one.generated == 0:
                chunks[number] = take
            left -= take
        return chunks, left, preempted

    def _blocks_after_step(self) -> int:
        """Blocks that the running sequences hold when each has its next token, or the rest of its prompt."""
        return sum(self.limits.blocks_of(max(one.tokens, one.computed + 1)) for one in self.running.values())

    def _preempt(self) -> None:
        number = next(reversed(self.running))
        victim = self.running.pop(number)
        victim.computed, victim.preemptions = 0, victim.preemptions + 1
        self.waiting.appendleft(victim)

    def _admit(self, chunks: dict[int, int], left: int, preempted: bool) -> dict[int, int]:
        """Let waiting requests in."""
        limits, held = self.limits, None
        while self.waiting and left > 0 and len(self.running) < limits.max_num_seqs and not preempted:
            one = self.waiting[0]
            one.computed = max(one.computed, one.cached_tokens)
            if not limits.chunked_prefill and one.missing > left and chunks:
                break
            held = self._blocks_after_step() if held is None else held
            needed = limits.blocks_of(one.tokens)
            if self.running and held + needed > limits.pool_blocks:
                break
            held += needed
            self.waiting.popleft()
            self.running[one.number] = one
            take = one.missing if not limits.chunked_prefill else min(one.missing, left)
            chunks[one.number] = take
            left -= take
        return chunks

    def _advance(self, chunks: dict[int, int]) -> None:
        """One step that computes prompts."""
        window = self.clock.window_tokens
        decoders = [one for one in self.running.values() if one.number not in chunks]
        if not self.limits.chunked_prefill:
            decoders = []
        span = windowed = 0.0
        for number, take in chunks.items():
            mean = self.running[number].computed + take / 2.0
            span += take * mean
            windowed += take * min(mean, window)
        batch = Batch(
            decoders=len(decoders),
            context_tokens=float(sum(one.tokens for one in decoders)),
            windowed_tokens=float(sum(min(one.tokens, window) for one in decoders)),
            prompt_tokens=sum(chunks.values()),
            span_tokens=span,
            windowed_span_tokens=windowed,
        )
        self._began_s = self.now
        self.now += self.clock.seconds(batch)
        self.steps += 1
        for number, take in chunks.items():
            one = self.running[number]
            one.computed += take
            if one.missing <= 0:
                self._token(one)
        for one in decoders:
            one.computed += 1
            self._token(one)

    def _token(self, one: Sequence) -> None:
        one.generated += 1
        if one.first_token_s < 0:
            one.first_token_s = self.now
        if one.generated >= one.arrival.output_tokens:
            one.finished_s = self.now
            del self.running[one.number]
            self.on_finish(one, self.now)

    def _decode(self) -> None:
        """Steps without prompts, taken together up to the next event: a finish, an arrival, a full pool."""
        decoders, window = list(self.running.values()), self.clock.window_tokens
        seconds, count = self.clock.decode_law(len(decoders)), len(decoders)
        most = min(one.arrival.output_tokens - one.generated for one in decoders)
        if window > 1:
            most = min(most, FEW_STEPS)
        if not self._room_for(decoders, most):
            most = 1
        until = self._next_event()
        context = float(sum(one.tokens for one in decoders))
        windowed = float(sum(min(one.tokens, window) for one in decoders))
        done = 0
        while done < most:
            self._began_s = self.now
            self.now += seconds(context, windowed)
            context += count
            done += 1
            if self.now >= until:
                break
        self.steps += done
        for one in decoders:
            one.computed += done
            one.generated += done - 1
            self._token(one)

    def _room_for(self, decoders: list[Sequence], steps: int) -> bool:
        """Whether the pool holds all of them after so many steps."""
        held = sum(self.limits.blocks_of(one.tokens + steps) for one in decoders)
        return held <= self.limits.pool_blocks
