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

    def last_of_step(self, replicas: int, most: int) -> int:
        """The most servers, at most `most`, that cost what `replicas` of them cost."""
        return self.most_at(self.cost_with(replicas), replicas, most)

    def efficient(self, least: int, most: int) -> list[int]:
        """The numbers of servers, descending, that cost less by server than every larger one.

        Where a larger number costs no more by server it offers every point that a smaller one does, as cheaply.
        """
        found: list[int] = []
        for count in range(most, least - 1, -1):
            if not found or self._spent(count) * found[-1] < self._spent(found[-1]) * count:
                found.append(count)
        return found

    def equally_efficient(self, replicas: int) -> list[int]:
        """The numbers of servers, ascending to `replicas`, that cost the same by server."""
        spent = self._spent(replicas)
        return [count for count in range(1, replicas + 1) if self._spent(count) * replicas == spent * count]

    def _spent(self, replicas: int) -> int:
        """What efficiency divides by: money, or GPUs where there is no price."""
        bill = self.sku.bill(replicas, self.server_gpus, self.nodes)
        return replicas * self.server_gpus if bill is None else bill.microusd_per_hour
