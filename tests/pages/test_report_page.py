"""The report's pages in a real Chromium, offline: no trouble in the console, no request, all drawn."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from studies_by_hand import make_study

from automl_transfer.reporting.figures.registry import FIGURES
from automl_transfer.reporting.html.compare_page import compare_page
from automl_transfer.reporting.html.study_page import study_page

Open = Callable[..., Any]
WIDTHS = {"phone": 390, "tablet": 820, "desktop": 1280}


@cache
def page_of(trials: int = 60) -> str:
    return study_page(make_study(trials))


@cache
def comparison() -> str:
    return compare_page([make_study(40, f"study {seed}", seed=seed) for seed in range(3)])


def test_every_figure_is_drawn(open_page: Open) -> None:
    opened = open_page(page_of())
    drawn = opened.run(
        "[...document.querySelectorAll('[data-figure]')].map(p => [p.dataset.figure, p.dataset.drawn, "
        "p.querySelectorAll('svg.main-svg').length > 0])"
    )
    assert {name for name, _, _ in drawn} == set(FIGURES)
    assert all(flag == "yes" and svg for _, flag, svg in drawn)
    marks = opened.run("document.querySelectorAll('#plot-accuracy-over-time .point').length")
    assert marks >= 50


def test_hovering_a_trial_shows_its_strategy_in_words(open_page: Open) -> None:
    opened = open_page(page_of())
    opened.run(
        "(() => { const p = document.getElementById('plot-accuracy-over-time'); p.scrollIntoView(); "
        "const t = p.data.findIndex(d => d.meta === 'trials'); Plotly.Fx.hover(p, [{curveNumber: t, pointNumber: 0}]); })()"
    )
    opened.page.wait_for_selector("#plot-accuracy-over-time .hoverlayer .hovertext")
    words = opened.page.text_content("#plot-accuracy-over-time .hoverlayer")
    assert "efficientnet-lite0" in words
    assert "trial" in words


def test_tables_are_sorted_by_keyboard(open_page: Open) -> None:
    opened = open_page(page_of())
    values = "[...document.querySelectorAll('#ranking-table tbody tr')].map(r => Number(r.cells[10].dataset.value))"
    head = opened.page.get_by_role("columnheader", name="Training").get_by_role("button").nth(0)
    head.focus()
    opened.page.keyboard.press("Enter")
    first = opened.run(values)
    assert first == sorted(first)
    opened.page.keyboard.press("Enter")
    assert opened.run(values) == sorted(first, reverse=True)
    assert opened.run("document.querySelectorAll('#ranking-table th')[10].ariaSort") == "descending"


def test_the_theme_follows_the_system_and_the_toggle(open_page: Open) -> None:
    opened = open_page(page_of(), scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    ink = "document.getElementById('plot-accuracy-over-time').layout.font.color"
    dark, dark_ink = opened.run(paper), opened.run(ink)
    opened.page.get_by_role("button", name="Switch to light colours").click()
    assert opened.run(paper) == "rgb(255, 255, 255)" != dark
    assert opened.run(ink) != dark_ink


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("kind", [page_of, comparison], ids=["study", "comparison"])
def test_fits_every_width_in_both_themes(
    open_page: Open, kind: Callable[[], str], width: int, scheme: str, tmp_path: Path
) -> None:
    opened = open_page(kind(), width=width, scheme=scheme)
    assert opened.run("document.documentElement.scrollWidth") <= width
    wide = opened.run(
        "[...document.querySelectorAll('.plot svg.main-svg')].filter(s => s.getBoundingClientRect().right > "
        "document.documentElement.clientWidth + 1).length"
    )
    assert wide == 0
    opened.page.screenshot(path=tmp_path / "page.png", full_page=True)
    # A page that nothing was painted on compresses to very little.
    assert (tmp_path / "page.png").stat().st_size > 50_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast(open_page: Open, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: 4.5 to 1 for text."""
    opened = open_page(page_of(), scheme=scheme)
    colours = {
        name: opened.run(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        for name in ("paper", "raised", "ink", "muted", "accent", "accent-soft", "good", "bad")
    }
    for ink in ("ink", "muted", "accent", "good", "bad"):
        for paper in ("paper", "raised"):
            assert contrast(colours[ink], colours[paper]) >= 4.5, (ink, paper)
    assert contrast(colours["accent"], colours["accent-soft"]) >= 4.5


def contrast(one: str, other: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("kind", [page_of, comparison], ids=["study", "comparison"])
def test_reads_well_without_eyes(open_page: Open, kind: Callable[[], str]) -> None:
    opened = open_page(kind())
    levels = opened.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.tagName[1]))")
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert opened.run("document.documentElement.lang") == "en"
    for part in ("header", "main", "footer", "nav"):
        assert opened.page.locator(part).count() == 1
    short = opened.run(
        "[...document.querySelectorAll('[data-figure]')].filter(p => p.getAttribute('role') !== 'img' || "
        "p.getAttribute('aria-label').length < 40).map(p => p.dataset.figure)"
    )
    assert short == []
    assert opened.run("[...document.images].filter(i => !i.alt).length") == 0
    assert opened.run("[...document.querySelectorAll('thead th')].filter(t => t.scope !== 'col').length") == 0


def test_prints_light_with_every_figure(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(page_of(), scheme="dark")
    opened.run("dispatchEvent(new Event('beforeprint'))")
    assert opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    opened.page.pdf(path=tmp_path / "page.pdf")
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 3 <= pages <= 30


def test_the_policy_lets_nothing_else_run(open_page: Open) -> None:
    opened = open_page(page_of())
    opened.run(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.pwned = 1'; "
        "document.body.append(s); const i = new Image(); i.src = 'https://example.org/x.png'; })()"
    )
    assert opened.run("window.pwned") is None
    blocked = list(opened.troubles)
    opened.troubles.clear()
    opened.requests[:] = opened.requests[:1]
    assert len(blocked) >= 2
    assert all("Content Security Policy" in text for text in blocked)


def test_five_thousand_trials_are_a_small_file_that_answers(open_page: Open) -> None:
    text = page_of(5000)
    assert len(text.encode()) < 8_000_000
    opened = open_page(text)
    assert opened.run("document.querySelectorAll('#plot-accuracy-over-time .point').length") > 4000
