"""The signature of a loaded task: what its training images are like, and what sources make of them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.names import public_source
from automl_transfer.domain.signature import TaskSignature


def signature_of(task: LoadedTask, profiles: Iterable[ProfileRecord] = ()) -> TaskSignature:
    """What the signature says of a task, and of sources what their profiles say, scores included.

    A cut that no eighths reach is left out. Of several grids and resolutions at a cut the best one by
    leave-one-out cross-entropy counts.
    """
    labels = task.labels[task.indices["train"]]
    counts = np.bincount(labels, minlength=len(task.task.classes))
    shares = counts[counts > 0] / counts.sum()
    entropy = float(-(shares * np.log(shares)).sum() / np.log(len(counts)))
    width, height = task.stored_size
    found = {public_source(profile.source): profile for profile in profiles}
    return TaskSignature(
        task=task.task.fingerprint,
        images=len(labels),
        classes=len(counts),
        least=int(counts.min()),
        most=int(counts.max()),
        entropy=min(1.0, max(0.0, entropy)),
        width=width,
        height=height,
        resolution=task.task.resolution,
        channels=task.task.channels,
        channel_mean=task.task.channel_mean,
        channel_std=task.task.channel_std,
        label_preserving=task.task.label_preserving,
        profile={name: _accuracies(profile) for name, profile in found.items()},
        scores=_scores(found),
        measured={name: profile.images for name, profile in found.items()},
        frechet={name: profile.frechet for name, profile in found.items()},
    )


def _accuracies(profile: ProfileRecord) -> dict[int, float]:
    best: dict[int, tuple[float, float]] = {}
    for cut in profile.cuts:
        if cut.truncation is not None:
            found = (cut.loo_nll, cut.loo_accuracy)
            best[cut.truncation] = min(best.get(cut.truncation, found), found)
    return {eighths: accuracy for eighths, (_, accuracy) in sorted(best.items())}


def _scores(profiles: dict[str, ProfileRecord]) -> dict[str, dict[str, dict[int, float]]]:
    found: dict[str, dict[str, dict[int, float]]] = {}
    for source, profile in profiles.items():
        for cut in profile.cuts:
            if cut.truncation is None:
                continue
            for score, value in cut.scores.items():
                found.setdefault(score, {}).setdefault(source, {})[cut.truncation] = value
    return found
