"""Wrong labels, by confident learning on out-of-fold probabilities (Northcutt 2021; `doctor.opinion`)."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from automl_transfer.doctor.base import Check, Patient
from automl_transfer.doctor.findings import Finding

SOUND = 0.003
"""Share of sound labels that are listed all the same, over four datasets (`benchmarks/doctor.py`)."""
MEASURED = (
    "Measured with 10% wrong labels put in: precision .92 and recall .95 on photographs of hands (which have "
    "errors of their own, counted here as wrongly listed), at least .97 and .97 on digits and textures "
    "(docs: "
    "Robustness)."
)


class WrongLabels(Check):
    """Labels that models which did not see the image, and know how labels go wrong here, do not believe."""

    name, title = "labels", "Wrong labels"

    def examine(self, patient: Patient) -> Iterable[Finding]:
        """One finding, the least believable label first; labels of test images are not judged."""
        opinion, classes = patient.opinion, patient.task.task.classes
        wrong = np.where(patient.details.cached.blank[opinion.rows], 0.0, opinion.wrong)
        order = np.argsort(-wrong, kind="stable")
        listed = order[wrong[order] >= 0.5]
        if not len(listed):
            return
        images = len(opinion.rows)
        false = float((1.0 - wrong[listed]).sum()) + SOUND * images
        yield Finding(
            check=self.name,
            title=self.title,
            weight="look",
            says=f"{len(listed):,} of {images:,} labels of training and validation images are more likely "
            f"wrong "
            f"than right (about {100 * opinion.noise:.1f}% are estimated to be). The list takes these "
            f"images out "
            "of training; validation images stay where they are judged.",
            images=len(listed),
            score_means="probability that the label is wrong",
            reliability=f"About {min(false, len(listed)):.0f} of the {len(listed):,} are expected to be "
            f"right: by "
            f"these probabilities, and because {100 * SOUND:g}% of sound labels are listed, too. {MEASURED}",
            false_alarms=min(false, float(len(listed))),
            suspects=tuple(
                patient.suspect(
                    int(opinion.rows[at]),
                    what=f"looks like {classes[opinion.answers[at]]}",
                    score=float(wrong[at]),
                    leave_out_of="training",
                    trust=float(1.0 - wrong[at]),
                )
                for at in listed
            ),
        )
