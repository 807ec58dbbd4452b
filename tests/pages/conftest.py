"""A real Chromium for tests of pages, and pages of every kind of study."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))  # studies_by_hand


@dataclass
class Opened:
    """A page in Chromium, and what went wrong on it."""

    page: Any
    troubles: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def run(self, script: str) -> Any:
        return self.page.evaluate(script)


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Writes a page to a file and opens it; every trouble is noted, and fails the test at its end."""
    opened: list[Opened] = []
    contexts: list[Any] = []

    def open_it(text: str, width: int = 1280, scheme: str = "light", **options: Any) -> Opened:
        path = tmp_path / f"page {len(opened)}.html"
        path.write_text(text, encoding="utf-8")
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True, **options
        )
        contexts.append(context)
        found = Opened(context.new_page())
        found.page.on("console", lambda m: found.troubles.append(f"{m.type}: {m.text}"))
        found.page.on("pageerror", lambda error: found.troubles.append(f"page: {error}"))
        found.page.on("request", lambda request: found.requests.append(request.url))
        found.page.goto(path.as_uri())
        found.page.wait_for_selector("html[data-drawn=all]", timeout=60_000)
        opened.append(found)
        return found

    yield open_it
    for context in contexts:
        context.close()
    for each in opened:
        assert each.troubles == []
        assert [url for url in each.requests if not url.startswith(("file:", "data:", "blob:"))] == []
