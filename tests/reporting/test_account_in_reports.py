"""What became of a dataset's files stands in every report (FINDINGS D4, D13)."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
from rich.console import Console
from studies_by_hand import make_records, make_study
from trials_by_hand import make_task

from automl_transfer.domain.account import Account, LeftOut, Oddity, Reason
from automl_transfer.reporting.html.study_page import study_page
from automl_transfer.reporting.publish import study_note
from automl_transfer.reporting.study_report import StudyReport, make_report
from automl_transfer.reporting.table import Report

HOSTILE = "<script>alert(1)</script>\x1b[31m.heic"


def account() -> Account:
    heic = LeftOut(
        reason=Reason.UNSUPPORTED, files=7, suffixes={".heic": 7}, classes={HOSTILE: 7}, sample=(HOSTILE,)
    )
    return Account(
        seen=20,
        used=13,
        left_out=(heic,),
        oddities=(Oddity(what="image of one colour only", images=2, sample=("a/1.png", "a/2.png")),),
        notes=("'val' is another name of the folder 'test': it is left out",),
    )


def report(found: Account | None) -> StudyReport:
    task = make_task(classes=("0", "1", "2")).model_copy(update={"account": found})
    return make_report("by hand", task, None, make_records(6, 0))


def terminal(found: StudyReport) -> str:
    stream = io.StringIO()
    Console(file=stream, width=200, color_system=None).print(Report(found))
    return stream.getvalue()


@pytest.mark.parametrize("shown", [terminal, study_page, study_note])
def test_what_is_left_out_is_said(shown: Callable[[StudyReport], str]) -> None:
    text = shown(report(account())).replace("\\", "")
    assert "7 of 20 images are left out, 13 images are used" in text
    assert "7 images of a format that is not opened" in text
    assert "\x1b" not in text
    assert "<script>alert" not in text


def test_the_page_has_them_by_suffix_and_class_with_what_is_odd() -> None:
    page = study_page(report(account()))
    assert "What became of the files" in page
    assert "2 images of one colour only: &#39;a/1.png&#39;, &#39;a/2.png&#39;" in page
    assert "another name of the folder" in page
    for nothing in (None, Account(seen=5, used=5)):
        assert "What became of the files" not in study_page(report(nothing))
    assert "What became of the files" not in study_page(make_study(5))


def test_the_ranking_has_all_of_it() -> None:
    document = json.loads(report(account()).ranking.to_json())
    assert Account.model_validate(document["task"]["account"]) == account()
