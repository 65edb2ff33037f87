"""The real server on a loopback port of its own, for tests that ask it as a client would."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn
from fastapi import FastAPI

from vllm_opt.optimizer.web.app import create_app
from vllm_opt.optimizer.web.settings import WebSettings

STARTS_WITHIN_S = 120.0


class Served(NamedTuple):
    """A running server."""

    address: str
    app: FastAPI


@contextmanager
def serving(settings: WebSettings) -> Iterator[Served]:
    """Serve until the block ends."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = create_app(settings)
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        end = time.monotonic() + STARTS_WITHIN_S
        while not server.started and thread.is_alive() and time.monotonic() < end:
            time.sleep(0.02)
        assert server.started
        try:
            yield Served(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
