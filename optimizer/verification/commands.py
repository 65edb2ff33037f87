"""The benchmark of a service as commands that can be pasted: `vllm bench serve`, and GuideLLM for those who use it.

Sources: vLLM 0.33 `benchmarks/serve.py` (arguments as documented under docs.vllm.ai, `vllm bench serve`); GuideLLM's
guide to `guidellm benchmark` (--target, --rate-type, --rate, --data, --max-requests, --output-path).
"""

import math
import shlex

from vllm_opt.optimizer.verification.promises import Promise
from vllm_opt.optimizer.verification.report import Benchmark, Check

AIM_SECONDS = 120.0
FEWEST_ROUNDS, MOST_ROUNDS = 4, 40
MOST_REQUESTS = 20_000
FILE_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_."


def requests_of(promise: Promise, asked: int | None) -> int:
    """How many requests: some two minutes of the load, at least four per user."""
    if asked is not None:
        return asked
    seconds = max(0.05, end_to_end_s(promise))
    if promise.requests_per_s is not None:
        return max(32, min(MOST_REQUESTS, math.ceil(AIM_SECONDS * promise.requests_per_s)))
    rounds = max(FEWEST_ROUNDS, min(MOST_ROUNDS, math.ceil(AIM_SECONDS / seconds)))
    return min(max(promise.users, MOST_REQUESTS), promise.users * rounds)


def end_to_end_s(promise: Promise) -> float:
    """Predicted seconds of one request."""
    ttft, tpot = promise.predicted.get("ttft_ms", 0.0), promise.predicted.get("tpot_ms", 0.0)
    return (ttft + tpot * (promise.lengths[1] - 1)) / 1000.0


def result_name(promise: Promise) -> str:
    """A file name for the result: plain letters only."""
    plain = "".join(letter if letter in FILE_CHARACTERS else "-" for letter in promise.name.lower())
    return f"verify-{plain.strip('-.') or 'plan'}.json"


def metadata_of(promise: Promise) -> dict[str, str]:
    """What the result has to say for `calibrate`: everything that vLLM's own client does not know."""
    return {"gpu": promise.gpu, **{name: str(value) for name, value in promise.layout.items()}}


def vllm_words(promise: Promise, base_url: str, served: str, requests: int, result: str) -> list[str]:
    """`vllm bench serve` as words: fixed lengths, random prompts, answers of full length."""
    load = (
        ["--max-concurrency", str(promise.users)]
        if promise.requests_per_s is None
        else ["--request-rate", f"{promise.requests_per_s:g}"]
    )
    metadata = [f"{name}={value}" for name, value in metadata_of(promise).items()]
    return [
        "vllm", "bench", "serve", "--backend", "vllm", "--base-url", base_url, "--endpoint", "/v1/completions",
        "--model", promise.served, *(["--served-model-name", served] if served != promise.served else []),
        "--dataset-name", "random", "--random-input-len", str(promise.lengths[0]), "--random-output-len",
        str(promise.lengths[1]), "--ignore-eos", "--num-prompts", str(requests), *load, "--seed", "0",
        "--percentile-metrics", "ttft,tpot,itl,e2el", "--save-result", "--result-filename", result,
        "--metadata", *metadata,
    ]  # fmt: skip


def guidellm_words(promise: Promise, base_url: str, served: str, requests: int, result: str) -> list[str]:
    """The same load with GuideLLM."""
    kind, rate = ("concurrent", str(promise.users)) if promise.requests_per_s is None else (
        "poisson", f"{promise.requests_per_s:g}"
    )  # fmt: skip
    return [
        "guidellm", "benchmark", "--target", base_url, "--model", served, "--rate-type", kind, "--rate", rate, "--data",
        f"prompt_tokens={promise.lengths[0]},output_tokens={promise.lengths[1]}", "--max-requests", str(requests),
        "--output-path", result,
    ]  # fmt: skip


def benchmark_of(promise: Promise, base_url: str, served: str | None, asked: int | None) -> Benchmark:
    """Commands, size and expected duration."""
    requests, name = requests_of(promise, asked), served or promise.served
    result = result_name(promise)
    seconds = end_to_end_s(promise) * math.ceil(requests / promise.users)
    if promise.requests_per_s is not None:
        seconds = requests / promise.requests_per_s + end_to_end_s(promise)
    return Benchmark(
        command=shlex.join(vllm_words(promise, base_url, name, requests, result)),
        guidellm_command=shlex.join(guidellm_words(promise, base_url, name, requests, f"guidellm-{result}")),
        users=promise.users if promise.requests_per_s is None else None, requests_per_s=promise.requests_per_s,
        requests=requests, input_tokens=promise.lengths[0], output_tokens=promise.lengths[1],
        minutes=round(seconds / 60.0, 1), gpus=promise.gpus,
    )  # fmt: skip


def checks_of(promise: Promise) -> tuple[Check, ...]:
    """What passes: the limit that was asked for, else the slow end of the predicted interval."""
    found = []
    for term in ("ttft_ms", "tpot_ms", "output_tokens_per_s"):
        predicted = promise.predicted.get(term)
        if predicted is None:
            continue
        slow = 0 if term == "output_tokens_per_s" else 1
        if term in promise.limits:
            limit, source = promise.limits[term], "limit of the request"
        else:
            low_high = promise.intervals.get(term, (predicted, predicted))
            limit, source = low_high[slow], f"{'lower' if slow == 0 else 'upper'} end of the predicted 90 % interval"
        found.append(Check(term=term, predicted=predicted, limit=limit, limit_from=source))
    return tuple(found)
