"""The page of an evaluation in a real Chromium: offline, without trouble, and with nothing of its data run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from automl_transfer.reporting.errors_of_winner import WrongImage
from automl_transfer.reporting.evaluation import Evaluation, NotJudged
from automl_transfer.reporting.html.evaluation_page import evaluation_page
from automl_transfer.reporting.judging import (
    Answers,
    at_thresholds,
    calibration_bins,
    expected_error,
    thumbnail,
)
from automl_transfer.training.calibration import log_likelihood, softmax

Open = Callable[..., Any]
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"


def by_hand(classes: int, images: int = 300, hostile: str = "", better: float = 3.0) -> Evaluation:
    rng = np.random.default_rng(0)
    names = tuple(f"{hostile}class {label}" for label in range(classes))
    truth = rng.integers(0, classes, images)
    logits = rng.normal(0, 1, (images, classes)) + better * np.eye(classes)[truth]
    p = softmax(logits)
    with Answers(images, names) as answers:
        answers.add(
            np.arange(images), truth, p, p, (log_likelihood(logits, truth), log_likelihood(logits, truth))
        )
        scored, right = answers.score(), answers.right()
        bins = calibration_bins(answers.sure, right)
        worst = tuple(
            WrongImage(
                file=f"{hostile}{at}.png", truth=names[answers.truth[at]], answer=names[answers.answer[at]],
                probability=answers.sure[at], of_truth=answers.of_truth[at],
                thumbnail=thumbnail(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)),
            )
            for at in answers.worst(6)
        )  # fmt: skip
        return Evaluation(
            model=f"{hostile}model", weights_sha256="0" * 64, dataset=f"{hostile}data", split="test",
            images=images, not_judged=NotJudged(unreadable=1, examples=((f"{hostile}x", hostile),),
            other_classes={f"{hostile}dog": 4}), classes=names, missing=(), accuracy=scored.accuracy,
            interval=scored.interval, balanced_accuracy=scored.balanced_accuracy, macro_f1=scored.macro_f1,
            nll=scored.nll, auroc=scored.auroc, calibration=bins,
            expected_calibration_error=expected_error(bins), temperature=1.5, uncalibrated_nll=scored.nll,
            uncalibrated_error=0.1, thresholds=at_thresholds(answers.sure, right, np.array([0.3, 0.96])),
            by_class=scored.by_class, confusion=scored.confusion, wrong=int((~right).sum()), worst=worst,
            notes=(f"A note{hostile}.",),
        )  # fmt: skip


@pytest.mark.parametrize(("classes", "width"), [(2, 1280), (10, 390), (60, 390)])
def test_the_page_is_drawn_and_fits(open_page: Open, classes: int, width: int) -> None:
    found = by_hand(classes)
    opened = open_page(evaluation_page(found), width=width)
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert opened.run("document.querySelectorAll('.plot svg.main-svg').length > 1")
    assert opened.run("document.querySelectorAll('#classes tbody tr').length") == classes
    assert opened.run("[...document.querySelectorAll('.thumbs img')].every(i => i.naturalWidth === 96)")
    assert f"{100 * found.accuracy:.2f}%" in opened.page.inner_text("h1")


INK = """
() => [...document.querySelectorAll('.heatmap-label text')].map(
  (text) => [text.textContent, getComputedStyle(text).fill.match(/[0-9]+/g).slice(0, 3).map(Number)])
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_on_cells_without_a_colour_are_read_in_both_themes(open_page: Open, scheme: str) -> None:
    """In dark mode the right answers stood in dark grey on black."""
    found = by_hand(4)
    opened = open_page(evaluation_page(found), scheme=scheme)
    right = {str(cell.images) for cell in found.confusion if cell.truth == cell.answer}
    for dark in (scheme == "dark", scheme != "dark"):  # then the other one, by the toggle
        inks = [ink for text, ink in opened.page.evaluate(INK) if text in right]
        assert len(inks) >= 4
        assert all((min(ink) > 150) is dark for ink in inks), (dark, inks)
        opened.page.click(".toggle")


def test_a_model_of_many_classes_that_errs_nowhere_has_a_page() -> None:
    """It was a traceback: there is no mistake to draw."""
    found = by_hand(30, better=100.0)
    assert found.wrong == 0
    page = evaluation_page(found)
    assert "100.00%" in page
    assert 'id="plot-calibration"' in page
    assert 'id="plot-confusion"' not in page
    assert "-0.000" not in page  # nats an image


def test_names_are_text(open_page: Open) -> None:
    page = evaluation_page(by_hand(5, hostile=HOSTILE))
    assert "<img src=x" not in page
    assert "\x1b" not in page
    opened = open_page(page)  # an alert, a request or a blocked script would be a trouble
    assert "<img src=x" in opened.page.inner_text("#classes")
