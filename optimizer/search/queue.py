"""Servers waiting to be evaluated, in ascending order of a lower bound on the first objective."""

import heapq
from dataclasses import dataclass, field
from typing import Any

from vllm_opt.optimizer.space.fare import Fare
from vllm_opt.optimizer.space.layouts import Shape
from vllm_opt.optimizer.space.setting import PricedGpu
from vllm_opt.optimizer.space.weights import WeightFormat


@dataclass(eq=False, slots=True)
class Server:
    """One (SKU, weight format, shape) with a number of replicas, of at most `most`.

    Never changed once it is made; frozen in name only, because a search makes tens of thousands.
    """

    sku: PricedGpu
    weights: WeightFormat
    shape: Shape
    fare: Fare
    """What its replicas cost."""
    replicas: int = 1
    most: int = 1
    screened: bool = False
    remembered: dict[object, Any] = field(default_factory=dict, repr=False)
    """What does not depend on the replicas, computed once: every copy with other replicas shares it."""
    alike: dict[object, Any] = field(default_factory=dict, repr=False)
    """What all SKUs of one chip share."""
    timed: dict[object, Any] = field(default_factory=dict, repr=False)
    """What the servers of a SKU share that differ in nothing that the time of a step depends on."""

    @property
    def identity(self) -> tuple[str, str, Shape, int]:
        """What makes two servers the same."""
        return self.sku.gpu.id, self.weights.quantization.id, self.shape, self.replicas

    @property
    def gpu_count(self) -> int:
        """GPUs of all replicas."""
        return self.replicas * self.shape.gpus

    @property
    def engines(self) -> int:
        """Engines of all replicas."""
        return self.replicas * self.shape.data

    @property
    def microusd_per_hour(self) -> int:
        """What it costs (`cost_integer`)."""
        return self.fare.cost_with(self.replicas)

    def screened_copy(self) -> "Server":
        """The same server, known to be feasible with the most replicas."""
        return Server(
            self.sku, self.weights, self.shape, self.fare, self.replicas, self.most, True, self.remembered, self.alike,
            self.timed,
        )  # fmt: skip

    def with_replicas(self, replicas: int, most: int | None = None) -> "Server":
        """The same server with a number of replicas, and another most where one is given."""
        most = self.most if most is None else most
        if replicas == self.replicas and most == self.most:
            return self
        return Server(
            self.sku, self.weights, self.shape, self.fare, replicas, most, self.screened, self.remembered, self.alike,
            self.timed,
        )  # fmt: skip


UNKNOWN_BOUND = -(2**62)
"""Below every objective's integer: stands for a bound that is computed when servers are visited."""


class ServerQueue:
    """The servers of one SKU. Classes of equal bound are taken together."""

    def __init__(self, first_objective: str) -> None:
        self._first = first_objective
        self._heap: list[tuple[int, int, Server]] = []
        self._pushed = 0

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def waiting(self) -> list[Server]:
        """Every server that waits."""
        return [entry[2] for entry in self._heap]

    @property
    def lowest(self) -> int:
        """The bound of the next class."""
        return self._heap[0][0]

    def push(self, server: Server, replicas: int, most: int) -> None:
        """Queue a server with a number of replicas."""
        entry = server.with_replicas(replicas, most)
        heapq.heappush(self._heap, (self.bound(entry), self._pushed, entry))
        self._pushed += 1

    def pop_class(self) -> list[Server]:
        """Take every server with the lowest bound."""
        bound = self.lowest
        taken = []
        while self._heap and self._heap[0][0] == bound:
            taken.append(heapq.heappop(self._heap)[2])
        return taken

    def bound(self, server: Server) -> int:
        """The value of the first objective where a server fixes it."""
        if self._first == "gpus":
            return server.gpu_count
        return server.microusd_per_hour if self._first == "cost" else UNKNOWN_BOUND
