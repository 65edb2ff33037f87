"""What to sign, in words: GPUs to commit to, what the scenarios cost, replicas by hour of the day."""

from vllm_opt.optimizer.procurement.commitment_answer import Commitment, HourBounds

Headings = tuple[tuple[str, str], ...]
Part = tuple[str, Headings, tuple[tuple[str, ...], ...], tuple[str, ...]]
"""title, headings, rows, sentences"""
SIGNED: Headings = (("SKU", "left"), ("how", "left"), ("GPUs", "right"), ("USD per GPU-hour", "right"))
SCENARIOS: Headings = (
    ("scenario", "left"), ("probability", "right"), ("USD per month", "right"), ("peak GPUs", "right"),
    ("missed hours a week", "right"),
)  # fmt: skip
BOUNDS: Headings = (("workload", "left"), ("on", "left"), ("hours", "left"), ("replicas, least to most", "left"))


def commitment_parts(commitment: Commitment | None) -> tuple[Part, ...]:
    """The parts of the report; none without a commitment."""
    if commitment is None:
        return ()
    signed = tuple((s.gpu, s.kind, str(s.gpus), f"{s.usd_per_gpu_hour:.2f}") for s in commitment.signed)
    scenarios = tuple(
        (s.name, f"{100 * s.probability:.0f} %", f"{s.usd_per_month:,.0f}", str(s.peak_gpus), str(s.missed_hours))
        for s in commitment.scenarios
    )
    bounds = tuple(row for workload in commitment.workloads for row in _hour_rows(workload))
    return (
        ("What to sign now", SIGNED, signed, ()),
        ("What that costs", (), (), _sentences(commitment)),
        ("Scenarios", SCENARIOS, scenarios, ()),
        ("Bounds for the autoscaler (JSON has all 168 hours)", BOUNDS, bounds, ()),
    )


def _sentences(commitment: Commitment) -> tuple[str, ...]:
    saved = commitment.all_on_demand_usd_per_month - commitment.usd_per_month
    gap = "proven" if commitment.gap == 0 else f"within {100 * commitment.gap:.2g} % of the bound"
    return (
        f"${commitment.usd_per_month:,.0f} per month expected, ${commitment.committed_usd_per_month:,.0f} of it "
        f"committed; {gap} over {commitment.assignments:,} ways to give each workload a SKU",
        f"everything on demand would cost ${commitment.all_on_demand_usd_per_month:,.0f}: ${saved:,.0f} more",
        f"{commitment.on_demand_gpu_hours_per_week:,.0f} GPU-hours a week beyond the commitment are expected",
        f"load is missed in {100 * commitment.missed_hours:.2f} % of the hours",
    )


def _hour_rows(workload: HourBounds) -> list[tuple[str, ...]]:
    """Runs of hours with equal bounds on Monday, then what the week reaches."""
    rows, start = [], 0
    day = [(workload.least[h], workload.most[h]) for h in range(24)]
    for hour in range(1, 25):
        if hour == 24 or day[hour] != day[start]:
            least, most = day[start]
            rows.append((workload.workload, workload.gpu, f"Mon {start:02d}-{hour:02d} h", f"{least} to {most}"))
            start = hour
    week = f"{min(workload.least)} to {max(workload.most)}"
    return [*rows[:8], (workload.workload, workload.gpu, "whole week", week)]
