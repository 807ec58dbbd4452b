"""Files that cannot be used: unreadable, empty, enormous, of another format."""

from __future__ import annotations

from collections.abc import Iterable

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding, Suspect


class UnusableFiles(Check):
    """What the decoder refused, with its reasons."""

    name, title, cheap = "files", "Files that cannot be used", True

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """One finding with every such file."""
        bad = patient.task.skipped
        if bad:
            yield Finding(
                check=self.name,
                title=self.title,
                weight="look",
                says="These were meant to be images and are in no split: repair or remove them, or leave "
                "them "
                "out with --on-bad-image skip.",
                images=len(bad),
                reliability="Certain: decoding them was tried.",
                false_alarms=0.0,
                suspects=tuple(
                    Suspect(image=each.key, label=each.class_name, what=each.reason) for each in bad
                ),
            )
