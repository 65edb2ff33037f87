"""The pictures of the page: `python docs/make_pictures.py` with the extra `browser` and Debian's chromium.

The server is started here and asked through the page as a person would; no picture is drawn by hand.
"""

import io
import json
import shutil
import sys
from pathlib import Path
from urllib.parse import quote

from PIL import Image
from playwright.sync_api import Page, sync_playwright

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))
COLOURS = 128
INFEASIBLE = {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": ["l4"], "max_gpus": 2, "workload": "chat"}


def kept(page: Page, name: str, height: int) -> None:
    """A picture of the upper part of the page, small enough for a repository."""
    raw = page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": height}, full_page=True)
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(HERE / name, optimize=True)


def main() -> None:
    """Take them."""
    from web_server import serving

    from vllm_opt.optimizer.web.settings import WebSettings

    with serving(WebSettings()) as served, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 1200}, locale="en-US", color_scheme="light")
        page.set_default_timeout(120_000)
        page.goto(served.address)
        page.wait_for_selector("section:not([aria-busy]) figure >> nth=4")
        page.wait_for_selector("tr.chosen")
        kept(page, "web-configure.png", 1200)
        page.goto(f"{served.address}/#configure?q={quote(json.dumps(INFEASIBLE))}")
        page.wait_for_selector(".fixes button")
        kept(page, "web-infeasible.png", 700)
        page.goto(f"{served.address}/#order")
        page.click("button.main")
        page.wait_for_selector("button[data-format]")
        kept(page, "web-order.png", 1480)
        page.goto(f"{served.address}/#place")
        page.wait_for_selector("button.main:enabled")
        page.click("button.main")
        page.wait_for_selector(".node")
        kept(page, "web-place.png", 1260)
        browser.close()


if __name__ == "__main__":
    main()
