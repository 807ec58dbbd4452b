"""What a finished trial shows to a person: pictures in the artifact store, named as Optuna does."""

from __future__ import annotations

import logging
import tempfile
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from optuna.artifacts import ArtifactMeta

from automl_transfer.domain.records import EpochResult, StopReason
from automl_transfer.store.files import reconstructions_key, study_files
from automl_transfer.store.values import StudyHandle

if TYPE_CHECKING:
    from automl_transfer.transfer.plan import TransferPlan

log = logging.getLogger(__name__)
PNG = "image/png"
RECONSTRUCTIONS = "reconstructions.png"


class TrialPictures:
    """Draws and stores a trial's plan and curve, among the study's files, named as Optuna's tools do.

    What is returned is written with the trial's end, in the same transaction. Best effort: whatever goes
    wrong is logged and costs a picture, never a trial.
    """

    def __init__(self, study: StudyHandle) -> None:
        self._study = study

    def store(
        self, root: int, plan: TransferPlan | None, epochs: Sequence[EpochResult], stop: StopReason
    ) -> tuple[ArtifactMeta, ...]:
        """Store what there is to show of a trial of this root; returns what was stored."""
        from automl_transfer.search import pictures  # fonts and images, which a waiting worker needs not

        spec = self._study.spec
        wanted: dict[str, Callable[[], bytes]] = {}
        if plan is not None:
            wanted["plan.png"] = lambda: pictures.draw_plan(plan)
            if (found := plan.reconstructions) is not None:
                wanted[RECONSTRUCTIONS] = lambda: pictures.draw_reconstructions(found)
        if epochs:
            metric, horizon = spec.task.metric, spec.search.epochs
            wanted["curve.png"] = lambda: pictures.draw_curve(epochs, metric, horizon, stop)
        stored = []
        for name, draw in wanted.items():
            try:
                content = draw()
                stored.append(self._put(name, content, str(uuid.uuid4())))
                if name == RECONSTRUCTIONS:  # where the report looks for it
                    self._put(name, content, reconstructions_key(root))
            except Exception as error:
                log.warning("the trial has no %s: %s: %s", name, type(error).__name__, error)
        return tuple(stored)

    def _put(self, name: str, content: bytes, key: str) -> ArtifactMeta:
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / name
            file.write_bytes(content)
            study_files(self._study).put(file, key)
        return ArtifactMeta(artifact_id=key, filename=name, mimetype=PNG, encoding=None)
