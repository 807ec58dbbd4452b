"""The account of a dataset's files in words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from automl_transfer.domain.account import Account, LeftOut, Reason


def test_totals_must_add_up() -> None:
    with pytest.raises(ValidationError, match="2 more seen"):
        Account(seen=5, used=2, left_out=(LeftOut(reason=Reason.NO_LABEL, files=1),))


def test_a_clean_dataset_and_a_few_image_version_have_nothing_to_say() -> None:
    few = LeftOut(reason=Reason.FEW, files=3)
    for account in (Account(seen=5, used=5), Account(seen=5, used=2, left_out=(few,))):
        assert (account.lines(), account.summary) == ([], "")


def test_files_and_images_are_told_apart() -> None:
    bad = LeftOut(reason=Reason.UNREADABLE, files=3, suffixes={"(none)": 3}, sample=("images[3]",))
    text = LeftOut(reason=Reason.NOT_IMAGE, files=1, suffixes={".txt": 1}, sample=("a.txt",))
    assert Account(seen=4, used=1, left_out=(bad,)).summary == (
        "3 of 4 images are left out, 1 image is used, and most images cannot be used: "
        "3 images that cannot be read."
    )
    both = Account(seen=9, used=5, left_out=(text, bad))
    assert both.lines() == [
        "4 of 9 files are left out, 5 images are used:",
        "- 1 file that is no image (.txt): 'a.txt'",
        "- 3 images that cannot be read ((none)): 'images[3]' ...",
    ]
