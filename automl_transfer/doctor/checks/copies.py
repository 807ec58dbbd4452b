"""Exact copies: images with the same pixels, under other labels or in other splits."""

from __future__ import annotations

from collections.abc import Iterable

from automl_transfer.data.together import gathered
from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding, Suspect

CERTAIN = "Certain: sha256 over the pixels at the working resolution; blank images do not count."


class ExactCopies(Check):
    """By the digests that decoding made."""

    name, title, cheap = "copies", "Exact copies", True

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """Copies across splits, copies with different labels, and a note on those within a split."""
        task, rows, twins = patient.task, patient.rows, patient.twins
        groups = [] if twins is None else gathered(rows, twins[rows])
        across = patient.across(groups)
        if across:
            yield leak(
                patient, self.name, "Copies across splits", across, CERTAIN, "have the same pixels", 0.0
            )
        conflicting = [rows for rows in groups if len(set(task.labels[rows].tolist())) > 1]
        if conflicting:
            yield Finding(
                check=self.name,
                title="Copies with different labels",
                weight="grave",
                says="The same pixels have different labels, of which all but one are wrong, and nothing "
                "says "
                "which: all of them are suggested to be left out of training.",
                images=sum(map(len, conflicting)),
                reliability=CERTAIN,
                false_alarms=0.0,
                suspects=tuple(
                    patient.suspect(
                        row,
                        what=f"same as {patient.label(other)}",
                        twin=task.keys[other],
                        score=1.0,
                        leave_out_of="training",
                    )
                    for rows in conflicting
                    for row in rows
                    for other in [next(r for r in rows if task.labels[r] != task.labels[row])]
                ),
            )
        within = sum(len(rows) - 1 for rows in groups) - sum(len(rows) - 1 for rows in across)
        if within:
            yield Finding(
                check=self.name,
                title="Copies within a split",
                weight="note",
                says="They count several times, and always go to one side when the program splits.",
                images=within,
                reliability=CERTAIN,
                false_alarms=0.0,
            )


def leak(
    patient: Patient,
    check: str,
    title: str,
    groups: list[list[int]],
    reliability: str,
    how: str,
    false_alarms: float,
    scores: dict[int, float] | None = None,
) -> Finding:
    """The finding about images that are in two splits; the copy that may go is suggested to."""
    suspects: list[Suspect] = []
    for rows in groups:
        for row, of in patient.copies(rows).items():
            scope = "training" if patient.split(row) == "train" else "everything"
            suspects.append(
                patient.suspect(
                    row,
                    what=f"in {patient.split(row)}, its like is judged on",
                    twin=of,
                    score=1.0 if scores is None else scores[row],
                    leave_out_of=scope,
                )
            )
    suspects.sort(key=lambda each: -(each.score or 0.0))
    return Finding(
        check=check,
        title=title,
        weight="grave",
        says=f"Images of different splits {how}: what is judged was trained on, and scores are too good. The "
        "list leaves training copies out of training, and validation copies of test images out of "
        "everything.",
        images=len(suspects),
        score_means="1 - chance that two different images are as alike" if scores else "",
        reliability=reliability,
        false_alarms=false_alarms,
        suspects=tuple(suspects),
    )
