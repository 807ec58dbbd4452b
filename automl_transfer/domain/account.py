"""What became of every file of a dataset: it is used, or it is left out for one of a few reasons."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from automl_transfer.domain.strict_json import Frozen

LISTED = 20
"""Suffixes and classes that are counted one by one; the others are counted together, as `...`."""


class Reason(StrEnum):
    """Why a file is not used. Each file has one reason, the first that applies."""

    HOUSEKEEPING = "file of a system or file server"
    SECOND_NAME = "folder known under another name"
    NOT_IMAGE = "file that is no image"
    UNLISTED = "folder that cannot be listed"
    UNSUPPORTED = "image of a format that is not opened"
    UNREADABLE = "image that cannot be read"
    OUTSIDE = "image outside the class folders"
    NO_LABEL = "image without a label"
    UNLABELLED = "image without a label, for preparations"
    NO_SPLIT = "image outside the split folders"
    RARE = "image of a rare class"
    WEIGHTLESS = "image of weight 0"
    EXCLUDED = "image that the list of exclusions leaves out"
    FEW = "image beyond the few-image version"
    UNDECIDED = "image whose class is not clear"
    NO_FILE = "file missing below the images"
    CONTRADICTED = "image that two rows of the table contradict each other about"
    NOT_NAMED = "image that the table does not name"


def counted(files: int, reason: str) -> str:
    """So many files and why they are left out.

    >>> counted(2, Reason.NO_LABEL), counted(1, Reason.NO_LABEL), counted(2, Reason.NOT_IMAGE)
    ('2 images without a label', '1 image without a label', '2 files that are no image')
    """
    noun, _, rest = reason.partition(" ")
    if files == 1 or noun not in ("image", "file", "folder"):
        return f"{files:,} {reason}"
    if rest.startswith("that is "):
        rest = f"that are {rest.removeprefix('that is ')}"
    return f"{files:,} {noun}s {rest}"


class LeftOut(Frozen):
    """The files that one reason leaves out.

    Attributes:
        reason: A `Reason`; later versions may know more of them.
        suffixes: Files by suffix, the commonest first; `(none)` where a name has none.
        classes: Files by class, where they lie in one; the commonest first.
        sample: Names of the first few.
    """

    reason: str
    files: int = Field(ge=1)
    suffixes: dict[str, int] = Field(default_factory=dict)
    classes: dict[str, int] = Field(default_factory=dict)
    sample: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people.

        >>> LeftOut(reason=Reason.RARE, files=3, suffixes={".png": 3}, sample=("a/1.png",)).describe()
        "3 images of a rare class (.png): 'a/1.png' ..."
        """
        kinds = list(self.suffixes.items())
        if len(kinds) == 1:
            inside = kinds[0][0]
        else:
            shown = [f"{name} {count:,}" for name, count in kinds[:4]]
            inside = ", ".join([*shown, *(["..."] if len(kinds) > 4 else [])])
        names = ", ".join(repr(name) for name in self.sample[:2])
        if self.files > len(self.sample[:2]) and names:
            names += " ..."
        by_class = [f"{name} {count:,}" for name, count in list(self.classes.items())[:4]]
        if len(self.classes) > 4:
            by_class.append("...")
        return (
            counted(self.files, self.reason)
            + (f" ({inside})" if inside else "")
            + (f": {names}" if names else "")
            + (f"; by class: {', '.join(by_class)}" if len(by_class) > 1 else "")
        )


class Oddity(Frozen):
    """Images that are used, but look as if something were wrong with them."""

    what: str
    images: int = Field(ge=1)
    sample: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people."""
        names = ", ".join(repr(name) for name in self.sample[:2])
        return f"{counted(self.images, self.what)}: {names}" + (" ..." if self.images > 2 else "")


class Account(Frozen):
    """Every file below a dataset's folder, or every image of another dataset; the totals add up.

    Attributes:
        seen: Files, and folders that were not entered (each counts as one).
        used: Images in a split.
        left_out: The others, by reason.
        oddities: Used images that deserve a look.
        notes: What else had to be decided, each as one sentence.
    """

    seen: int = Field(ge=0)
    used: int = Field(ge=0)
    left_out: tuple[LeftOut, ...] = ()
    oddities: tuple[Oddity, ...] = ()
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        missing = self.seen - self.used - sum(each.files for each in self.left_out)
        if missing:
            raise ValueError(f"files seen must be those used and those left out, got {missing} more seen")
        return self

    @property
    def unusable(self) -> int:
        """Images that were meant to be used and cannot be."""
        meant = (Reason.UNREADABLE, Reason.UNSUPPORTED, Reason.NO_FILE)
        return sum(each.files for each in self.left_out if each.reason in meant)

    @property
    def summary(self) -> str:
        """One sentence about what is left out; empty where nothing is, or only what was not asked for.

        >>> Account(seen=1, used=1).summary
        ''
        """
        if not self._told:
            return ""
        parts = ", ".join(counted(each.files, each.reason) for each in self.left_out)
        return f"{self._head}: {parts}."

    def lines(self) -> list[str]:
        """What a person should know, a line each; nothing where every file is used and none is odd."""
        found = list(self.notes)
        if self._told:
            found.append(f"{self._head}:")
            found += [f"- {each.describe()}" for each in self.left_out]
        found += [f"Look at {each.describe()}" for each in self.oddities]
        return found

    @property
    def _told(self) -> bool:
        """Whether anything is left out but what a few-image version was asked to leave out."""
        return any(each.reason != Reason.FEW for each in self.left_out)

    @property
    def _head(self) -> str:
        what = "images" if all(each.reason.startswith("image") for each in self.left_out) else "files"
        if not self.used:
            return f"None of {self.seen:,} {what} is used"
        most = ", and most images cannot be used" if self.unusable > self.used else ""
        out = self.seen - self.used
        is_left = f"{out:,} of {self.seen:,} {what} {'is' if out == 1 else 'are'} left out"
        return f"{is_left}, {self.used:,} {'image is' if self.used == 1 else 'images are'} used{most}"
