"""A real browser: Debian's Chromium, headless, driven by Playwright. Whatever goes wrong in it
fails the test.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.waiting import PATIENCE

#: A directory for pictures of the pages; "" for none.
SHOTS = os.environ.get("SALLYPORT_SHOTS", "")
DESKTOP = {"viewport": {"width": 1280, "height": 860}}
PHONE = {"viewport": {"width": 390, "height": 844}, "is_mobile": True, "has_touch": True}
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@contextmanager
def chromium_running() -> Iterator[Any]:
    """A Playwright browser; skips the test where there is none."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("no chromium on this machine (Debian: apt-get install chromium)")
    tools = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with tools.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=program, args=_FLAGS)
        yield browser
        browser.close()


class Watched:
    """Browser windows before one console, each with its own cookies. ``problems``: errors in them,
    dialogs, violations of the content policy, requests that left the machine.
    """

    def __init__(self, chromium: Any, url: str, provider: str = "") -> None:
        """url: of the console; it, ``provider``, and whatever else is on 127.0.0.1, may be
        asked.
        """
        self.problems: list[str] = []
        self._chromium, self._url = chromium, url
        own = "|".join(re.escape(f"{place}/") for place in (url, provider) if place)
        self._own = re.compile(rf"(http://127\.0\.0\.1:|{own}|data:|about:)")
        self._contexts: list[Any] = []

    def page(self, **options: Any) -> Any:
        """A new window; options as Playwright's ``new_context`` takes them."""
        context = self._chromium.new_context(base_url=self._url, **options)
        self._contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", lambda said: self._said(said.type, said.text))
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.on("dialog", self._dialog)
        page.on("request", lambda asked: self._local(asked.url))
        return page

    def close(self) -> None:
        """Close every window; AssertionError when something went wrong in one."""
        for context in self._contexts:
            context.close()
        assert self.problems == []

    def _said(self, kind: str, text: str) -> None:
        # What a test asks for on purpose (an error page) shows as a failed load.
        if kind == "error" and "Failed to load resource" not in text:
            self.problems.append(text)

    def _dialog(self, dialog: Any) -> None:
        self.problems.append(f"a dialog opened: {dialog.message}")
        dialog.dismiss()

    def _local(self, url: str) -> None:
        if not self._own.match(url):
            self.problems.append(f"a request left the machine: {url}")


def shoot(page: Any, name: str, *, full_page: bool = False) -> None:
    """A picture of what is visible (``full_page``: of the whole page), when pictures are wanted."""
    if SHOTS:
        Path(SHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SHOTS}/{name}.png", full_page=full_page)
