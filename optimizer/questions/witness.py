"""A plan for one feasible point, re-checked by every rule: the proof that a changed request can be met."""

import numpy as np

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.planning.plan import PlanRejected, make_plan
from vllm_opt.optimizer.planning.predicted import Choice
from vllm_opt.optimizer.planning.utilization import fitting_utilization
from vllm_opt.optimizer.questions.points import feasible_points
from vllm_opt.optimizer.questions.questions import Atlas, Points, Question
from vllm_opt.optimizer.space.points import evaluate


def witness(atlas: Atlas, question: Question) -> Plan | None:
    """Return a plan of the question's setting, or None when no feasible point becomes one that every rule accepts."""
    for points in feasible_points(atlas, question):
        if len(points):
            return plan_of(question, points, cheapest(points))
    return None


def cheapest(points: Points) -> int:
    """The position of the point with the lowest price, or the fewest GPUs."""
    gpus = points.replicas * points.landscape.gpus[points.rows]
    landscape = points.landscape
    fares = landscape.fare[points.rows]
    cost = landscape.by_fare(fares, ("cost",), lambda fare, count: fare.cost_with(count), points.replicas)
    return int(np.lexsort((gpus, cost))[0])


def plan_of(question: Question, points: Points, at: int) -> Plan | None:
    """The plan of one point; None when a rule rejects it."""
    setting = question.setting
    unit = points.landscape.unit(setting, int(points.rows[at]), int(points.replicas[at]))
    tokens, sequences = int(points.tokens[at]), int(points.sequences[at])
    candidate = evaluate(setting, [(unit, tokens, [sequences])], asked=setting.load_is_asked(question.active))[0]
    try:
        return make_plan(setting, Choice(unit, tokens, sequences, fitting_utilization(setting, candidate, sequences)))
    except PlanRejected:
        return None
