"""What servers of one kind cost as their number grows: a step function that never falls, because machines are whole."""

from dataclasses import dataclass

from vllm_opt.optimizer.space.objective import cost_integer
from vllm_opt.optimizer.space.setting import PricedGpu


@dataclass(frozen=True)
class Fare:
    """Servers of so many GPUs and nodes on one SKU."""

    sku: PricedGpu
    server_gpus: int
    nodes: int

    def cost_with(self, replicas: int) -> int:
        """What so many servers cost (`cost_integer`): never less than fewer of them."""
        return cost_integer(self.sku.bill(replicas, self.server_gpus, self.nodes), replicas * self.server_gpus)

    def obtainable(self, most: int) -> int:
        """Servers that the machines on offer hold, at most `most`."""
        return self.sku.most_replicas(self.server_gpus, self.nodes, most)

    def most_at(self, microusd: int, least: int, most: int) -> int:
        """The most servers, from `least` that are known to be paid for to `most`, within a limit: by bisection."""
        low, high = least, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.cost_with(middle) <= microusd else (low, middle - 1)
        return low
