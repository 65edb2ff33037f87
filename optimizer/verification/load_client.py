"""A small load client for an OpenAI-compatible server, for where vLLM's own benchmark is not installed.

Each user is a thread that sends `POST /v1/completions` with `stream: true` over its own connection and waits for the
whole answer before it sends the next; at a rate, requests start at exponential distances. Prompts are random token
ids (the completions API takes them), so that lengths are exact and no prefix is shared. The time to first token is that
of the first chunk with text; TPOT is the rest over the tokens after the first. Standard library alone.

Bounds: 1,024 in flight, 20,000 requests, 60 s without a byte, 16 MiB an answer, a deadline for all.
"""

import http.client
import json
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Any
from urllib.parse import urlsplit

from vllm_opt.profiles.errors import InvalidRequest
from vllm_opt.profiles.printable import printable

MOST_USERS = 1_024
SILENCE_SECONDS = 60.0
LARGEST_ANSWER_BYTES = 16 << 20
LONGEST_LINE_BYTES = 1 << 20
FIRST_TOKEN, LAST_TOKEN = 1_000, 9_999
"""Token ids that every vocabulary in use has, and that stand for ordinary text."""
PATH = "/v1/completions"
SHOWN_FAULTS = 3


@dataclass(frozen=True)
class Traffic:
    """What is sent."""

    model: str
    users: int
    requests_per_s: float | None
    requests: int
    input_tokens: int
    output_tokens: int
    deadline_s: float
    seed: int = 0


@dataclass(frozen=True)
class Answered:
    """One request that was answered in full."""

    started: float
    first: float
    last: float
    tokens: int
    prompt_tokens: int


@dataclass
class Outcome:
    """What all threads bring together; every change is made under the lock."""

    left: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    answered: list[Answered] = field(default_factory=list)
    failed: int = 0
    faults: list[str] = field(default_factory=list)

    def take(self) -> int | None:
        """The next request's number; None when all are taken."""
        with self.lock:
            if self.left <= 0:
                return None
            self.left -= 1
            return self.left

    def fail(self, why: str) -> None:
        """Count a request without an answer; a server that never answers ends the run."""
        with self.lock:
            self.failed += 1
            if len(self.faults) < SHOWN_FAULTS and why not in self.faults:
                self.faults.append(why)
            if not self.answered and self.failed >= 16:
                self.left = 0


class Fault(Exception):  # noqa: N818 - what happened to one request
    """Why one request got no answer."""


def connection_to(base_url: str) -> tuple[Callable[[], http.client.HTTPConnection], str]:
    """How to connect, and the path.

    Raises:
        InvalidRequest: the address is none of a server.
    """
    try:
        parts = urlsplit(base_url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname or any(ord(mark) <= 32 for mark in base_url):
        shown = printable(repr(base_url[:120]))
        raise InvalidRequest(f"--base-url {shown} is no address of a server; give one such as http://localhost:8000")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    host, prefix = parts.hostname, parts.path.rstrip("/").removesuffix("/v1")
    return lambda: kind(host, port, timeout=SILENCE_SECONDS), prefix + PATH


def measure(base_url: str, traffic: Traffic) -> dict[str, Any]:
    """Send the traffic and return the result under the names of `vllm bench serve`.

    Raises:
        InvalidRequest: the address is none, too much is asked, or no request was answered.
    """
    connect, path = connection_to(base_url)
    if traffic.users > MOST_USERS:
        raise InvalidRequest(
            f"{traffic.users} users are more than the {MOST_USERS} that this client keeps in flight; install vLLM and "
            "run the command that verify prints"
        )
    outcome, started = Outcome(traffic.requests), time.perf_counter()
    schedule = arrivals(traffic, started)
    threads = [
        threading.Thread(target=_user, args=(connect, path, traffic, outcome, schedule, started), daemon=True)
        for _ in range(in_flight(traffic))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, started + traffic.deadline_s + SILENCE_SECONDS - time.perf_counter()))
    if not outcome.answered:
        why = outcome.faults[0] if outcome.faults else "no answer in time"
        raise InvalidRequest(f"{printable(base_url[:120])} answered none of {outcome.failed} requests: {why}")
    return result_of(traffic, outcome)


def in_flight(traffic: Traffic) -> int:
    """Threads: the users, or at a rate as many as may have to wait."""
    return min(traffic.requests, MOST_USERS if traffic.requests_per_s is not None else traffic.users)


def arrivals(traffic: Traffic, started: float) -> list[float]:
    """When each request starts at a rate, at exponential distances; empty in a closed loop."""
    if traffic.requests_per_s is None:
        return []
    dice, moment, found = random.Random(traffic.seed), started, []
    for _ in range(traffic.requests):
        moment += dice.expovariate(traffic.requests_per_s)
        found.append(moment)
    return found[::-1]


def _user(
    connect: Callable[[], http.client.HTTPConnection], path: str, traffic: Traffic, outcome: Outcome,
    schedule: list[float], started: float,
) -> None:  # fmt: skip
    """One user: request after request until none is left or time is up."""
    connection = connect()
    while (number := outcome.take()) is not None:
        if schedule:
            time.sleep(max(0.0, schedule[number] - time.perf_counter()))
        if time.perf_counter() - started > traffic.deadline_s:
            outcome.fail("time ran out")
            break
        try:
            answer = one_request(connection, path, traffic, number)
        except (OSError, http.client.HTTPException, Fault) as error:
            outcome.fail(
                printable(str(error) if isinstance(error, Fault) else f"{type(error).__name__}: {error}"[:160])
            )
            connection.close()
            connection = connect()
            continue
        with outcome.lock:
            outcome.answered.append(answer)
    connection.close()


def body_of(traffic: Traffic, number: int) -> bytes:
    """One request: random token ids, an answer of exactly the length asked."""
    dice = random.Random(traffic.seed * 1_000_003 + number)
    prompt = [dice.randint(FIRST_TOKEN, LAST_TOKEN) for _ in range(traffic.input_tokens)]
    return json.dumps(
        {"model": traffic.model, "prompt": prompt, "max_tokens": traffic.output_tokens, "ignore_eos": True,
         "temperature": 0.0, "stream": True, "stream_options": {"include_usage": True}}
    ).encode()  # fmt: skip


def one_request(connection: http.client.HTTPConnection, path: str, traffic: Traffic, number: int) -> Answered:
    """Send one request and read its stream.

    Raises:
        OSError, HTTPException, Fault: no whole answer came.
    """
    started = time.perf_counter()
    headers = {"Content-Type": "application/json", "Accept": "text/event-stream"}
    connection.request("POST", path, body_of(traffic, number), headers)
    response = connection.getresponse()
    if response.status != 200:
        text = response.read(400).decode("utf-8", errors="replace")
        raise Fault(printable(f"HTTP {response.status}: {' '.join(text.split())}"[:160]))
    first = last = 0.0
    chunks, read, complete = 0, 0, False
    usage: Any = {}
    while line := response.readline(LONGEST_LINE_BYTES):
        read += len(line)
        if read > LARGEST_ANSWER_BYTES:
            raise Fault("an answer of more than 16 MiB")
        event = event_of(line)
        if event is None:
            continue
        if event == "done":
            complete = True
            continue
        if text_of(event):
            last = time.perf_counter()
            first = first or last
            chunks += 1
        usage = event.get("usage") if isinstance(event.get("usage"), dict) else usage
    if not first or not (complete or usage):
        raise Fault("the stream ended before the answer did")
    return Answered(started, first, last, count_in(usage, "completion_tokens", chunks),
                    count_in(usage, "prompt_tokens", traffic.input_tokens))  # fmt: skip


def event_of(line: bytes) -> Any:
    """The JSON object of a `data:` line, 'done' at the end, None for anything else."""
    text = line.strip()
    if not text.startswith(b"data:"):
        return None
    content = text[5:].strip()
    if content == b"[DONE]":
        return "done"
    try:
        event = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if isinstance(event, dict) and "error" in event:
        raise Fault(printable(f"the server says {str(event['error'])[:120]}"))
    return event if isinstance(event, dict) else None


def text_of(event: dict[str, Any]) -> bool:
    """Whether a chunk brings a token."""
    choices = event.get("choices")
    return isinstance(choices, list) and any(isinstance(one, dict) and one.get("text") is not None for one in choices)


def count_in(usage: Any, name: str, fallback: int) -> int:
    """A count that the server reports, else what was seen."""
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**9 else fallback


def result_of(traffic: Traffic, outcome: Outcome) -> dict[str, Any]:
    """The summary under the names of `vllm bench serve --save-result`."""
    done = list(outcome.answered)
    duration = max(one.last for one in done) - min(one.started for one in done)
    ttft = [1000.0 * (one.first - one.started) for one in done]
    tpot = [1000.0 * (one.last - one.first) / (one.tokens - 1) for one in done if one.tokens > 1]
    e2e = [1000.0 * (one.last - one.started) for one in done]
    output = sum(one.tokens for one in done)
    summary: dict[str, Any] = {
        "backend": "vllm-opt", "model_id": traffic.model, "num_prompts": traffic.requests,
        "request_rate": "inf" if traffic.requests_per_s is None else traffic.requests_per_s,
        "max_concurrency": traffic.users if traffic.requests_per_s is None else None,
        "duration": duration, "completed": len(done), "failed": outcome.failed,
        "total_input_tokens": sum(one.prompt_tokens for one in done), "total_output_tokens": output,
        "request_throughput": len(done) / duration if duration else 0.0,
        "output_throughput": output / duration if duration else 0.0,
    }  # fmt: skip
    for name, values in (("ttft", ttft), ("tpot", tpot), ("e2el", e2e)):
        if values:
            summary[f"mean_{name}_ms"], summary[f"median_{name}_ms"] = mean(values), median(values)
            summary[f"p99_{name}_ms"] = sorted(values)[min(len(values) - 1, math.ceil(0.99 * len(values)) - 1)]
    return summary
