"""Random demands that `procure` and `solve` can both be asked for: the fleet must never be the dearer one.

    python benchmarks/procure_against_solve.py --demands 100 --seed 100

One workload, the throughput floor of `solve` equal to what the workload asks (its rate times its output tokens), the
same limits, SKUs and prices; tolerance 0, no headroom, no spares, utilisation up to 1. The demands are those of
`tests/optimizer/procurement/test_every_plan.py`, with further seeds. Exit code 1 when a fleet is dearer or not proven.
"""

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "optimizer" / "procurement"))

from test_every_plan import beside, drawn, never_dearer  # noqa: E402

from vllm_opt.profiles.catalogues.catalog import Catalog  # noqa: E402


def main() -> None:
    """Ask both and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demands", type=int, default=100)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="at most")
    asked = parser.parse_args()
    catalog, end = Catalog(), time.monotonic() + asked.seconds
    compared = planless = faults = 0
    cheaper: list[float] = []
    for seed in range(asked.seed, asked.seed + asked.demands):
        if time.monotonic() > end:
            break
        fleet, single = beside(drawn(seed), catalog, max_gpus=8)
        compared += 1
        planless += single.plan is None
        try:
            never_dearer(fleet, single)
        except AssertionError as error:
            faults += 1
            print(f"seed {seed}: {drawn(seed)}\n{error}", flush=True)
        if single.plan is not None and single.plan.cost.usd_per_hour and fleet.totals is not None:
            cheaper.append(1 - fleet.totals.usd_per_hour / single.plan.cost.usd_per_hour)
    print(
        f"{compared} demands, {planless} that solve has no plan for, {faults} faults; the fleet is cheaper in "
        f"{sum(share > 1e-9 for share in cheaper)}, by at most {max(cheaper, default=0):.0%}"
    )
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
