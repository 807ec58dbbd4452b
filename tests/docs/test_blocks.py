"""Every code block of every page is of a kind that is run, and those that are not run say why."""

from __future__ import annotations

from collections import Counter

import pytest
from doc_blocks import Block, alike, blocks, compare, pages

NOT_RUN = {"dashboard.md": 3, "guides/own-dataset.md": 1, "guides/several-machines.md": 6, "index.md": 1}
"""Blocks that a page leaves out, each with its reason above it: clusters, GPUs, buckets and browsers of the reader."""

KINDS = {"sh", "python", "text", "toml", "json"}


@pytest.mark.parametrize("page", pages())
def test_every_block_says_what_it_is(page: str) -> None:
    for block in blocks(page):
        assert block.title or block.language in KINDS, f"{block.place}: {block.language or 'no language'}"


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    left_out = [block for page in pages() for block in blocks(page) if block.not_run]
    assert all(len(block.not_run or "") > 15 for block in left_out)
    assert Counter(block.page for block in left_out) == NOT_RUN


@pytest.mark.parametrize(
    ("wanted", "got", "same"),
    [
        ("best is trial 3", "best is trial 3", True),
        ("wrote a file", "wrote another file", False),
        ("validation 0.99, test 0.97", "validation 0.9931, test 0.9722", True),
        ("validation 0.99", "validation 0.62", False),
        ("720 images in 3 classes", "72 images in 3 classes", False),
        ("profile of efficientnet... in 0.7 s", "profile of efficientnet: 0.979 in 12.3 s", True),
        ("0:05 trial 0", "1:59 trial 0", True),
        ("brick,0.999989,", "brick,0.912345,", True),
        ("trial ...", "study quick", False),
    ],
)
def test_what_counts_as_the_same_output(wanted: str, got: str, same: bool) -> None:
    assert alike(wanted, got) is same


def test_output_that_a_command_did_not_print_is_found() -> None:
    block = Block("page.md", 7, "text", None, "one\n...\nthree\n", None)
    compare(block, "zero\none\ntwo\nthree\n")
    with pytest.raises(AssertionError, match=r"docs/page\.md:7 shows 'three'"):
        compare(block, "three\none\ntwo\n")
