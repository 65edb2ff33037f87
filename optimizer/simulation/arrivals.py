"""The requests that a simulation plays: drawn with a fixed seed, or a trace as it was recorded."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from vllm_opt.optimizer.contract.length_file import Trace, read_lengths
from vllm_opt.optimizer.contract.simulation import SimulateRequest
from vllm_opt.optimizer.simulation.sequence import Arrival

USUAL_REQUESTS, REQUESTS_PER_USER = 1000, 10


@dataclass(frozen=True)
class Clients:
    """Who sends what to which lane: an engine, or one of its pipeline's micro-batches."""

    request: SimulateRequest
    lengths: tuple[int, int]
    users: int
    lanes: int

    @property
    def trace(self) -> Trace | None:
        """The file of lengths."""
        return None if self.request.lengths is None else read_lengths(self.request.lengths)

    @property
    def replays(self) -> bool:
        """Whether requests come when the trace says."""
        trace = self.trace
        return trace is not None and trace.arrival_s is not None and self.request.pattern == "poisson"

    @property
    def number(self) -> int:
        """Requests that are sent."""
        trace = self.trace
        if self.request.num_requests is not None:
            return self.request.num_requests
        if self.replays and trace is not None:
            return len(trace.input_tokens)
        if self.request.pattern in ("burst", "offline"):
            return self.users
        if self.request.pattern == "closed":
            return max(USUAL_REQUESTS, REQUESTS_PER_USER * self.users)
        return USUAL_REQUESTS

    def random(self) -> np.random.Generator:
        """The same numbers for the same seed."""
        return np.random.default_rng(self.request.seed)

    def sizes(self, random: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Lengths of one request after the other."""
        trace, number = self.trace, self.number
        if trace is None:
            yield from (self.lengths for _ in range(number))
            return
        count = len(trace.input_tokens)
        order = np.arange(number) % count
        if not self.replays:
            order = random.choice(count, size=number, p=trace.weight / trace.weight.sum())
        stretch = [asked / mean for asked, mean in zip(self.lengths, trace.mean_lengths, strict=True)]
        for at in order.tolist():
            pair = int(trace.input_tokens[at]) * stretch[0], int(trace.output_tokens[at]) * stretch[1]
            yield max(1, round(pair[0])), max(1, round(pair[1]))

    def moments(self, random: np.random.Generator) -> np.ndarray:
        """When requests of an open stream are sent, in seconds."""
        rate, number, trace = self.request.requests_per_s, self.number, self.trace
        if rate is None:
            return np.zeros(number)
        if self.replays and trace is not None and trace.arrival_s is not None:
            recorded = trace.rate_and_burstiness
            rounds, at = np.divmod(np.arange(number), len(trace.arrival_s))
            span = trace.arrival_s[-1] + (1.0 / recorded[0] if recorded else 1.0)
            pace = (recorded[0] if recorded else rate) / rate
            return np.asarray((trace.arrival_s[at] + rounds * span) * pace)
        shape = self.request.burstiness
        return np.cumsum(random.gamma(shape, 1.0 / (rate * shape), number))

    def streams(self) -> list[list[Arrival]]:
        """What each lane is sent in an open stream or a burst: a stream at random, a burst in turn."""
        random = self.random()
        sizes, moments = list(self.sizes(random)), self.moments(random)
        steady = self.request.pattern == "poisson"
        lanes = random.integers(self.lanes, size=len(sizes)) if steady else np.arange(len(sizes)) % self.lanes
        found: list[list[Arrival]] = [[] for _ in range(self.lanes)]
        for lane, at, (inputs, outputs) in zip(lanes.tolist(), moments.tolist(), sizes, strict=True):
            found[lane].append(Arrival(at, inputs, outputs))
        return found
