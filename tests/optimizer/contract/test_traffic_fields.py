"""Traffic as input: what goes together, and files of lengths as people have them."""

from pathlib import Path
from typing import Any

import pytest

from vllm_opt.optimizer.contract.length_file import read_lengths
from vllm_opt.optimizer.contract.request import EstimateRequest, SolveRequest
from vllm_opt.profiles.errors import InvalidRequest


def test_a_rate_means_random_arrivals_and_nothing_means_a_closed_loop() -> None:
    assert EstimateRequest().pattern == "closed"
    assert EstimateRequest(requests_per_s=2).pattern == "poisson"
    assert SolveRequest(arrivals="burst").pattern == "burst"
    assert not SolveRequest().needs_queueing
    assert SolveRequest(ttft_percentile=95).needs_queueing


@pytest.mark.parametrize(
    "fields",
    [
        {"arrivals": "poisson"},
        {"arrivals": "closed", "requests_per_s": 3},
        {"burstiness": 0.5},
        {"requests_per_s": 3, "think_time_s": 1},
        {"requests_per_s": 0},
        {"requests_per_s": float("nan")},
        {"requests_per_s": 3, "burstiness": 0.01},
        {"ttft_percentile": 99.9},
        {"tpot_percentile": 49},
        {"arrivals": "often"},
        {"think_time_s": -1},
        {"lengths": ""},
    ],
    ids=str,
)
def test_what_contradicts_itself_is_bad_input(fields: dict[str, Any]) -> None:
    for kind in (EstimateRequest, SolveRequest):
        with pytest.raises(InvalidRequest):
            kind(**fields)


AZURE = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n"
)
MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500}
{"timestamp": 3000, "input_length": 10, "output_length": 4}
"""
BURST = "Timestamp,Model,Request tokens,Response tokens\n5,ChatGPT,472,18\n45,ChatGPT,1087,230\n"
BARS = "input_tokens,output_tokens,count\n100,10,3\n500,50,1\n"


@pytest.mark.parametrize(
    ("text", "inputs", "outputs", "arrivals"),
    [
        (AZURE, [374, 396], [44, 109], [0, 4.314579]),
        (MOONCAKE, [6758, 10], [500, 4], [0, 3]),
        (BURST, [472, 1087], [18, 230], [0, 40]),
        (BARS, [100, 500], [10, 50], None),
    ],
    ids=["Azure", "Mooncake", "BurstGPT", "histogram"],
)
def test_published_traces_are_read_as_they_are(
    tmp_path: Path, text: str, inputs: list[int], outputs: list[int], arrivals: list[float] | None
) -> None:
    path = tmp_path / "trace"
    path.write_text(text)
    trace = read_lengths(str(path))
    assert trace.input_tokens.tolist() == inputs
    assert trace.output_tokens.tolist() == outputs
    assert (None if trace.arrival_s is None else trace.arrival_s.tolist()) == (arrivals and pytest.approx(arrivals))


def test_bars_of_a_histogram_weigh_by_their_count(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    path.write_text(BARS)
    trace = read_lengths(str(path))
    assert trace.mean_lengths == (200, 20)
    inputs, _ = trace.pairs()
    assert (inputs == 100).mean() == pytest.approx(0.75)


def test_a_trace_with_times_fills_in_rate_lengths_and_clumping(tmp_path: Path) -> None:
    path = tmp_path / "even.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n" + "".join(f"{at / 2},100,10\n" for at in range(11)))
    request = EstimateRequest(gpu="h100", lengths=str(path))
    assert (request.input_tokens, request.output_tokens, request.requests_per_s) == (100, 10, 2.0)
    assert request.burstiness == 100
    assert {item.field for item in request.assumed} == {
        "input_tokens", "output_tokens", "requests_per_s", "burstiness"
    }  # fmt: skip
    assert EstimateRequest(lengths=str(path), arrivals="closed").requests_per_s is None
    assert EstimateRequest(lengths=str(path), input_tokens=7).input_tokens == 7


@pytest.mark.parametrize(
    "text",
    [
        "", "hello\n", "input_tokens\n1\n", "input_tokens,output_tokens\n", "input_tokens,output_tokens\n1,x\n",
        "input_tokens,output_tokens\n-1,5\n", "input_tokens,output_tokens\n1.5,5\n",
        "input_tokens,output_tokens\n1e99,5\n",
        "input_tokens,output_tokens\nnan,5\n", '{"input_tokens": 1}\n', '{"input_tokens": [1], "output_tokens": 2}\n',
        '{"input_tokens": 1, "output_tokens": 2}\n{"input_tok', "{}\n", '{"a": {"b": 1}}\n[1]\n',
        "arrival_s,input_tokens,output_tokens\nsoon,1,1\n", "timestamp,input_tokens,output_tokens\nyesterday,1,1\n",
        "input_tokens,output_tokens,count\n1,1,0\n", 'input_tokens,output_tokens\n"1,5\n',
        "input_tokens,output_tokens\n\x00,5\n",
    ],
    ids=repr,
)  # fmt: skip
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad"
    path.write_text(text)
    with pytest.raises(InvalidRequest) as refused:
        EstimateRequest(lengths=str(path))
    assert "\n" not in str(refused.value)


def test_folders_and_binaries_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x01")
    for path in (tmp_path, tmp_path / "binary", tmp_path / "missing"):
        with pytest.raises(InvalidRequest, match="lengths"):
            read_lengths(str(path))
