"""The objectives of a placement as expressions of its model, named as `PlacementProblem.objective_names` names them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vllm_opt.constraints.placing.site import SERVED_SCALE
from vllm_opt.optimizer.placement_model.classes import Bin

if TYPE_CHECKING:
    from vllm_opt.optimizer.placement_model.model import PlacementModel


def expression(model: "PlacementModel", name: str) -> Any:
    """One objective."""
    what, _, of = name.partition(":")
    services = model.problem.services
    mine = [s for s, service in enumerate(services) if of and service.priority == int(of)]
    made: dict[str, Callable[[], Any]] = {
        "served": lambda: sum(model.full[s] for s in mine),
        "share": lambda: sum(model.shares[s] for s in mine),
        "headroom": lambda: _headroom(model),
        "moves": lambda: len(model.problem.today) - sum(model.at.kept.values()),
        "gpus": lambda: sum(model.at.used.values()),
        "servers": lambda: sum(model.at.total.values()),
        "watts": lambda: sum(_watts(model, each) * model.at.used[b] for b, each in enumerate(model.at.bins)),
        "blocks": lambda: sum(_block(model, b, each) for b, each in enumerate(model.at.bins)),
    }
    return made[what]()


def _watts(model: "PlacementModel", each: Bin) -> int:
    """Rated watts of one GPU of a bin."""
    islands = model.problem.nodes[model.classes[each.of_class].first].islands
    return next(island.watts_per_gpu for island in islands if island.gpu == each.gpu)


def _headroom(model: "PlacementModel") -> Any:
    """The worst capacity over demand of the services that are served in full; 0 where none is."""
    most = model.problem.most_headroom
    worst = model.cp.new_int_var(0, most, "headroom")
    for s, service in enumerate(model.problem.services):
        if not isinstance(model.capacity[s], int):
            limit = model.cp.add(worst * service.demand <= SERVED_SCALE * model.capacity[s])
            limit.only_enforce_if(model.full[s])
    model.cp.add(worst <= most * sum(model.full))
    return worst


def _block(model: "PlacementModel", b: int, each: Bin) -> Any:
    """Squared spare GPUs of an island; of islands counted together the most that it can be."""
    free = model.cp.new_int_var(0, each.gpus, f"free{b}")
    model.cp.add(free + model.at.used[b] == each.gpus)
    table = most_squares(each.sizes)
    squared = model.cp.new_int_var(0, table[-1], f"block{b}")
    model.cp.add_element(free, table, squared)
    model.cp.add(squared <= max(each.sizes) * free)
    return squared


def most_squares(sizes: tuple[int, ...]) -> list[int]:
    """Free GPUs in all -> the largest sum of squares of what is free by island: the largest islands free first."""
    table = [0]
    done = 0
    for size in sorted(sizes, reverse=True):
        table += [done + part * part for part in range(1, size + 1)]
        done += size * size
    return table
