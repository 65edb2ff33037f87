"""The questions that the page asks before anybody has touched it, answered while the server starts."""

import asyncio
import json
from contextlib import suppress
from typing import Any

from vllm_opt.optimizer.web.pool import Pool
from vllm_opt.optimizer.web.settings import WebSettings
from vllm_opt.optimizer.web.worker import OK, Reply, answer, listing

LONGEST_BODY = 200
STARTS_WITHIN_S = 20.0
"""How long a server keeps its port shut for them; a machine that is slower opens it without."""


class Prepared:
    """Replies that are the same for everybody: no answer to a request that somebody made is kept."""

    def __init__(self, pool: Pool, settings: WebSettings) -> None:
        self._pool, self._settings = pool, settings
        self._replies: dict[str, Reply] = {}
        self._making: asyncio.Task[None] | None = None

    async def make(self) -> None:
        """Answer them; returns when they are ready, or when that takes too long, and goes on by itself then."""
        self._making = asyncio.ensure_future(self._make())
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(self._making), STARTS_WITHIN_S)

    async def _make(self) -> None:
        """One question for each process, so that the tables of every one of them are read."""
        from vllm_opt.optimizer.web.first_question import FIRST

        body = json.dumps(FIRST).encode()
        limits = self._settings.longest_s, self._settings.largest_body_bytes
        asked = [
            ("whole", self._pool.run(answer, "solve", body, "json", *limits, False)),
            *(
                ("brief", self._pool.run(answer, "solve", body, "json", *limits, True))
                for _ in range(max(1, self._settings.processes - 1))
            ),
            ("choices", self._pool.run(listing, "choices", {})),
        ]
        replies = await asyncio.gather(*(each for _, each in asked), return_exceptions=True)
        for (name, _), reply in zip(asked, replies, strict=True):
            if isinstance(reply, Reply) and reply.status == OK:  # else the first visitor's own request says why not
                self._replies[name] = reply

    def choices(self) -> Reply | None:
        """The lists of the page."""
        return self._replies.get("choices")

    def solve(self, body: bytes, format_name: str, brief: bool) -> Reply | None:
        """The reply to a body that is the first question of the page, however it is spelled; None to any other."""
        from vllm_opt.optimizer.web.first_question import FIRST

        if format_name != "json" or len(body) > LONGEST_BODY or _read(body) != FIRST:
            return None
        return self._replies.get("brief" if brief else "whole")

    async def close(self) -> None:
        """Give up what is not ready."""
        if self._making is not None:
            self._making.cancel()
            with suppress(asyncio.CancelledError):
                await self._making


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
