"""Every finding of the trials by users and attackers (FINDINGS C, D, E; B9, B10) has a case or a test by its number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
FINDINGS = [
    "B9", "B10", *(f"C{n}" for n in range(1, 13)), *(f"D{n}" for n in range(1, 24)), *(f"E{n}" for n in range(1, 18)),
]  # fmt: skip
ONLY_SPEED = {
    "C10": "kept one profiler and its backbone too long: memory, which no case sees",
    "C11": "read every epoch each second for one line of the screen",
}
TEXTS = {
    path: path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py") if path != Path(__file__)
}


@pytest.mark.parametrize("number", [each for each in FINDINGS if each not in ONLY_SPEED])
def test_every_finding_has_a_test(number: str) -> None:
    named = re.compile(rf"\b{number}\b|_{number.lower()}(?:_|\b)")
    assert [path for path, text in TEXTS.items() if named.search(text)], f"no test names {number}"
