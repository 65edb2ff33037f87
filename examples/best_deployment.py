"""The cheapest deployment that holds 32 sequences of 8K tokens, or why there is none."""

from vllm_opt.optimizer import SolveRequest, solve

answer = solve(
    SolveRequest(
        model="meta-llama/Llama-3.1-8B-Instruct",
        gpu=["l40s", "a100-sxm4-80gb", "h100-sxm"],
        target_context="8K",
        concurrency=32,
    )
)

print("status:", answer.status)
if answer.plan is None:
    for relaxation in answer.explanation.relaxations if answer.explanation else ():
        print("would help:", relaxation.message)
else:
    plan = answer.plan
    print(f"{plan.gpu_count} x {plan.gpu}, {plan.replicas} server(s), {plan.quantization} weights")
    print(plan.command)
    if plan.cost is not None:
        print(f"${plan.cost.usd_per_hour:.2f} per hour, price of {plan.cost.price_date}")
    for other in answer.alternatives:
        print("instead:", other.gpu_count, "x", other.gpu)
