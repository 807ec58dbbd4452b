"""What the doctor sees: one forward pass of a source over every image in a split, pooled at a few cuts.

Which two neighbouring cuts tell the classes best is judged by leave-one-out on training images, as the
profile judges its cuts. The pass is kept in the cache of activations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from automl_transfer.data.base import Rows
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.task import scaled
from automl_transfer.errors import DataError

if TYPE_CHECKING:
    from automl_transfer.training.feature_bank import Cell, FeatureBank

Values = npt.NDArray[np.float32]

SIDE = 96
"""Pixels a side that the source sees, about: smaller images are enlarged, up to twice."""
SCALES = (2.0, 1.5, 1.0)
MOST_OF_A_CUT = 800
"""Features of a cut above which it is pooled to 1x1."""
JUDGED = 1500
"""Training images on which cuts are compared."""


@dataclass(frozen=True)
class Features:
    """Features of some rows.

    Attributes:
        source: Whose.
        rows: Sorted rows of the task, (n,).
        late: float32 (n, F) of the two cuts that tell the classes best.
        early: float32 (n, F) of an early cut, pooled 4x4: where in the image something is.
        cells: Cuts and grids that `late` is made of.
    """

    source: str
    rows: Rows
    late: Values
    early: Values
    cells: tuple[Cell, ...] = ()

    def at(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Where some of the rows stand."""
        return np.searchsorted(self.rows, rows)


def scale_for(task: LoadedTask) -> float:
    """By how much the source's images are larger than the task's."""
    return next(scale for scale in SCALES if scale == 1.0 or scaled(task.task.resolution, scale) <= SIDE)


def looker(
    source: str, *, device: str = "auto", cache_root: Path | None = None
) -> Callable[[LoadedTask, Rows], Features]:
    """What makes the features of some rows of a task, with a source.

    It raises SourceError where the source is not on this machine or its network too deep for the images, and
    DataError where activations are not finite.
    """

    def look(task: LoadedTask, rows: Rows) -> Features:
        import torch

        from automl_transfer.domain.normalisation import chosen_constants
        from automl_transfer.models.registry import get_source
        from automl_transfer.training.activation_cache import disk_cache
        from automl_transfer.training.device import resolve_device
        from automl_transfer.training.feature_bank import build_bank, folded_groups
        from automl_transfer.transfer.pixels import Normaliser

        where, scale = resolve_device(device), scale_for(task)
        backbone = get_source(source).load(task.task.channels)
        mean, std = chosen_constants("source", task.task, backbone.mean, backbone.std) or (None, None)
        model = backbone.to(where, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        normalise = Normaliser(mean, std, where)
        shown = task.in_detail(scale) if task.has_detail(scale) else task
        groups = len(model.groups)
        late = [
            (cut, grid)
            for cut, shape in enumerate(model.shapes(scaled(task.task.resolution, scale)), start=1)
            for grid in (_grid(shape, model.prefix_tokens),)
            if 2 * cut >= groups
        ]
        early = (max(1, -(-groups // 3)), 4)
        bank = build_bank(
            model, shown, normalise, rows, scale, disk_cache(cache_root),
            lambda: folded_groups(model, shown, normalise, rows), {*late, early},
        )  # fmt: skip
        cells = [
            (cut, bank.grids[cut, grid]) for cut, grid in late if (cut, bank.grids[cut, grid]) in bank.columns
        ]
        place = (early[0], bank.grids[early])
        chosen = _chosen(task, bank, [cell for cell in cells if _finite(bank, cell)])
        return Features(
            source,
            rows,
            np.concatenate([bank.values[:, bank.columns[cell]] for cell in chosen], axis=1),
            np.ascontiguousarray(bank.values[:, bank.columns[place if _finite(bank, place) else chosen[0]]]),
            tuple(chosen),
        )

    return look


def _grid(shape: tuple[int, ...], prefix_tokens: int) -> int:
    from automl_transfer.models.heads import pooled_features, usable_grid

    return 2 if pooled_features(shape, usable_grid(shape, 2, prefix_tokens)) <= MOST_OF_A_CUT else 1


def _finite(bank: FeatureBank, cell: Cell) -> bool:
    return cell in bank.columns and bool(np.isfinite(bank.values[:, bank.columns[cell]]).all())


def _chosen(task: LoadedTask, bank: FeatureBank, cells: list[Cell]) -> list[Cell]:
    """The two neighbouring cuts (or the one there is) with the least leave-one-out cross-entropy."""
    import torch

    from automl_transfer.data.splits import in_shares
    from automl_transfer.transfer.counting import counting
    from automl_transfer.transfer.ridge import Ridge

    if not cells:
        raise DataError("features must be finite at some cut, got NaN or infinity at all: try another source")
    windows = [cells[at : at + 2] for at in range(max(1, len(cells) - 1))]
    if len(windows) == 1:
        return windows[0]
    train = task.indices["train"]
    order = in_shares(task.labels[train], np.random.default_rng(0))[:JUDGED]
    rows = np.sort(train[order])
    at = np.searchsorted(bank.rows, rows)
    labels, counts = torch.from_numpy(task.labels[rows]), counting(task, rows)
    scores = [
        Ridge(bank.features(window, at), labels, len(task.task.classes), counts).best().nll
        for window in windows
    ]
    return windows[int(np.argmin(scores))]
