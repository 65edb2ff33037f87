"""An infeasible request is an answer too: the rules that conflict and the smallest changes that would help."""

from vllm_opt.optimizer import SolveRequest, solve

answer = solve(
    SolveRequest(model="meta-llama/Llama-3.1-70B-Instruct", gpu="l4", max_gpus=2, target_context=32768, concurrency=16)
)

print("status:", answer.status)
if answer.explanation is not None:
    for rule in answer.explanation.conflict:
        print("conflict:", rule.rule, "-", rule.message)
    for relaxation in answer.explanation.relaxations:
        print("would help:", relaxation.message)
