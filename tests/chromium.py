"""The system's Chromium, as all tests of pages start it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


def executable() -> str:
    """Its path, under any of its names."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if (path := shutil.which(name)) is not None:
            return path
    raise RuntimeError("tests of pages need Chromium: make test installs it")


@contextmanager
def launched() -> Iterator[Any]:
    """A fresh browser. Only one at a time in a process: playwright's own loop runs meanwhile."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable(), args=FLAGS)
        yield browser
        browser.close()
