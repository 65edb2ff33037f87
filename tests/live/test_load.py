"""Fifty people at one server: every answer comes, is that of `solve` to whoever asked, and memory is flat."""

import asyncio
import sys
from pathlib import Path

from web_server import serving

from vllm_opt.optimizer import SolveRequest, solve
from vllm_opt.optimizer.web.settings import WebSettings

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

from web_load import USERS, crowd, questions, resident_bytes, without_time

KINDS_OF_QUESTION = 10
GROWTH = 1.15


def test_fifty_users_lose_no_answer() -> None:
    kinds = questions(KINDS_OF_QUESTION)
    asked = [kinds[index % len(kinds)] for index in range(USERS)]
    with serving(WebSettings(processes=2, queue=16)) as served:
        asyncio.run(crowd(served.address, asked, 1))
        before = resident_bytes()
        answers, _, codes = asyncio.run(crowd(served.address, asked, 1))
        after = resident_bytes()
    right = [without_time(solve(SolveRequest(**body)).model_dump(mode="json")) for body in kinds]
    assert len(answers) == USERS
    assert all(answer == right[kinds.index(body)] for body, answer in answers)
    assert codes[200] == USERS
    assert set(codes) <= {200, 429}
    assert after < GROWTH * before
