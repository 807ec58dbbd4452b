"""The tutorials, run from their first block to their last, as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import TUTORIALS, blocks, session


@pytest.mark.timeout(1200)  # a whole page, perhaps beside other work
@pytest.mark.parametrize("page", TUTORIALS)
def test_every_block_of_a_tutorial_does_what_the_page_says(page: str, tmp_path: Path) -> None:
    reader = session(tmp_path / "here")
    for block in blocks(page):
        reader.run(block)
