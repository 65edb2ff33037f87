"""One real server with its worker process, shared by the tests of this folder."""

from collections.abc import Iterator

import httpx
import pytest
from web_server import serving

from vllm_opt.optimizer.web.settings import WebSettings


@pytest.fixture(scope="package")
def client() -> Iterator[httpx.Client]:
    """A client of the server as it runs, with one process."""
    settings = WebSettings(processes=1, queue=64, largest_body_bytes=65536)
    with serving(settings) as served, httpx.Client(base_url=served.address, timeout=120) as found:
        yield found
