"""The page in a real browser: its jobs, its links, its downloads, and who can use it."""

import csv
import json
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import openpyxl
import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe

SERIOUS = ("serious", "critical")
CHAT: dict[str, Any] = {"model": "Qwen/Qwen3-8B", "gpu": ["l40s"], "workload": "chat"}
WORKLOAD = {"name": "help desk", "model": "Qwen/Qwen3-8B", "workload": "chat", "requests_per_s": 2}
ORDER: dict[str, Any] = {"workloads": [WORKLOAD], "inventory": {"gpu": ["l40s"]}}
SITE: dict[str, Any] = {"nodes": [{"name": "box", "gpu": "l40s", "gpus": 2}], "services": [WORKLOAD]}


def place(job: str, request: dict[str, Any]) -> str:
    """The link that asks a request."""
    return f"#{job}?q={quote(json.dumps(request))}"


def serious(page: Any) -> list[str]:
    """What axe finds that keeps somebody out."""
    return [
        f"{each['id']}: {node['html'][:120]}"
        for each in Axe().run(page).response["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


def test_the_main_path(visitor: Any, tmp_path: Path) -> None:
    page = visitor.opens()
    page.wait_for_selector("#command")
    fields = {"model": "Qwen/Qwen3-8B", "workload": "chat"}
    plan = httpx.post(f"{visitor.address}/v1/solve", json=fields, timeout=60).json()["plan"]
    assert page.inner_text("#command") == plan["command"]
    assert f"{plan['gpu_count']} × {plan['gpu']}" in page.inner_text(".lead .big")
    page.wait_for_selector("section:not([aria-busy]) figure >> nth=4")
    page.wait_for_selector("tr.chosen")
    bytes_of = page.locator('figure:has(figcaption:has-text("Memory of a GPU over context"))')
    assert "KV cache of one full request" in bytes_of.inner_text()
    assert serious(page) == []
    head = page.locator("th button", has_text="GPUs").first
    head.focus()
    page.keyboard.press("Enter")
    assert page.locator("th[aria-sort]").first.inner_text().startswith("GPUs")
    page.fill('input[name="model"]', "Qwen/Qwen3-14B")
    page.wait_for_selector('#command:has-text("Qwen3-14B")')
    assert "Qwen3-14B" in page.url


def opened(file: Path) -> None:
    """Open a file that the page gave, as whoever gets it would."""
    assert file.stat().st_size > 0
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None
            assert "deploy/README.md" in archive.namelist()
        return
    if file.suffix == ".xlsx":
        assert openpyxl.load_workbook(file).sheetnames == ["orders", "servers", "workloads"]
        return
    text = file.read_text(encoding="utf-8")
    if file.suffix in (".json", ".sarif"):
        assert json.loads(text)
    elif file.suffix == ".yaml":
        assert list(yaml.safe_load_all(text))
    elif file.suffix == ".csv":
        rows = list(csv.reader(text.splitlines()))
        assert len(rows) > 1
        assert {len(row) for row in rows} == {len(rows[0])}
    elif file.suffix == ".html":
        assert text.startswith("<!doctype html>")
        assert "<script" not in text
    else:
        assert "Qwen/Qwen3-8B" in text or "proven" in text


@pytest.mark.parametrize(
    ("job", "asked", "formats"),
    [
        ("configure", CHAT, "zip html command compose kubernetes env yaml json table"),
        ("order", ORDER, "zip html xlsx csv servers workloads yaml json table"),
        ("place", SITE, "zip html table yaml json"),
        (
            "lint",
            {"command": "vllm serve Qwen/Qwen3-8B --max-model-len 99999", "gpu": "l40s"},
            "fixed sarif json table",
        ),
    ],
)
def test_every_download_opens(visitor: Any, tmp_path: Path, job: str, asked: dict[str, Any], formats: str) -> None:
    page = visitor.opens(place(job, asked))
    page.wait_for_selector("button[data-format]")
    buttons = page.locator("button[data-format]")
    offered = [buttons.nth(index).get_attribute("data-format") for index in range(buttons.count())]
    assert offered == formats.split()
    for format_name in offered:
        opened(visitor.downloads(f'button[data-format="{format_name}"]', tmp_path))


def test_one_thing_changed_stands_beside_the_plan_and_can_be_taken(visitor: Any) -> None:
    body = {**CHAT, "gpu": ["l40s", "h100-sxm"]}
    changed = httpx.post(f"{visitor.address}/v1/solve", json={**body, "concurrency": 64}, timeout=60).json()["plan"]
    page = visitor.opens(place("configure", body))
    page.click('[data-what-if="concurrency"] >> nth=0')
    row = page.locator(".what-if tbody tr >> nth=1")
    assert row.inner_text().startswith("Users at once: 64")
    page.click(".ask-sensitivity")
    page.wait_for_selector(".ask-sensitivity", state="detached")
    assert page.locator(".fixes button[data-change]").count() > 0
    assert serious(page) == []
    row.locator("button").click()
    page.wait_for_selector(f'#command:has-text("{changed["command"]}")')
    assert page.input_value('input[name="concurrency"]') == "64"


def test_the_front_is_the_one_of_the_command_line(visitor: Any) -> None:
    page = visitor.opens(place("configure", {**CHAT, "gpu": ["l40s", "h100-sxm"], "max_gpus": 4}))
    page.click(".ask-front")
    page.wait_for_selector('section:has-text("no other plan beats") figure svg')
    body = {**CHAT, "gpu": ["l40s", "h100-sxm"], "max_gpus": 4, "pareto": True}
    front = httpx.post(f"{visitor.address}/v1/solve", json=body, timeout=60).json()["pareto"]
    shown = page.inner_text('section:has-text("no other plan beats") table >> nth=-1')
    assert all(f"{plan['gpu_count']} × {plan['gpu']}" in shown for plan in front)
    assert page.locator('section:has-text("no other plan beats") circle.ring').count() == 1
    assert serious(page) == []


def test_the_infeasible_path_leads_out(visitor: Any) -> None:
    asked = {"model": "meta-llama/Llama-3.1-70B-Instruct", "gpu": ["l4"], "gpus": 1}
    page = visitor.opens(place("configure", asked))
    page.wait_for_selector(".fixes button")
    assert "no plan can meet this" in page.inner_text(".lead")
    assert serious(page) == []
    page.click('.fixes button[data-change="gpus"]')
    page.wait_for_selector("#command")
    assert "l4" in page.inner_text(".lead .big")


def test_what_is_mine_costs_nothing(visitor: Any) -> None:
    page = visitor.opens(place("configure", CHAT))
    page.check("form.side .check input")
    page.wait_for_selector('.lead .big:has-text("8 × l40s, on GPUs that are owned")')
    page.locator("form.side .fixes input").fill("1")
    page.wait_for_selector('.lead .big:has-text("1 × l40s, on GPUs that are owned")')


def test_a_link_asks_the_same_again(visitor: Any) -> None:
    asked = {"model": "Qwen/Qwen3-8B", "gpu": ["h100-sxm"], "concurrency": 64, "target_context": 16384}
    page = visitor.opens(place("configure", asked))
    page.wait_for_selector("#command")
    assert "--max-model-len 16384" in page.inner_text("#command")
    assert page.input_value('input[name="concurrency"]') == "64"
    first = page.inner_text(".lead")
    page.reload()
    page.wait_for_selector("#command")
    assert page.inner_text(".lead") == first


def test_the_order_page(visitor: Any, tmp_path: Path) -> None:
    page = visitor.opens("#order")
    page.wait_for_selector("table.edit input")
    rows = "Name\tModel\tPreset\tRequests/s\nhelp desk\tQwen/Qwen3-8B\tchat\t2\nsearch\tQwen/Qwen3-8B\trag\t1,000\n"
    page.evaluate(
        """text => { const data = new DataTransfer(); data.setData("text/plain", text);
        document.querySelector("table.edit input").dispatchEvent(
            new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })); }""",
        rows,
    )
    cells = page.locator("table.edit tbody tr")
    assert cells.nth(0).locator("input").first.input_value() == "help desk"
    assert cells.nth(1).locator("input").nth(2).input_value() == "1000"
    cells.nth(1).locator("input").nth(2).fill("1")
    page.click("button.main")
    page.wait_for_selector(".facts")
    assert "help desk" in page.inner_text(".answer >> nth=1")
    assert serious(page) == []
    page.wait_for_selector('figcaption:has-text("What moves the monthly bill")')
    file = visitor.downloads('button[data-format="csv"]', tmp_path)
    orders = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert orders
    assert all(order["gpu"] and int(order["gpus"]) > 0 for order in orders)
    assert json.loads(visitor.downloads('button[data-format="json"]', tmp_path).read_text())["status"] == "optimal"


def test_a_line_is_checked(visitor: Any, tmp_path: Path) -> None:
    page = visitor.opens("#lint")
    page.fill("textarea", "vllm serve Qwen/Qwen3-8B --max-model-len 999999 --tensor-parallel-sze 1")
    page.click("button.main")
    page.wait_for_selector(".finding.error")
    assert page.locator("del").count() >= 1
    assert serious(page) == []
    file = visitor.downloads('button[data-format="sarif"]', tmp_path)
    assert json.loads(file.read_text())["version"] == "2.1.0"


def test_the_placement_page(visitor: Any) -> None:
    page = visitor.opens("#place")
    page.wait_for_selector("table.edit select option[value=rag]", state="attached")
    verbs = httpx.get(f"{visitor.address}/v1/choices", timeout=60).json()["verbs"]
    assert page.is_enabled("button.main") == ("place" in verbs)
    if "place" in verbs:
        page.click("button.main")
        page.wait_for_selector(".node")
        assert page.locator(".node").count() == 2
    assert serious(page) == []


@pytest.mark.parametrize("job", ["configure", "order", "place", "lint"])
def test_a_telephone_in_the_dark(small_dark_visitor: Any, job: str) -> None:
    page = small_dark_visitor.opens(f"#{job}")
    page.wait_for_selector("tr.chosen" if job == "configure" else "button.main")
    if job != "configure":
        page.click("button.main")
        page.wait_for_selector("button[data-format]")
    assert page.get_attribute("html", "lang") == "zh-Hant"
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert serious(page) == []


def test_what_is_typed_is_never_markup(visitor: Any) -> None:
    name = "<img src=x onerror=alert(1)><script>alert(1)</script>"
    page = visitor.opens(place("configure", {"model": name, name: name}))
    page.wait_for_selector(".lead.bad")
    assert page.locator("main img, main script").count() == 0
    visitor.complaints = [each for each in visitor.complaints if "400 (Bad Request)" not in each]


def test_keys_alone_reach_the_answer(visitor: Any) -> None:
    page = visitor.opens()
    page.wait_for_selector("#command")
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "document.activeElement.id || document.activeElement.name || document.activeElement.dataset.job"
            )
        )
    assert {"language", "theme", "configure", "order", "place", "lint", "model"} <= set(reached)
    page.click("nav a[data-job=lint]")
    page.wait_for_selector("textarea")
    assert page.get_attribute("nav a[data-job=lint]", "aria-current") == "page"


def test_a_token_is_asked_for_once(browser: Any) -> None:
    from web_server import serving

    from vllm_opt.optimizer.web.settings import WebSettings

    with serving(WebSettings(processes=1, token="sesame")) as served:
        context = browser.new_context(locale="en-US")
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.goto(served.address)
        page.wait_for_selector("dialog[open]")
        page.fill("#token-text", "sesame")
        page.keyboard.press("Enter")
        page.wait_for_selector("#command")
        assert "sesame" not in page.url
        context.close()
