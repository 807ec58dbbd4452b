"""A real Chromium that notes every console error and every failed request."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@dataclass
class Browser:
    """One page, and what went wrong on it. `troubles` stays empty on a page that works."""

    page: Any
    base: str
    troubles: list[str] = field(default_factory=list)
    requests: int = 0

    def open(self, path: str) -> None:
        """Go there, and wait until it has loaded all it asks for."""
        self.page.goto(self.base + path)
        self.page.wait_for_load_state("networkidle")

    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.page.inner_text("body"))

    def see(self, words: str) -> None:
        """Wait until the page shows these words."""
        self.page.get_by_text(words).first.wait_for(timeout=30_000)


def executable() -> str:
    """The system's Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    raise RuntimeError("tests of pages need Chromium: make test installs it")


@contextmanager
def browse(base: str, folder: Path | None = None) -> Iterator[Browser]:
    """A fresh browser on a server. Downloads end in `folder`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=executable(), args=FLAGS, downloads_path=str(folder) if folder else None
        )
        page = chromium.new_page(viewport={"width": 1500, "height": 1000})
        browser = Browser(page, base)

        def console(message: Any) -> None:
            if message.type == "error":
                browser.troubles.append(f"console: {message.text}")

        def response(answer: Any) -> None:
            browser.requests += 1
            if answer.status >= 400:
                browser.troubles.append(f"{answer.status} {answer.request.method} {answer.url}")

        page.on("console", console)
        page.on("pageerror", lambda error: browser.troubles.append(f"page: {error}"))
        page.on("requestfailed", lambda r: browser.troubles.append(f"failed: {r.url} {r.failure}"))
        page.on("response", response)
        yield browser
        chromium.close()
