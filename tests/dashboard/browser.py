"""A real Chromium that notes every console error and every failed request."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from chromium import launched


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


@contextmanager
def browse(base: str, chromium: Any = None) -> Iterator[Browser]:
    """A fresh page on a server, in a browser of its own where none is given."""
    with nullcontext(chromium) if chromium is not None else launched() as running:
        page = running.new_page(viewport={"width": 1500, "height": 1000})
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

        def failed(request: Any) -> None:
            if "ERR_ABORTED" not in str(request.failure):  # the page gave it up itself, to show another one
                browser.troubles.append(f"failed: {request.url} {request.failure}")

        page.on("requestfailed", failed)
        page.on("response", response)
        yield browser
        page.close()
