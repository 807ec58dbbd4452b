"""The profile of a source on a task: how good a closed-form head is at every cut of the network.

One forward pass over the training split keeps average-pooled activations at every group boundary;
ridge regression with leave-one-out then judges each (compare Head2Toe, Evci et al. 2022). Validation
and test splits are not looked at.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from automl_transfer.data.normalise import constants
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import EIGHTHS, Normalisation, Strategy, groups_at
from automl_transfer.errors import DataError
from automl_transfer.models.heads import pool_activation, pooled_features
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.features import forward_rows
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.ridge import Ridge

GRIDS = (1, 2, 4)
MOST_FEATURES = 2048
"""Finer grids of wide layers are left out: they cost the most and do not generalise better."""
MOST_IMAGES = 5000
"""More training images are thinned evenly: the choice of a cut does not need them."""


@dataclass(frozen=True)
class CutResult:
    """The best ridge head on one cut and grid, by leave-one-out on the training split.

    Attributes:
        cut: Groups kept.
        grid: Activations are pooled to grid x grid.
        features: Values per image.
        loo_nll: Cross-entropy in nats of the calibrated leave-one-out predictions.
        truncation: Eighths of the groups that give this cut; None where no eighths do.
    """

    cut: int
    grid: int
    features: int
    loo_accuracy: float
    loo_nll: float
    ridge_lambda: float
    truncation: int | None


@dataclass(frozen=True)
class Profile:
    """All cuts of a source on a task; `best` is the best one that a strategy can name.

    `images` is the number of training images that were used, `seconds` the whole time taken.
    """

    source: str
    normalise: Normalisation
    cuts: tuple[CutResult, ...]
    best: CutResult
    images: int
    seconds: float


def profile_source(
    backbone: Backbone,
    source: str,
    task: LoadedTask,
    *,
    device: torch.device,
    seed: int = 0,
    normalise: Normalisation = "source",
) -> Profile:
    """Profile a backbone, which stays as it is apart from its device and evaluation mode.

    Cut, grid and penalty are chosen by leave-one-out accuracy, then by cross-entropy.

    Args:
        backbone: The source's network.
        source: The name that strategies give the source.
        task: Its training split alone is looked at.
        device: Where the forward pass runs.
        normalise: How pixels are normalised.
        seed: Of the choice of images, where there are more than needed.

    Raises:
        SourceError: The images are too small for this network.
        DataError: Activations are not finite at any cut.
    """
    start = time.perf_counter()
    fixed = constants(normalise, task.task, backbone.mean, backbone.std)
    mean, std = fixed or (None, None)
    normaliser = Normaliser(mean, std, device)
    rows = _choose(task.indices["train"], seed)
    shapes = backbone.shapes(task.task.resolution)
    wanted = [
        (cut, grid, pooled_features(shape, grid))
        for cut, shape in enumerate(shapes, start=1)
        for grid in GRIDS
        if _is_new(shape, grid, backbone.prefix_tokens)
    ]
    wanted = [entry for entry in wanted if entry[2] <= MOST_FEATURES]
    model = backbone.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def pooled(x: Tensor) -> Tensor:
        found, done = [], 0
        for cut, grid, _ in wanted:
            x = model.run(x, done, cut)
            done = cut
            found.append(pool_activation(x, grid, backbone.prefix_tokens))
        return torch.cat(found, dim=1)

    features = forward_rows(pooled, task.images, rows, normaliser)
    labels = torch.from_numpy(np.array(task.labels[rows], dtype=np.int64))
    cuts = []
    columns = torch.split(features, [size for *_, size in wanted], dim=1)
    for (cut, grid, size), values in zip(wanted, columns, strict=True):
        if not bool(torch.isfinite(values).all()):
            continue
        best = Ridge(values, labels, len(task.task.classes)).best()
        eighths = _eighths(cut, len(backbone.groups))
        cuts.append(
            CutResult(cut, grid, size, best.accuracy, best.nll, best.ridge_lambda, truncation=eighths)
        )
    reachable = [result for result in cuts if result.truncation is not None]
    if not reachable:
        raise DataError(f"activations of {source} must be finite, got NaN or infinity at every cut")
    best_cut = max(reachable, key=lambda result: (result.loo_accuracy, -result.loo_nll))
    return Profile(source, normalise, tuple(cuts), best_cut, len(rows), time.perf_counter() - start)


def strategy_of(profile: Profile, cut: CutResult | None = None) -> Strategy:
    """The closed-form strategy of a cut (by default the best): nothing trained, the head solved."""
    chosen = cut or profile.best
    if chosen.truncation is None:
        raise ValueError(f"a strategy needs a cut that eighths of the groups reach, got cut {chosen.cut}")
    return Strategy(
        source=profile.source,
        truncation=chosen.truncation,
        pool=chosen.grid,
        transfer_depth=EIGHTHS,
        tune_mode="closed_form",
        head_init="ridge",
        ridge_lambda=chosen.ridge_lambda,
        normalise=profile.normalise,
    ).canonical()


def _eighths(cut: int, groups: int) -> int | None:
    """The least truncation that keeps this many groups."""
    return next((k for k in range(1, EIGHTHS + 1) if max(1, groups_at(k, groups)) == cut), None)


def _is_new(shape: tuple[int, ...], grid: int, prefix_tokens: int) -> bool:
    """Whether a grid says more than the coarser ones: the activation must be large enough."""
    if grid == 1:
        return True
    if len(shape) == 3:
        return min(shape[1:]) >= grid
    if len(shape) == 2:
        side = int((shape[0] - prefix_tokens) ** 0.5)
        return side * side == shape[0] - prefix_tokens and side >= grid
    return False


def _choose(indices: np.ndarray, seed: int) -> np.ndarray:
    if len(indices) <= MOST_IMAGES:
        return indices
    return np.sort(np.random.default_rng(seed).choice(indices, MOST_IMAGES, replace=False))
