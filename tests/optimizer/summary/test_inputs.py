"""What is an input and no output token, and what stands beside the weights, in the short and the long answer."""

from pathlib import Path

from vllm_opt.optimizer import SolveRequest, estimate, solve
from vllm_opt.optimizer.contract.answer import Answer
from vllm_opt.optimizer.contract.request import EstimateRequest
from vllm_opt.optimizer.rendering.estimate import estimate_table
from vllm_opt.optimizer.rendering.plan_page import plan_sections_of_page, plan_summary
from vllm_opt.optimizer.rendering.screen import Screen
from vllm_opt.optimizer.summary.answer import summary_of_answer
from vllm_opt.optimizer.summary.speed import memory_line

ANSWERS = Path(__file__).parents[2] / "data" / "answers"
WIDE = Screen(120)


def test_a_pooling_answer_speaks_of_inputs() -> None:
    answer = solve(SolveRequest(model="BAAI/bge-m3", gpu="l4", target_context=512, concurrency=16))
    assert answer.plan is not None
    assumed = {row["field"] for row in answer.request["assumed"]}
    assert not assumed & {"output_tokens", "max_tpot_ms"}
    page = plan_summary(answer.plan, answer.request) + repr(plan_sections_of_page(answer.plan, answer.request))
    for text in (summary_of_answer(answer, WIDE), page):
        assert "inputs" in text
        assert "output token" not in text
        assert "first token in" not in text
    assert "unused" in "\n".join(memory_line(answer.plan.memory, WIDE)), "no KV cache is made of what is left"


def test_an_estimate_of_a_pooling_server_assumes_no_output() -> None:
    found = estimate(EstimateRequest(model="BAAI/bge-m3", gpu="l4", max_model_len=512, concurrency=16))
    assert {row["field"] for row in found.request["assumed"]} == {"input_tokens"}
    text = estimate_table(found, WIDE)
    assert "per input" in text
    assert "per million inputs" in text
    assert "output token" not in text


def test_adapters_stand_with_the_weights() -> None:
    answer = Answer.model_validate_json((ANSWERS / "optimal.json").read_text(encoding="utf-8"))
    assert answer.plan is not None
    memory = answer.plan.memory
    more = memory.model_copy(update={"lora_bytes": 2**30, "weights_bytes": memory.weights_bytes - 2**30})
    assert memory_line(more, WIDE)[-1].split("weights")[1] == memory_line(memory, WIDE)[-1].split("weights")[1]
