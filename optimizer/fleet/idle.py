"""Rules of what stands idle because something may be lost: replicas of routed workloads, and nodes.

The spare replicas of a workload of one length stand in its demand row (`rules.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vllm_opt.optimizer.fleet.problem import SLOTS_PER_GPU, FleetColumn, FleetProblem, NodeOffer, by_size

if TYPE_CHECKING:
    from vllm_opt.optimizer.fleet.model import FleetModel


def keep_idle(fleet: FleetModel, columns: tuple[int, ...], spares: int) -> None:
    """Keep `spares` idle replicas of every column that a routed workload uses: any that fail are replaced by them."""
    shared: dict[str, dict[int, FleetColumn]] = {}
    for c in columns if spares else ():
        if reserve := fleet.problem.columns[c].reserve:
            shared.setdefault(reserve, {})[c] = fleet.problem.columns[c]
            continue
        used = fleet.cp.new_bool_var(f"used[{c}]")
        total = fleet.sum(fleet.of_column[c])
        fleet.cp.add(total <= fleet.most_replicas[c] * used)
        fleet.cp.add(total >= (spares + 1) * used)
        fleet.idle[c] = used, spares
    for mine in shared.values():
        _keep_largest_idle(fleet, by_size(mine), spares)


def _keep_largest_idle(fleet: FleetModel, columns: list[int], spares: int) -> None:
    """Of columns that share their spares, largest first, keep the largest replicas in use idle (`spares_of`).

    A column has idle replicas only when all those of every larger one are idle; `later`: some smaller one has.
    """
    used, later = fleet.cp.new_bool_var(""), None
    idle: list[Any] = []
    for c in reversed(columns):
        total, most = fleet.sum(fleet.of_column[c]), fleet.most_replicas[c]
        some, mine = fleet.cp.new_bool_var(""), fleet.cp.new_int_var(0, spares, f"idle[{c}]")
        fleet.cp.add(total <= most * used)
        fleet.cp.add(mine <= total)
        fleet.cp.add(mine <= spares * some)
        if later is not None:
            fleet.cp.add(total - mine <= most - most * later)
        fleet.idle[c] = mine, 1
        idle.append(mine)
        following = fleet.cp.new_bool_var("")
        fleet.cp.add(following >= some)
        if later is not None:
            fleet.cp.add(following >= later)
        later = following
    fleet.cp.add(fleet.sum(idle) == spares * used)


def keep_spare_nodes(fleet: FleetModel) -> None:
    """Keep idle nodes of every offer in use; of single GPUs, as many as its largest replicas take."""
    for o, offer in enumerate(fleet.problem.offers):
        here = {z: fleet.cp.new_int_var(0, fleet.most_units[o], "") for z in fleet.zones}
        fleet.spares |= {(o, z): var for z, var in here.items()}
        kept = fleet.sum(here.values())
        sizes: dict[int, list[tuple[Any, int]]] = {}
        for z in fleet.zones:
            for c, var in fleet.on_offer[o, z]:
                sizes.setdefault(spare_units(fleet.problem, c, offer), []).append((var, fleet.most_replicas[c]))
        for size, group in sizes.items():
            used = fleet.cp.new_bool_var("")
            for var, most in group:
                fleet.cp.add(var <= most * used)
            fleet.cp.add(kept >= fleet.problem.spare_nodes * size * used)


def spare_units(problem: FleetProblem, c: int, offer: NodeOffer) -> int:
    """Units of an offer that replace one lost node: a node, or the GPUs of one replica where they are sold singly."""
    return 1 if offer.billing == "node" else -(-problem.columns[c].slots // SLOTS_PER_GPU)
