"""`vllm-opt web` as somebody types it: the address it prints is ready, and Ctrl-C ends it."""

import signal
import subprocess
import sys

import httpx

from vllm_opt.optimizer.web.first_question import FIRST

ENDS_WITHIN_S = 30
INTERRUPTED = 130


def test_the_address_is_printed_when_the_first_answer_is_ready() -> None:
    command = [sys.executable, "-m", "vllm_opt", "web", "--port", "0", "--processes", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            line = process.stderr.readline()
            address = line.split()[1]
            assert httpx.get(f"{address}healthz", timeout=60).json()["inside"] == 0
            reply = httpx.post(f"{address}v1/solve", json=FIRST, timeout=60)
            assert reply.json()["status"] == "optimal"
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(ENDS_WITHIN_S) == INTERRUPTED
