"""The server with its page, and Debian's Chromium in front of it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright
from web_server import Served, serving

from vllm_opt.optimizer.web.settings import WebSettings

ANSWERS_WITHIN_MS = 60_000


@pytest.fixture(scope="session")
def server() -> Iterator[Served]:
    """A server as `vllm-opt web` starts it."""
    with serving(WebSettings(processes=2)) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium; `apt-get install chromium` brings it."""
    program = shutil.which("chromium")
    assert program, "these tests need Debian's chromium: apt-get install chromium"
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield found
        found.close()


class Visitor:
    """Somebody with a browser; every message of its console is kept."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(ANSWERS_WITHIN_MS)
        self.address, self.complaints = address, list[str]()
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog: {dialog.message}"))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(f"{kind}: {text}")

    def opens(self, place: str = "") -> Page:
        """Go to a place of the page."""
        self.page.goto(f"{self.address}/{place}")
        return self.page

    def downloads(self, button: str, folder: Path) -> Path:
        """Press a download button and return the file."""
        with self.page.expect_download() as waiting:
            self.page.click(button)
        target = folder / waiting.value.suggested_filename
        waiting.value.save_as(target)
        return target


@pytest.fixture
def visitor(server: Served, browser: Browser) -> Iterator[Visitor]:
    """A visitor with a wide screen in light mode, who saw no error in the end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light", locale="en-US")
    found = Visitor(context, server.address)
    yield found
    context.close()
    assert found.complaints == []


@pytest.fixture
def small_dark_visitor(server: Served, browser: Browser) -> Iterator[Visitor]:
    """A visitor with a telephone in dark mode."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", locale="zh-TW")
    found = Visitor(context, server.address)
    yield found
    context.close()
    assert found.complaints == []
