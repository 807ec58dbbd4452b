"""Wrong labels, by confident learning on out-of-fold probabilities (Northcutt 2021; `doctor.opinion`)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding

WORTH_A_WEIGHT = 0.05
"""Images whose label is wrong with at least this probability count less in the list of weights."""
MEASURED = (
    "Measured with 10% wrong labels put in: precision .95 and recall .96 on photographs of hands, and at "
    "least .97 and .98 on digits and textures. Of labels that nobody changed 0 to 0.5% are listed: hard "
    "images, "
    "and errors that were there (docs: Robustness)."
)


class WrongLabels(Check):
    """Labels that models which did not see the image, and know how labels go wrong here, do not believe."""

    name, title = "labels", "Wrong labels"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """One finding, the least believable label first; labels of test images are not judged."""
        opinion, task = patient.opinion, patient.task
        order = np.argsort(-opinion.wrong, kind="stable")
        listed = [int(at) for at in order if opinion.wrong[at] >= 0.5]
        if not listed:
            return
        doubted = [int(at) for at in order if opinion.wrong[at] >= WORTH_A_WEIGHT]
        false = float((1.0 - opinion.wrong[listed]).sum())
        classes = task.task.classes
        yield Finding(
            check=self.name,
            title=self.title,
            weight="look",
            says=f"{len(listed):,} of {len(opinion.rows):,} labels of training and validation images are "
            f"more likely wrong than right (about {100 * opinion.noise:.1f}% are estimated to be). The list "
            f"takes "
            "these images out of training; validation images stay where they are judged.",
            images=len(listed),
            score_means="probability that the label is wrong",
            reliability=f"By these probabilities {false:.1f} of the {len(listed):,} are right after all, "
            f"which is a "
            f"little too hopeful. {MEASURED}",
            false_alarms=false,
            suspects=tuple(
                patient.suspect(
                    int(opinion.rows[at]),
                    what=f"looks like {classes[opinion.answers[at]]}",
                    score=float(opinion.wrong[at]),
                    leave_out_of="training",
                    trust=float(1.0 - opinion.wrong[at]),
                )
                for at in doubted
                if opinion.wrong[at] >= 0.5
            ),
        )
