"""Which plans could be the best one: is there any way for the predictions to be off, within their intervals, that makes
this plan no worse than all others at once?

    x_g in box_g for every group g,   loss_p = base_p + rate_p x_step + max(0, step_p + x_step, wait_p + x_wait)
    plan q could be best  <=>  loss_q <= loss_p for all p  has a solution

All in whole millionths of a natural logarithm. Pairs of plans are judged in closed form (`optimizer/regret`); all plans
at once need the solver, because plans of one group err together and a maximum is not convex on both sides.
"""

from collections.abc import Sequence

from ortools.sat.python import cp_model

from vllm_opt.optimizer.regret.stakes import Group, Stake

SCALE = 1_000_000
LEAST_LOG = -60.0
"""Stands for a limit that is not there: no interval reaches it."""
SECONDS = 2.0


def possible_optima(stakes: Sequence[Stake], slack: float = 1e-4) -> tuple[bool | None, ...]:
    """Whether each plan could be the best, give or take `slack` of its loss; None where the time did not suffice."""
    return tuple(_could_be_best(stakes, index, slack) for index in range(len(stakes)))


def _could_be_best(stakes: Sequence[Stake], index: int, slack: float) -> bool | None:
    model = cp_model.CpModel()
    boxes = {group: _box(model, stakes, group) for group in dict.fromkeys(stake.group for stake in stakes)}
    losses = [_loss(model, stake, boxes[stake.group]) for stake in stakes]
    for other, loss in enumerate(losses):
        if other != index:
            model.add(losses[index] <= loss + whole(slack))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 0
    solver.parameters.max_time_in_seconds = SECONDS
    status = solver.solve(model)
    if status == cp_model.UNKNOWN:
        return None
    return bool(status in (cp_model.OPTIMAL, cp_model.FEASIBLE))


def _box(model: cp_model.CpModel, stakes: Sequence[Stake], group: Group) -> tuple[cp_model.IntVar, cp_model.IntVar]:
    """How far off the group is: what any of its plans may meet."""
    members = [stake for stake in stakes if stake.group == group]
    step = min(one.step_range[0] for one in members), max(one.step_range[1] for one in members)
    wait = min(one.wait_range[0] for one in members), max(one.wait_range[1] for one in members)
    return (
        model.new_int_var(whole(step[0]), whole(step[1]), f"step {group}"),
        model.new_int_var(whole(wait[0]), whole(wait[1]), f"wait {group}"),
    )


def _loss(model: cp_model.CpModel, stake: Stake, box: tuple[cp_model.IntVar, cp_model.IntVar]) -> cp_model.LinearExpr:
    step, wait = box
    over = model.new_int_var(0, whole(120.0), "")
    _is_largest(model, over, [0, step + whole(stake.step), wait + whole(stake.wait)])
    expression: cp_model.LinearExpr = over + round(stake.rate) * step + whole(stake.base)
    return expression


def _is_largest(model: cp_model.CpModel, largest: cp_model.IntVar, terms: Sequence[cp_model.LinearExprT]) -> None:
    """Which term is the largest is a choice of its own: without it, comparing two maxima crawls unit by unit."""
    chosen = [model.new_bool_var("") for _ in terms]
    model.add_exactly_one(chosen)
    for term, is_it in zip(terms, chosen, strict=True):
        model.add(largest >= term)
        model.add(largest <= term).only_enforce_if(is_it)


def whole(value: float) -> int:
    """Millionths of a logarithm."""
    return round(SCALE * max(LEAST_LOG, value))
