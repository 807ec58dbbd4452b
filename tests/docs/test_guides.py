"""The guides, the reference and the design pages: their blocks run in order, page by page."""

from __future__ import annotations

from pathlib import Path

import pytest
from doc_blocks import TUTORIALS, blocks, pages, session

RUN = ("sh", "python")
OTHERS = [
    page
    for page in pages()
    if page not in TUTORIALS and any(block.title or block.language in RUN for block in blocks(page))
]
DATABASE = "guides/several-machines.md"


@pytest.mark.timeout(1200)  # a whole page, perhaps beside other work
@pytest.mark.parametrize("page", OTHERS)
def test_every_block_of_a_page_does_what_it_says(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    more = {"DATABASE": request.getfixturevalue("postgres_url")} if page == DATABASE else {}
    reader = session(tmp_path / "here", **more)
    first, *others = blocks(page)
    reader.begin(first)
    for block in others:
        reader.run(block)
