"""Claims about the page: through gradio's own client, and in a browser where there is one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from glipv2.config import DemoConfig
from glipv2.demo.asking import QUESTIONS
from glipv2.errors import UserError
from glipv2.inference import Predictor

gradio = pytest.importorskip("gradio", reason='gradio is not here: pip install "glipv2[demo]"')
from glipv2.demo.page import demo_page, kept_folder, launched  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture
def address(model: Predictor) -> Iterator[str]:
    """Where the page is served."""
    with kept_folder() as folder:
        page = demo_page(model, folder, 0.0)
        _, url, _ = launched(page, DemoConfig("none", port=7893), wait=False)
        yield url
        page.close(verbose=False)
    assert not folder.exists(), "nothing is kept"


@pytest.mark.slow
def test_every_task_answers_through_the_client(address: str, png: bytes, tmp_path: Path) -> None:
    from gradio_client import Client, handle_file

    client = Client(address, verbose=False, download_files=str(tmp_path / "got"))
    (tmp_path / "picture.png").write_bytes(png)
    for task, question in QUESTIONS.items():
        drawn, told, document, _ = client.predict(
            handle_file(tmp_path / "picture.png"), task, question.example, 0.0, api_name="/ask"
        )
        assert Path(drawn).stat().st_size > 0
        assert "<" in told
        assert (
            json.loads(Path(document if isinstance(document, str) else document["value"]).read_text())["task"] == task
        )
    (tmp_path / "picture.png").write_bytes(b"<svg onload=alert(1)>")
    with pytest.raises(Exception, match="not an image"):
        client.predict(handle_file(tmp_path / "picture.png"), "detection", "a dog.", 0.0, api_name="/ask")


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(address: str, model: Predictor, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="port 7893"):
        launched(demo_page(model, tmp_path), DemoConfig("none", port=7893), wait=False)


@pytest.fixture
def browser() -> Iterator[Any]:
    """A page of a headless chromium."""
    drive = pytest.importorskip("playwright.sync_api", reason="playwright is not here")
    if CHROMIUM is None:
        pytest.skip("chromium is not here: apt-get install chromium")
    with drive.sync_playwright() as play:
        ways = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        chromium = play.chromium.launch(executable_path=CHROMIUM, args=ways)
        yield chromium.new_page(viewport={"width": 390, "height": 800})  # a phone's
        chromium.close()


@pytest.mark.slow
def test_every_task_is_clicked_through_in_a_browser_that_asks_nobody_else(address: str, browser: Any) -> None:
    elsewhere: list[str] = []
    browser.on(
        "request",
        lambda one: elsewhere.append(one.url) if not one.url.startswith((address, "data:", "blob:")) else None,
    )
    browser.goto(address)
    for task, question in QUESTIONS.items():
        browser.get_by_label(question.title, exact=True).check()
        if question.label:
            browser.get_by_label(question.label, exact=True).wait_for(state="visible")
        before = browser.locator("#told").inner_html()
        browser.locator("#ask").press("Enter")  # the keyboard suffices
        browser.wait_for_function("before => document.querySelector('#told').innerHTML != before", arg=before)
        assert browser.locator("#told").inner_text(), task
    assert [url for url in elsewhere if not url.startswith((address, "data:", "blob:"))] == []
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
