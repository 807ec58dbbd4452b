"""How well a source suits a task, cut by cut, from the features that its profile has anyway."""

from __future__ import annotations

import numpy as np
import torch

from automl_transfer.aborting import check_abort
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import CutRecord, ProfileRecord
from automl_transfer.models.network import Backbone
from automl_transfer.training.feature_bank import FeatureBank
from automl_transfer.training.frechet import frechet_distance
from automl_transfer.transfer.counting import counting
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.scores.base import Seen, scored


def compared(
    record: ProfileRecord, bank: FeatureBank, task: LoadedTask, backbone: Backbone, normalise: Normaliser
) -> ProfileRecord:
    """The record with all scores of its cuts, and the source's distance from the task.

    Scored are cuts that are pooled to 1x1, a number a channel, at the bank's resolution. Beside the pass that
    the bank holds this takes a pass of a few images (`frechet.IMAGES`).

    Args:
        record: Of this source.
        bank: All its images are scored.
        task: Labels, and what images count; with the bank's images.
        backbone: The source, in evaluation mode.
        normalise: From pixels to the network's input.
    """
    labels = torch.from_numpy(np.array(task.labels[bank.rows], dtype=np.int64))
    counts, classes = counting(task, bank.rows), len(task.task.classes)
    unscored: dict[str, str] = {}

    def of(cut: CutRecord) -> CutRecord:
        if cut.grid != 1 or (cut.resolution_scale, cut.detail) != (bank.scale, bank.detail):
            return cut
        check_abort()
        seen = Seen(bank.features([(cut.cut, 1)]), labels, classes, counts, solved=cut.loo_accuracy)
        return cut.model_copy(update={"scores": scored(seen, unscored=unscored)})

    cuts = tuple(map(of, record.cuts)) if len(labels) > 1 else record.cuts
    distance = frechet_distance(backbone, task, normalise, bank.rows, bank.scale)
    return record.model_copy(update={"cuts": cuts, "frechet": distance, "unscored": unscored})
