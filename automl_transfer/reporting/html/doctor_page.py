"""The page of the data doctor: every finding with its images, and how far to believe it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from automl_transfer import __version__
from automl_transfer.data.task import LoadedTask
from automl_transfer.doctor.findings import Diagnosis, Suspect
from automl_transfer.reporting.html.document import page
from automl_transfer.reporting.judging import thumbnail
from automl_transfer.reporting.plain import plain

SHOWN = 24
"""Images of a finding that are shown."""


@dataclass(frozen=True)
class Picture:
    """A thumbnail, PNG as base64, and what those read who do not see it."""

    png: str
    alt: str


@dataclass(frozen=True)
class Pictured:
    """A suspect with its image, and that of its twin."""

    suspect: Suspect
    pictures: tuple[Picture, ...]


def doctor_page(found: Diagnosis, task: LoadedTask) -> str:
    """The whole page as text."""
    row_of = {key: row for row, key in enumerate(task.keys)}

    def picture(image: str, label: str) -> Picture | None:
        row = row_of.get(image)
        if row is None:
            return None
        return Picture(
            thumbnail(np.asarray(task.images[row])), f"An image of {label}" if label else "An image"
        )

    def pictured(suspect: Suspect) -> Pictured:
        both = [picture(suspect.image, plain(suspect.label, 40))]
        if suspect.twin is not None:
            both.append(picture(suspect.twin, "the one it is compared with"))
        return Pictured(suspect, tuple(each for each in both if each is not None))

    serious = sum(each.weight != "note" for each in found.findings)
    contents = [(f"finding-{at}", plain(f.title, 30)) for at, f in enumerate(found.findings, start=1)][:6]
    return page(
        "doctor.html.j2",
        {},
        {},
        title=plain(f"{found.dataset}: the data doctor", 120),
        name=plain(found.dataset, 80),
        contents=[*contents, ("checks", "Checks")],
        found=found,
        findings=found.findings,
        serious=f"{serious} finding{'' if serious == 1 else 's'}" if serious else "",
        listed=len(found.exclusions()),
        pictures=[[pictured(each) for each in finding.suspects[:SHOWN]] for finding in found.findings],
        counts=Counter(finding.check for finding in found.findings),
        version=__version__,
    )
