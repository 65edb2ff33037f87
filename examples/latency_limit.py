"""How a limit on TPOT changes the flags: fewer sequences at once, so that each is answered faster."""

from vllm_opt.optimizer import SolveRequest, solve

for max_tpot_ms in (None, 60, 30):
    answer = solve(
        SolveRequest(
            gpu="h100-sxm",
            gpus=1,
            target_context=4096,
            concurrency=8,
            objective=["throughput"],
            max_tpot_ms=max_tpot_ms,
        )
    )
    if answer.plan is None:
        print(f"TPOT <= {max_tpot_ms} ms: {answer.status}")
        continue
    plan = answer.plan
    print(
        f"TPOT <= {max_tpot_ms} ms: max-num-seqs {plan.flags['max-num-seqs']}, "
        f"TPOT {plan.performance.tpot_ms:.1f} ms, {plan.performance.output_tokens_per_s:,.0f} tokens/s"
    )
