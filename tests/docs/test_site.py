"""The built pages: strict, without a network, every link and anchor leads somewhere, search works."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from doc_blocks import DOCS, ROOT, pages

OFFLINE_BUILD = """
import socket, sys

def refuse(*args, **more):
    raise OSError(f"the build must not use the network, it wanted {args[1:]}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from mkdocs.__main__ import cli
cli(["build", "--strict", "--quiet", "--site-dir", sys.argv[1]])
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages, built as `make docs` builds them, where every connection is refused."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE_BUILD, str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


class Links(HTMLParser):
    """What a page links to and loads, and the anchors it offers."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if identifier := found.get("id"):
            self.anchors.add(identifier)
        if tag == "a" and (href := found.get("href")):
            self.links.append(href)
        elif (source := found.get("src")) or (tag == "link" and (source := found.get("href"))):
            self.loaded.append(source)


def test_every_page_is_built(site: Path) -> None:
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    assert {page.removesuffix(".md") + ".html" for page in pages()} <= built
    assert not list(site.rglob("*.py")), "hooks do not belong to the pages"


def test_every_link_and_anchor_leads_somewhere(site: Path) -> None:
    parsed = {path: Links(path) for path in site.rglob("*.html")}
    broken = []
    for page, found in parsed.items():
        for link in [*found.links, *found.loaded]:
            parts = urlsplit(link)
            if parts.scheme in ("http", "https", "mailto"):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target /= "index.html"
            anchored = not parts.fragment or parts.fragment in parsed.get(target, found).anchors
            if page.name != "404.html" and not (
                target.is_file() and (anchored or parts.fragment == "__skip")
            ):
                broken.append(f"{page.relative_to(site)}: {link}")
    assert not broken, "\n".join(broken)


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        outside = [link for link in Links(page).loaded if urlsplit(link).scheme or link.startswith("//")]
        assert not outside, f"{page.relative_to(site)} loads {outside}"


def test_links_of_the_readme_lead_to_files() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", readme) if "://" not in link]
    assert any(link.startswith("docs/") for link in links)
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_generated_reference_names_everything(site: Path) -> None:
    """The reference follows the code: commands, study keys, dimensions, error classes, variables."""
    from automl_transfer import errors
    from automl_transfer.domain.spec import SearchSpec, TaskSpec
    from automl_transfer.domain.strategy import DIMENSIONS

    def text(page: str) -> str:
        return (site / page).read_text(encoding="utf-8")

    files = {path.stem for path in (ROOT / "automl_transfer" / "cli").glob("*.py")}
    for command in files & {"search", "worker", "launch", "apply", "verify", "predict", "package", "report"}:
        assert f'id="{command}"' in text("reference/commands.html")
    for key in {*TaskSpec.model_fields, *SearchSpec.model_fields} - {
        "splits",
        "columns",
    }:  # they have tables of their own
        assert f"<code>{key}</code>" in text("reference/study-file.html")
    for dimension in DIMENSIONS:
        assert f"<code>{dimension}</code>" in text("reference/strategy.html")
    for name, value in vars(errors).items():
        if isinstance(value, type) and issubclass(value, errors.AutomlTransferError):
            assert name in text("reference/errors.html")


def test_every_environment_variable_in_the_code_is_documented() -> None:
    """A variable is anything that the package reads or sets in `os.environ`."""
    page = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    reads = re.compile(r"""(?:os\.environ(?:\.get|\.setdefault|\.pop)?[\[(]|getenv\()\s*["'](\w+)["']""")
    constant = re.compile(r"""^\w*(?:ENVIRONMENT|VARIABLE)\w* = ["']([A-Z_]+)["']""", re.MULTILINE)
    used = set()
    for path in (ROOT / "automl_transfer").rglob("*.py"):
        code = path.read_text(encoding="utf-8")
        used |= set(reads.findall(code)) | set(constant.findall(code))
    assert "AUTOML_TRANSFER_STORAGE" in used
    assert [name for name in sorted(used) if f"`{name}`" not in page] == []


class Watched:
    """A browser page that notes every request and every error."""

    def __init__(self, browser: Any, width: int = 1280) -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900})
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def outside(self, home: str) -> list[str]:
        return [url for url in self.requests if not url.startswith((home, "data:", "blob:", "about:"))]


def test_pages_opened_as_files_ask_for_nothing_and_fit_a_phone(site: Path, chromium: Any) -> None:
    phone = Watched(chromium, width=390)
    for path in sorted(set(site.rglob("*.html")) - {site / "404.html"}):  # a server's page
        phone.page.goto(path.as_uri())
        phone.page.wait_for_function("document.readyState == 'complete'")
        width = phone.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390, f"{path.relative_to(site)} is {width} pixels wide on a phone of 390"
    assert phone.outside(site.as_uri()) == []
    assert phone.errors == []
    phone.page.close()


@pytest.mark.parametrize("opened", ["as files", "from a server"])
def test_search_finds_pages(site: Path, chromium: Any, opened: str) -> None:
    handler = functools.partial(_Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            home = site.as_uri() if opened == "as files" else f"http://127.0.0.1:{server.server_port}"
            reader = Watched(chromium)
            reader.page.goto(f"{home}/index.html")
            reader.page.locator(".md-search__input").first.click()
            reader.page.keyboard.type("freeze_depth")
            link = reader.page.locator(".md-search-result__link[href*='reference/strategy']").first
            link.wait_for(timeout=20_000)
            assert reader.outside(home) == []
            assert reader.errors == []
            reader.page.close()
        finally:
            server.shutdown()
            thread.join()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass
