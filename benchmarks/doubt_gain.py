"""Does the benchmark that `doubt` names lead to a better plan? Every question played out, before and after its run.

    python benchmarks/doubt_gain.py QUESTIONS.jsonl MEASUREMENTS.jsonl … [--first 1 --step 3]

A question is one line of solve's fields. The truth of a GPU and weight format is the median ln(measured / predicted) of
the published rows of that pair, of the same model shape where there are any, by the formula without calibration cells;
pairs without rows get a draw from their own interval (seeded). The true regret of a plan is its loss at the truth over
the least loss of all plans compared, less one. The run tells the truth of its pair to 5 %; the plan named after it is
the one with the least regret among the plans that are left with the intervals of the others. Printed are the true
regrets of the plan that solve chose, of the one with the least regret without the run, and of the one after it.
"""

import argparse
import json
import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, median

import numpy as np

from vllm_opt.constraints.speed.model_work import model_shape
from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.request import SolveRequest
from vllm_opt.optimizer.doubts.candidates import candidates_of
from vllm_opt.optimizer.doubts.separation import NOISE, best_group, separations
from vllm_opt.optimizer.fitting.latency.calibration import step_errors
from vllm_opt.optimizer.fitting.latency.measurements import observations, read_rows
from vllm_opt.optimizer.fitting.latency.replay import Nouns, log_errors, usable
from vllm_opt.optimizer.regret.line import LEAST_REGRET
from vllm_opt.optimizer.regret.stakes import Group, Stake, stakes_of
from vllm_opt.optimizer.regret.worst_case import known, least_regret, regret_of
from vllm_opt.optimizer.solver.solve import solve
from vllm_opt.optimizer.space.shared import SharedLayouts
from vllm_opt.profiles.catalogues.catalog import Catalog
from vllm_opt.profiles.errors import VllmOptError
from vllm_opt.profiles.nouns.latency_constants import default_latency_constants

Truth = dict[Group, tuple[float, float]]


@dataclass(frozen=True)
class Played:
    """One question."""

    line: int
    model: str
    rows: bool
    """The run's pair has published rows."""
    named: bool
    """A run was named at all."""
    before: float
    """Of the plan that solve chose."""
    unmeasured: float
    """Of the plan with the least regret before the run."""
    after: float


class Rows:
    """What published rows say of a pair: ln(measured / predicted) of step time and of TTFT."""

    def __init__(self, paths: Iterable[Path], catalog: Catalog) -> None:
        found, _ = observations([row for path in paths for row in read_rows(path)])
        replay, _ = usable(found, Nouns(catalog))
        errors = log_errors(replay, replay.predict(default_latency_constants(), calibrated=False))
        self._found: dict[tuple[str, ...], list[tuple[float, float]]] = defaultdict(list)
        self._catalog = catalog
        step, wait = step_errors(errors), errors["ttft"]
        for at, one in enumerate(replay.observations):
            if np.isfinite(step[at]):
                pair = (float(step[at]), float(wait[at]))
                shape = model_shape(catalog.model(one.model))
                self._found[one.gpu, one.quantization, shape].append(pair)
                self._found[one.gpu, one.quantization].append(pair)

    def of(self, group: Group, model: str) -> tuple[float, float] | None:
        """The medians of the same model shape, else of the pair; None without any row."""
        shape = model_shape(self._catalog.model(model))
        rows = self._found.get((*group, shape)) or self._found.get(group)
        if not rows:
            return None
        waits = [wait for _, wait in rows if math.isfinite(wait)]
        step = median(step for step, _ in rows)
        return step, (median(waits) if waits else step)


def truth_of(stakes: tuple[Stake, ...], rows: Rows, model: str, seed: int) -> tuple[Truth, set[Group]]:
    """The truth of every pair, and which of them are measured."""
    dice, truth, measured = random.Random(seed), Truth(), set[Group]()
    for stake in stakes:
        if stake.group in truth:
            continue
        found = rows.of(stake.group, model)
        if found is not None:
            truth[stake.group] = found
            measured.add(stake.group)
            continue
        truth[stake.group] = (
            dice.gauss(0.0, (stake.step_range[1] - stake.step_range[0]) / 3.29),
            dice.gauss(0.0, (stake.wait_range[1] - stake.wait_range[0]) / 3.29),
        )
    return truth, measured


def true_regret(stakes: tuple[Stake, ...], chosen: int, truth: Truth) -> float:
    """Relative loss over the best of all at the truth."""
    losses = [stake.loss(*truth[stake.group]) for stake in stakes]
    return math.expm1(losses[chosen] - min(losses))


def play(line: int, fields: dict[str, object], rows: Rows, catalog: Catalog) -> Played | None:
    """One question; None without a plan, or with a field that this edition does not take."""
    try:
        request = SolveRequest(**fields)
        shared = SharedLayouts()
        answer = solve(request, catalog, shared=shared)
        plans: tuple[Plan, ...] = candidates_of(request, answer, catalog, shared)
    except VllmOptError:
        return None
    if answer.plan is None:
        return None
    stakes = stakes_of(plans, answer.request)
    truth, measured = truth_of(stakes, rows, answer.plan.model, seed=line)
    before = true_regret(stakes, 0, truth)
    if regret_of(stakes[0], stakes) < LEAST_REGRET:
        return Played(line, answer.plan.model, rows=False, named=False, before=before, unmeasured=before, after=before)
    unmeasured = true_regret(stakes, least_regret(stakes), truth)
    effort = {(plan.gpu, plan.quantization): float(plan.gpu_count // plan.replicas) for plan in plans}
    group = best_group(separations(stakes), effort).group
    told = known(tuple(wide(stake, group, truth) for stake in stakes), group, *truth[group], NOISE)
    chosen = least_regret(told)
    return Played(line, answer.plan.model, group in measured, named=True, before=before, unmeasured=unmeasured,
                  after=true_regret(stakes, chosen, truth))  # fmt: skip


def wide(stake: Stake, group: Group, truth: Truth) -> Stake:
    """A run may show what lies outside the interval: it is believed all the same."""
    if stake.group != group:
        return stake
    step, wait = truth[group]
    return replace(
        stake, step_range=(min(stake.step_range[0], step), max(stake.step_range[1], step)),
        wait_range=(min(stake.wait_range[0], wait), max(stake.wait_range[1], wait)),
    )  # fmt: skip


def better(chosen: Iterable[Played], first: str, second: str) -> int:
    """On how many questions the first regret is the lower one, by more than 0.1 %."""
    return sum(getattr(one, first) < getattr(one, second) - 0.001 for one in chosen)


def summary(chosen: list[Played]) -> str:
    """Mean true regrets, and what is the rule's and what the run's."""
    solved, rule, run = (mean(getattr(one, name) for one in chosen) for name in ("before", "unmeasured", "after"))
    return (
        f"{len(chosen)} questions, mean true regret of solve's plan {solved:.1%}, of the min-max plan without the run "
        f"{rule:.1%}, after the run {run:.1%}; the rule alone is better than solve's plan on "
        f"{better(chosen, 'unmeasured', 'before')} and worse on {better(chosen, 'before', 'unmeasured')}, the run "
        f"better than the rule alone on {better(chosen, 'after', 'unmeasured')} and worse on "
        f"{better(chosen, 'unmeasured', 'after')}"
    )


def main() -> int:
    """Print one line per question and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path)
    parser.add_argument("measurements", type=Path, nargs="+")
    parser.add_argument("--first", type=int, default=1, help="question to begin with")
    parser.add_argument("--step", type=int, default=1, help="every so many questions")
    options = parser.parse_args()
    catalog = Catalog()
    rows, found = Rows(options.measurements, catalog), []
    for line, text in enumerate(options.questions.read_text(encoding="utf-8").splitlines(), 1):
        if line < options.first or (line - options.first) % options.step:
            continue
        one = play(line, json.loads(text), rows, catalog)
        if one is not None:
            found.append(one)
            kind = "no run" if not one.named else "measured" if one.rows else "drawn"
            print(
                f"{line:3} {one.model:44} {kind:9} {one.before:7.1%} -> {one.unmeasured:7.1%} -> {one.after:7.1%}",
                flush=True,
            )
    for title, chosen in (
        ("all questions", found),
        ("a run was named", [one for one in found if one.named]),
        ("its pair has published rows", [one for one in found if one.rows]),
    ):
        if chosen:
            print(f"{title}: {summary(chosen)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
