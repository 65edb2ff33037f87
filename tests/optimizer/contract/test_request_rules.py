"""What a request may not say at once, and what it fills in: one sentence each, numbers by hand."""

from typing import Any

import pytest

from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest, clip_lengths, typical_lengths
from vllm_opt.profiles.errors import InvalidRequest


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"target_context": 1}, "target_context must hold a prompt and an answer: at least 2 tokens"),
        ({"target_context": 100, "input_tokens": 100}, "input_tokens 100 leaves no room in target_context 100"),
        ({"target_context": 100, "output_tokens": 200}, "output_tokens 200 leaves no room in target_context 100"),
        ({"target_context": 100, "input_tokens": 90, "output_tokens": 20},
         "input_tokens + output_tokens = 110 exceed target_context 100; raise target_context or shorten the request"),
        ({"target_context": 100, "mean_context": 101}, "mean_context 101 exceeds target_context 100"),
        ({"gpus": 4, "max_gpus": 2}, "gpus 4 exceeds max_gpus 2"),
        ({"max_num_seqs": 9, "max_num_batched_tokens": 8},
         "max_num_seqs 9 exceeds max_num_batched_tokens 8, which vLLM refuses"),
        ({"objective": ("cost", "cost")}, "objective must name at least one objective, each once"),
        ({"objective": ()}, "objective must name at least one objective, each once"),
        ({"no_default_limits": "perhaps"}, "no_default_limits must be true or false"),
    ],
)  # fmt: skip
def test_what_contradicts_itself_is_one_sentence(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SolveRequest(**fields)
    assert str(caught.value).endswith(said)


@pytest.mark.parametrize(("given", "read"), [(True, False), (False, True), ([True], False), (None, True)])
def test_no_default_limits_is_the_other_way_round(given: object, read: bool) -> None:
    assert SolveRequest(no_default_limits=given).default_limits is read


def test_a_free_load_is_decided_by_what_it_holds_unless_something_else_is_asked() -> None:
    assert SolveRequest(concurrency="max").objective == ("concurrency", "throughput")
    assert SolveRequest(concurrency=" MAX ", objective=("latency",)).objective == ("latency",)


def test_a_copy_keeps_what_was_assumed_and_is_checked_again() -> None:
    request = SolveRequest(workload="chat")
    assert request.replaced(gpus=2).target_context == request.target_context
    with pytest.raises(InvalidRequest, match="gpus 3 exceeds max_gpus 2"):
        SolveRequest(max_gpus=2).replaced(gpus=3)
    assert EstimateRequest(gpu="l40s").replaced(max_model_len=4096).max_model_len == 4096


@pytest.mark.parametrize(
    ("context", "given", "filled"),
    [
        (8192, (None, None), (7168, 1024)), (8, (None, None), (6, 2)), (2, (None, None), (1, 2)),
        (100, (95, None), (95, 5)), (100, (100, None), (100, 1)), (100, (None, 30), (70, 30)),
        (100, (None, 100), (1, 100)), (100, (40, 50), (40, 50)),
    ],
)  # fmt: skip
def test_the_typical_request_by_hand(
    context: int, given: tuple[int | None, int | None], filled: tuple[int, int]
) -> None:
    assert typical_lengths(context, *given) == filled


@pytest.mark.parametrize(
    ("context", "given", "filled"),
    [(448, (None, None), (4, 111)), (448, (8, None), (8, 110)), (448, (None, 20), (4, 20)), (3, (None, None), (2, 1))],
)
def test_a_clip_of_speech_by_hand(context: int, given: tuple[int | None, int | None], filled: tuple[int, int]) -> None:
    assert clip_lengths(context, *given) == filled
