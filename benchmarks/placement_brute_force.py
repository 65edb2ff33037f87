"""Compare the placement model with trying everything, on thousands of random tiny sites.

    PYTHONPATH=tests python benchmarks/placement_brute_force.py [FIRST] [LAST]

Every objective of every site must come out equal and proven; a site with too many placements to try is left out.
"""

import sys
import time

from placement_oracle import best_values, random_problem

from vllm_opt.optimizer.placement_model.outcome import PlacementOptions
from vllm_opt.optimizer.placement_model.solver import solve_placement


def main(first: int, last: int) -> int:
    """Compare the sites of a range of seeds; the number that differ."""
    compared = left_out = moved = 0
    wrong = []
    started = time.monotonic()
    for seed in range(first, last):
        problem = random_problem(seed)
        try:
            expected = best_values(problem)
        except OverflowError:
            left_out += 1
            continue
        outcome = solve_placement(problem, PlacementOptions(time_limit=30))
        found = {bound.name: bound.value for bound in outcome.bounds}
        missing = {name: expected[name] for name in expected if name not in found}
        differs = {name: (found[name], expected[name]) for name in found if found[name] != expected[name]}
        if differs or outcome.status != "optimal" or any(not name.startswith("share") for name in missing):
            wrong.append(seed)
            print(f"seed {seed}: {outcome.status} {differs}", flush=True)
        compared += 1
        moved += bool(problem.today)
    print(
        f"{compared} sites equal to brute force but {len(wrong)}; {moved} with servers of today; {left_out} left out; "
        f"{time.monotonic() - started:.0f} s"
    )
    return len(wrong)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:3]]
    sys.exit(1 if main(*(numbers if len(numbers) == 2 else (0, 300))) else 0)
