"""The pass that pays five times: pooled activations of a source at every cut and grid, kept for reuse.

A bank holds them for rows of the training split, at one resolution. The profile judges cuts on it, and
heads of models that leave the source's weights as they are are solved from it without another pass: its
batches are those that `transfer.heads` would run, so that the same bits come out.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from automl_transfer.data.folds import resplit_rows
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Normalisation
from automl_transfer.domain.task import scaled
from automl_transfer.models.fuse import fused
from automl_transfer.models.heads import pool_activation, pooled_features, resize, usable_grid
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import ActivationCache, Values
from automl_transfer.training.inputs import activation_key
from automl_transfer.transfer.features import batch_for, forward_batches, pixel_elements, read_pixels
from automl_transfer.transfer.heads import HeadInput, Reader
from automl_transfer.transfer.pixels import Normaliser

GRIDS = (1, 2, 4)
MOST_FEATURES = 2048
"""Finer grids of wide layers are left out: they cost the most and do not generalise better."""

Cell = tuple[int, int]
"""A cut (groups kept) and the grid that its output is pooled to."""


@dataclass(frozen=True)
class FeatureBank:
    """Pooled activations of some rows.

    Attributes:
        rows: Rows of the task, (n,).
        scale: Images were resized by this factor.
        detail: They were decoded so.
        columns: Where the features of each cell lie in `values`.
        grids: The grid that a cut's output can be pooled to, at most, for each wanted one.
        values: float32 (n, all features).
    """

    rows: np.ndarray
    scale: float
    detail: bool
    columns: dict[Cell, slice]
    grids: dict[Cell, int]
    values: Values

    def cells(self) -> Iterator[Cell]:
        """Every cut and grid, coarser grids first."""
        yield from self.columns

    def parts(self, cut: int, pool: int, taps: int) -> list[Cell] | None:
        """The cells that a head reads, bottom to top; None where one was left out for its width."""
        cells = [(each, self.grids[each, pool]) for each in range(max(1, cut - taps + 1), cut + 1)]
        return cells if all(cell in self.columns for cell in cells) else None

    def features(self, cells: list[Cell], rows: np.ndarray | slice = slice(None)) -> Tensor:
        """float32 (n, F) features of these cells side by side, for all rows or some positions."""
        return torch.from_numpy(
            np.concatenate([self.values[rows, self.columns[cell]] for cell in cells], axis=1)
        )


def build_bank(
    backbone: Backbone,
    task: LoadedTask,
    normalise: Normaliser,
    rows: np.ndarray,
    scale: float,
    cache: ActivationCache,
    folded: Callable[[], Sequence[nn.Module]],
    wanted: Collection[Cell] | None = None,
) -> FeatureBank:
    """One forward pass over some rows, or what an earlier one left in the cache.

    Args:
        backbone: In evaluation mode.
        task: The images; in detail, where they are so large already.
        normalise: From pixels to the network's input.
        rows: Of the task.
        scale: Images are resized by this factor.
        cache: Where activations are kept.
        folded: Gives the `folded_groups`, where a pass is needed; banks at other resolutions share them.
        wanted: Only these cuts and grids are kept, as far as they are usable; by default all.

    Raises:
        SourceError: The images are too small for this network.
    """
    shapes = backbone.shapes(scaled(task.task.resolution, scale))
    factor = task.still(scale)
    grids = {
        (cut, grid): usable_grid(shape, grid, backbone.prefix_tokens)
        for cut, shape in enumerate(shapes, start=1)
        for grid in GRIDS
        if wanted is None or (cut, grid) in wanted
    }
    columns: dict[Cell, slice] = {}
    end = 0
    for (cut, _), usable in grids.items():
        size = pooled_features(shapes[cut - 1], usable)
        if (cut, usable) not in columns and size <= MOST_FEATURES:
            columns[cut, usable] = slice(end, end + size)
            end += size

    buffer = torch.empty(0, device=normalise.device)  # one for all batches: a new one costs page faults

    def pooled(groups: Sequence[nn.Module], pixels: Tensor) -> Tensor:
        x = resize(normalise(pixels), factor)
        found = []
        for cut, group in enumerate(groups, start=1):
            x = group(x)
            found += [pool_activation(x, usable, backbone.prefix_tokens) for c, usable in columns if c == cut]
        buffer.resize_(len(x), end)
        return torch.cat(found, dim=1, out=buffer)

    def fill(values: Values) -> None:
        batch = batch_for(pixel_elements(task.images.shape[1:3], scale=factor), normalise.device)
        groups = folded()
        forward_batches(
            lambda some: read_pixels(task.images, some),
            lambda pixels: pooled(groups, pixels),
            rows,
            batch,
            into=values,
        )

    shape = (len(rows), end)
    reads = [list(cell) for cell in columns]
    key = activation_key(backbone, task, normalise, len(backbone.groups), rows, reads=reads, scale=factor)
    values = cache.get(key, shape, "float32", fill)
    if values is None:
        values = np.empty(shape, np.float32)
        fill(values)
    return FeatureBank(rows, scale, task.detail, columns, grids, values)


def folded_groups(
    backbone: Backbone, task: LoadedTask, normalise: Normaliser, rows: np.ndarray
) -> list[nn.Module]:
    """The backbone's groups as a bank runs them: their norms folded."""
    return fused(backbone.groups, normalise(read_pixels(task.images, rows[:1])))


@dataclass
class FeatureBanks:
    """The banks of one process, by source, normalisation and resolution."""

    _banks: dict[tuple[str, Normalisation, float, bool], FeatureBank] = field(default_factory=dict)

    def add(self, source: str, normalise: Normalisation, bank: FeatureBank) -> None:
        """Keep a bank."""
        self._banks[source, normalise, bank.scale, bank.detail] = bank

    def features(self, asked: HeadInput) -> Reader | None:
        """Reads what the head of a source that is left as it is reads; None where nobody knows."""
        strategy = asked.strategy
        bank = self._banks.get((strategy.source, strategy.normalise, strategy.resolution_scale, asked.detail))
        if bank is None or asked.images.count > 1 or not np.array_equal(bank.rows, asked.rows):
            return None
        cells = bank.parts(len(asked.model.groups), strategy.pool, strategy.taps)
        if cells is None:
            return None
        return lambda rows: bank.features(cells, np.searchsorted(bank.rows, rows))


class ResplitFeatures:
    """Knows what heads read of every image that a fresh split may train on.

    Args:
        task: The study's task, as it is split there.
        cache: Where features are kept; one that has no room for them serves nothing.
    """

    def __init__(self, task: LoadedTask, cache: ActivationCache) -> None:
        self._task = task
        self._cache = cache
        self._rows = resplit_rows(task)

    def features(self, asked: HeadInput) -> Reader | None:
        """Reads features of such rows, all of which are computed the first time."""
        model, images, both = asked.model, asked.images, self._rows
        head, width = model.head, model.head.linear.in_features
        numbers = images.numbers(both)
        key = activation_key(
            model,
            self._task.read_by(asked.strategy),
            asked.normalise,
            len(model.groups),
            numbers,
            reads=[[head.taps, head.grid]],
            scale=model.resolution_scale,
            augment=images.augment,
        )

        def fill(values: Values) -> None:
            asked.compute(both, values)

        values = self._cache.get(key, (len(numbers), width), "float32", fill)
        if values is None:
            return None
        by_image = values.reshape(len(both), -1)
        return lambda rows: torch.from_numpy(by_image[np.searchsorted(both, rows)].reshape(-1, width))
