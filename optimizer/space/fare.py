"""What servers of one kind cost as their number grows: a step function that never falls, because machines are whole."""

from dataclasses import dataclass, field

from vllm_opt.optimizer.space.objective import cost_integer
from vllm_opt.optimizer.space.setting import PricedGpu


@dataclass(frozen=True)
class Fare:
    """Servers of so many GPUs and nodes on one SKU."""

    sku: PricedGpu
    server_gpus: int
    nodes: int
    _costs: dict[int, int] = field(default_factory=dict, compare=False, repr=False)
    _obtainable: dict[int, int] = field(default_factory=dict, compare=False, repr=False)

    def cost_with(self, replicas: int) -> int:
        """What so many servers cost (`cost_integer`): never less than fewer of them."""
        if replicas not in self._costs:
            bill = self.sku.bill(replicas, self.server_gpus, self.nodes)
            self._costs[replicas] = cost_integer(bill, replicas * self.server_gpus)
        return self._costs[replicas]

    def obtainable(self, most: int) -> int:
        """Servers that the machines on offer hold, at most `most`."""
        if most not in self._obtainable:
            self._obtainable[most] = self.sku.most_replicas(self.server_gpus, self.nodes, most)
        return self._obtainable[most]

    def most_at(self, microusd: int, least: int, most: int) -> int:
        """The most servers, from `least` that are known to be paid for to `most`, within a limit: by bisection."""
        low, high = least, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.cost_with(middle) <= microusd else (low, middle - 1)
        return low
