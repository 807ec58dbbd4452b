"""Shows `>>>` examples of docstrings as code: a griffe extension, named in mkdocs.yml."""

from __future__ import annotations

from typing import Any

import griffe

SKIP = "# doctest: +SKIP"


class Doctests(griffe.Extension):
    """Puts a fence around every run of lines that begins with a prompt."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called for every object that is read."""
        if obj.docstring is not None and ">>>" in obj.docstring.value:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text with each example, from its prompt to the next empty line, as a block."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(_block(part) if part.lstrip().startswith(">>>") else part for part in paragraphs)


def _block(example: str) -> str:
    lines = [line.removesuffix(SKIP).rstrip() for line in example.splitlines()]
    indent = lines[0][: len(lines[0]) - len(lines[0].lstrip())]
    return "\n".join([f"{indent}```pycon", *lines, f"{indent}```"])
