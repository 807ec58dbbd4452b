"""What the data doctor says: findings, the images they are about, and a whole diagnosis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from automl_transfer.data.exclude import Exclusion, Scope, strictest
from automl_transfer.domain.strict_json import Frozen
from automl_transfer.domain.task import Split

Weight = Literal["note", "look", "grave"]
LISTED = 1000
"""Images of a finding in the JSON file; its `images` counts all, and the list for `--exclude` names all."""


class Suspect(Frozen):
    """An image that a finding is about.

    Attributes:
        image: Its name.
        split: Where it is used; None where it is not.
        label: Its class as the dataset has it.
        what: What is odd about it, in words.
        score: As its finding's `score_means` says; larger is odder.
        twin: The image that it is compared with.
        leave_out_of: What the list for `--exclude` takes it out of; None where the doctor only shows it.
        trust: Where training may count it less instead of leaving it out: how much, from 0 to 1.
    """

    image: str
    split: Split | None = None
    label: str = ""
    what: str = ""
    score: float | None = None
    twin: str | None = None
    leave_out_of: Scope | None = None
    trust: float = Field(default=0.0, ge=0.0, le=1.0)


class Finding(Frozen):
    """Something that a check found.

    Attributes:
        check: Name of the check.
        title: In a few words.
        weight: `note`: good to know; `look`: look at it; `grave`: results cannot be believed before.
        says: One sentence.
        images: How many it is about; 0 where it is about the dataset.
        score_means: What the suspects' scores are.
        reliability: How far to believe it, in words, with what was measured.
        false_alarms: How many of the images are expected to be listed without reason; None where nobody
            knows.
        suspects: The images, oddest first.
    """

    check: str
    title: str
    weight: Weight = "look"
    says: str
    images: int = Field(default=0, ge=0)
    score_means: str = ""
    reliability: str
    false_alarms: float | None = Field(default=None, ge=0.0)
    suspects: tuple[Suspect, ...] = ()

    @property
    def short(self) -> str:
        """For one line: the title, and how many images."""
        return f"{self.title} ({self.images:,})" if self.images else self.title


class CheckDone(Frozen):
    """A check that was made; `skipped` says why one was not."""

    name: str
    title: str
    seconds: float = Field(ge=0.0)
    skipped: str = ""


class Diagnosis(Frozen):
    """The content of `doctor.json`.

    Attributes:
        dataset: Its name.
        fingerprint: Of the task that was looked at.
        images: In a split.
        source: Whose features were looked at; None where no check needed any.
        checks: Those that were made.
        findings: The gravest first.
    """

    schema_: Literal["automl-transfer/doctor/1"] = Field(default="automl-transfer/doctor/1", alias="schema")
    dataset: str
    fingerprint: str
    images: int = Field(ge=0)
    source: str | None = None
    checks: tuple[CheckDone, ...]
    findings: tuple[Finding, ...] = ()

    def to_json(self) -> str:
        """The file's text; of each finding's images the first `LISTED`."""
        short = [f.model_copy(update={"suspects": f.suspects[:LISTED]}) for f in self.findings]
        text = self.model_copy(update={"findings": tuple(short)}).model_dump_json(by_alias=True, indent=1)
        return text + "\n"

    def exclusions(self, *, soft: bool = False) -> list[Exclusion]:
        """What should be left out, the strictest word on each image; softly, doubtful images count less."""
        lines = [
            Exclusion(
                each.image,
                each.leave_out_of,
                each.trust if soft and each.leave_out_of == "training" else 0.0,
                finding.title.lower(),
                each.score,
            )
            for finding in self.findings
            for each in finding.suspects
            if each.leave_out_of is not None
        ]
        return list(strictest(lines).values())

    def line(self) -> str:
        """All findings that deserve a look, in one line; empty where there are none."""
        return ", ".join(each.short for each in self.findings if each.weight != "note")


def gravest_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """In the order in which a person should read them."""
    order: dict[Weight, int] = {"grave": 0, "look": 1, "note": 2}
    return tuple(sorted(findings, key=lambda each: order[each.weight]))
