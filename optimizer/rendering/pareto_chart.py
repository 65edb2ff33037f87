"""The cost / throughput front as an inline SVG drawing."""

from collections.abc import Sequence

from vllm_opt.optimizer.contract.answer import Plan
from vllm_opt.optimizer.contract.quantities import dollars, milliseconds, rate
from vllm_opt.optimizer.rendering.html_parts import safe
from vllm_opt.optimizer.rendering.plan_words import parallelism

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 360, 70, 40, 16


def pareto_chart(plans: Sequence[Plan]) -> str:
    """Draw one dot per plan: cost to the right, output tokens per second upwards; nothing below two priced plans."""
    points = [(plan.cost.usd_per_hour, plan.performance.output_tokens_per_s, plan) for plan in plans if plan.cost]
    if len(points) < 2:
        return ""
    dearest, fastest = max(point[0] for point in points), max(point[1] for point in points)
    dots = [_dot(usd / (dearest * 1.05), speed / (fastest * 1.05), plan) for usd, speed, plan in points]
    right, floor = WIDTH - 10, HEIGHT - BOTTOM
    axes = (
        f'<path d="M{LEFT},{TOP}V{floor}H{right}" fill="none" stroke="currentColor"/>'
        f'<text x="{right}" y="{HEIGHT - 8}" text-anchor="end">USD per hour, to {safe(dollars(dearest))}</text>'
        f'<text x="{LEFT + 6}" y="{TOP + 10}">output tokens/s, to {safe(rate(fastest))}</text>'
    )
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" width="100%">{axes}{"".join(dots)}</svg>'


def _dot(across: float, up: float, plan: Plan) -> str:
    horizontal = LEFT + across * (WIDTH - 10 - LEFT)
    vertical = HEIGHT - BOTTOM - up * (HEIGHT - BOTTOM - TOP)
    cost = dollars(plan.cost.usd_per_hour) if plan.cost else ""
    words = (
        f"{plan.gpu_count} x {plan.gpu}, {plan.replicas} x {parallelism(plan)}, {plan.quantization}: {cost} per hour, "
    )
    words += f"{rate(plan.performance.output_tokens_per_s)} tokens/s, TTFT {milliseconds(plan.performance.ttft_ms)}"
    return (
        f'<circle cx="{horizontal:.1f}" cy="{vertical:.1f}" r="5" fill="#4269d0" opacity="0.8">'
        f"<title>{safe(words)}</title></circle>"
    )
