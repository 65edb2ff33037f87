"""How a limit on TPOT changes the flags, with the load left free: fewer sequences at once, each answered faster."""

from vllm_opt.optimizer import SolveRequest, solve

for max_tpot_ms in (None, 60, 15):
    answer = solve(
        SolveRequest(
            gpu="h100-sxm",
            gpus=1,
            target_context=4096,
            concurrency="max",
            objective=["throughput"],
            max_tpot_ms=max_tpot_ms,
            default_limits=False,
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
