"""Compare the placement model with trying everything, on thousands of random tiny sites.

    PYTHONPATH=tests python benchmarks/placement_brute_force.py [FIRST] [LAST] [--generated]

Every objective of every site must come out equal and proven; a site with too many placements to try is left out. With
--generated the ways to share a GPU are generated one by one, as on large sites: what is said to be proven must be
equal, no placement may be better than the best, and no bound may cut the best off.
"""

import sys
import time

from placement_oracle import best_values, random_problem

from vllm_opt.constraints.placing.check import placement_violations
from vllm_opt.constraints.placing.site import PlacementProblem, maximised
from vllm_opt.optimizer.placement_model.outcome import PlacementOptions, PlacementOutcome
from vllm_opt.optimizer.placement_model.solver import solve_placement

SECONDS = 1800.0
"""after which no further site is begun"""
PROGRESS = 500


def sound(problem: PlacementProblem, outcome: PlacementOutcome, expected: dict[str, int]) -> bool:
    """Whether an answer with bounds is true: at each objective, as long as those before it are at their best."""
    for bound in outcome.bounds:
        best, up = expected[bound.name], maximised(bound.name)
        if (bound.value > best if up else bound.value < best) or (bound.bound < best if up else bound.bound > best):
            return False
        if bound.value != best:
            return not bound.proven and outcome.status != "optimal"
    return not placement_violations(problem, outcome.servers)


def main(first: int, last: int, *, generated: bool = False) -> int:
    """Compare the sites of a range of seeds; the number that differ."""
    compared = left_out = moved = equal = 0
    wrong = []
    started = time.monotonic()
    until = started + SECONDS
    for seed in range(first, last):
        if (seed - first) % PROGRESS == 0 and seed > first:
            print(f"before seed {seed}: {compared} compared, {len(wrong)} wrong, {left_out} left out", flush=True)
        if time.monotonic() > until:
            print(f"stopped before seed {seed}", flush=True)
            break
        problem = random_problem(seed)
        try:
            expected = best_values(problem)
        except OverflowError:
            left_out += 1
            continue
        outcome = solve_placement(problem, PlacementOptions(time_limit=30, most_patterns=1 if generated else None))
        found = {bound.name: bound.value for bound in outcome.bounds}
        equal += all(found[name] == expected[name] for name in found)
        if generated:
            compared += 1
            if not sound(problem, outcome, expected):
                wrong.append(seed)
                print(f"seed {seed}: {outcome.status} {outcome.bounds} but {expected}", flush=True)
            continue
        missing = {name: expected[name] for name in expected if name not in found}
        differs = {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}
        if differs or outcome.status != "optimal" or any(not name.startswith("share") for name in missing):
            wrong.append(seed)
            print(f"seed {seed}: {outcome.status} {differs}", flush=True)
        compared += 1
        moved += bool(problem.today)
    print(
        f"{compared} sites {'true to' if generated else 'equal to'} brute force but {len(wrong)}, {equal} equal; "
        f"{moved} with servers of today; {left_out} left out; "
        f"{time.monotonic() - started:.0f} s"
    )
    return len(wrong)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    range_ = numbers if len(numbers) == 2 else (0, 300)
    sys.exit(1 if main(*range_, generated="--generated" in sys.argv) else 0)
