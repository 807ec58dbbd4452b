"""A check of another package: it counts."""

from automl_transfer.doctor.base import Check
from automl_transfer.doctor.findings import Finding


class Counted(Check):
    name, title, cheap = "counted", "Counted", True

    def examine(self, patient):
        yield Finding(
            check=self.name,
            title="Counted by another package",
            says="There are images.",
            images=len(patient.rows),
            reliability="Certain.",
        )
