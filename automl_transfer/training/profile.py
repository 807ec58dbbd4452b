"""The profile of a source on a task: how good a closed-form head is at every cut of the network.

One forward pass over the training split keeps average-pooled activations at every group boundary, at a few
resolutions, larger ones in the detail that the files have; ridge regression with leave-one-out then judges
each, and heads that read several boundaries at once (Head2Toe, Evci et al. 2022). Validation and test splits
are not looked at.
"""

from __future__ import annotations

import copy
import functools
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from automl_transfer.aborting import check_abort
from automl_transfer.data.splits import in_shares, places_in_class
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.dimensions import EIGHTHS, groups_at
from automl_transfer.domain.evidence import CutRecord, ProfileRecord
from automl_transfer.domain.normalisation import chosen_constants
from automl_transfer.domain.strategy import Normalisation, Strategy
from automl_transfer.domain.task import scaled
from automl_transfer.errors import DataError, OutputError, SourceError
from automl_transfer.models.network import Backbone
from automl_transfer.training.activation_cache import ActivationCache, MemoryCache
from automl_transfer.training.feature_bank import (
    GRIDS,
    Cell,
    FeatureBank,
    FeatureBanks,
    build_bank,
    folded_groups,
)
from automl_transfer.training.pace import seconds_an_image
from automl_transfer.training.resolutions import profile_scales
from automl_transfer.training.scoring import compared
from automl_transfer.transfer.counting import Counting, counting
from automl_transfer.transfer.pixels import Normaliser
from automl_transfer.transfer.ridge import Ridge, standardised

_log = logging.getLogger(__name__)

MOST_IMAGES = 2000
"""Of more training images only as many are passed as `FINAL` says: the choice of a cut does not need all."""


@dataclass(frozen=True)
class Sample:
    """How many rows judge a head: some, more where classes are many, never more than `most`."""

    least: int
    a_class: int
    most: int

    def of(self, classes: int) -> int:
        """So many rows."""
        return min(self.most, max(self.least, self.a_class * classes))


SINGLE, JOINT, FINAL = Sample(600, 5, 1500), Sample(400, 3, 800), Sample(1000, 20, 4000)
"""For single cuts, for many joint heads, and for the best few of both (times: `benchmarks/classes.py`)."""
FINALISTS, JOINT_KEPT = 2, 5
TAPS = (2, 3, 4, 6)
MANY_CLASSES = 50
"""From so many classes on, rows that judge are drawn in the classes' shares."""
LEAST_SIDE = 32
"""Pixels a side below which images are not made smaller to save time."""


class Profiler:
    """Profiles a backbone, which stays as it is apart from its device and evaluation mode.

    Cut, grid, penalty, resolution and the number of boundaries read are chosen by calibrated
    leave-one-out cross-entropy, which ties less than accuracy where images are few.

    Args:
        backbone: The source's network.
        source: The name that strategies give the source.
        task: Its training split alone is looked at.
        device: Where the forward pass runs.
        seed: Of the choice of images, where there are more than needed.
        normalise: How pixels are normalised.
        cache: Where activations are kept; by default nowhere.
        banks: Takes the activations, for heads that are solved later.
        fixed: Dimensions that a strategy must have these values of: the best head is one that can.
        rows: Training rows to look at; by default all of them, or a part of very many.

    Attributes:
        scales: Resolutions that are worth a look, the cheapest first.
    """

    def __init__(
        self,
        backbone: Backbone,
        source: str,
        task: LoadedTask,
        *,
        device: torch.device,
        seed: int = 0,
        normalise: Normalisation = "source",
        cache: ActivationCache | None = None,
        banks: FeatureBanks | None = None,
        fixed: Mapping[str, Any] | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self._source = source
        self._task = task
        self._seed = seed
        self._fixed = fixed or {}
        self._normalise: Normalisation = normalise
        self._cache = cache or MemoryCache(0)
        self._banks = banks
        mean, std = chosen_constants(normalise, task.task, backbone.mean, backbone.std) or (None, None)
        self._normaliser = Normaliser(mean, std, device)
        self._rows = _choose(task, seed) if rows is None else rows
        # Its own copy: what trials are built from stays on the CPU, in the layout that it was read in.
        own = copy.deepcopy(backbone)
        self._model = own.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._folded = functools.cache(
            lambda: folded_groups(self._model, self._task, self._normaliser, self._rows)
        )
        self._pace = functools.cache(
            lambda: seconds_an_image(self._folded(), self._task, self._normaliser, self._rows)
        )
        self._groups = len(backbone.groups)
        self._judges: dict[float, _Judge] = {}
        self._seconds = 0.0
        self.scales = profile_scales(
            task.task.resolution, backbone.resolution, len(self._rows), self.has_detail
        )
        if "resolution_scale" in self._fixed:
            self.scales = (self._fixed["resolution_scale"],)

    def look(self, scale: float) -> None:
        """One pass at this resolution, and a judgement of every single cut.

        Raises:
            SourceError: The images are too small for this network.
        """
        start = time.perf_counter()
        bank = build_bank(
            self._model, self._task_at(scale), self._normaliser, self._rows, scale, self._cache, self._folded
        )
        if self._banks is not None:
            self._banks.add(self._source, self._normalise, bank)
        self._judges[scale] = _Judge(bank, self._task, self._groups, self._seed)
        self._seconds += time.perf_counter() - start

    def has_detail(self, scale: float) -> bool:
        """Whether images of this size show more detail of the files than the task's own."""
        return bool(self._fixed.get("detail", True)) and self._task.has_detail(scale)

    def _task_at(self, scale: float) -> LoadedTask:
        if not self.has_detail(scale):
            return self._task
        try:
            return self._task.in_detail(scale)
        except OutputError as error:
            _log.warning("larger images are looked at without more detail: they cannot be kept: %s", error)
            return self._task

    def can_look(self, scale: float) -> bool:
        """Whether images this much smaller still tell something, and fit the network."""
        side = scaled(self._task.task.resolution, scale)
        try:
            return side >= LEAST_SIDE and bool(self._model.shapes(side))
        except SourceError:
            return False

    def seconds_for(self, scale: float) -> float:
        """What a look at this resolution takes by the speed of now, and after it a head that reads it.

        Decoding larger images counts, where nobody has done it yet.

        The head needs a pass over the training images, unless the look passed all of them, and over those
        that judge it: as a trial, and when it ships.
        """
        splits = self._task.task.splits
        head = splits.train if len(self._rows) < splits.train else 0
        images = len(self._rows) + head + 2 * splits.validation + splits.test
        decoding = 0.0
        if self.has_detail(scale) and self._task.larger is not None:
            decoding = self._task.larger.seconds(scaled(self._task.task.resolution, scale))
        return self.seconds_of(images, scale) + decoding

    def seconds_of(self, images: int, scale: float) -> float:
        """What passes of so many images at this resolution take by the speed of now."""
        return images * scale**2 * self._pace()

    def whole(self) -> ProfileRecord:
        """The whole profile, at every resolution; raises what `look` and `record` do."""
        for scale in self.scales:
            self.look(scale)
        return self.record()

    def record(self) -> ProfileRecord:
        """What is known after these looks, with the best head that a strategy can name (None: there is none).

        Raises:
            DataError: Activations are not finite at any cut.
        """
        start = time.perf_counter()
        cuts = [result for judge in self._judges.values() for result in judge.singles]
        reachable = [result for result in cuts if result.truncation is not None]
        if not reachable:
            raise DataError(
                f"activations of {self._source} must be finite, got NaN or infinity at every cut that a "
                "strategy can name: its weights may be damaged; load them again, or take another source"
            )
        first = min([one for one in cuts if self._cuts_there(one)] or cuts, key=_key)
        joint = self._judges[first.resolution_scale].joint(first)
        finalists = [one for one in joint if self._allows(one)][:FINALISTS]
        finalists += sorted((one for one in reachable if self._allows(one)), key=_key)[:1]
        judged = [self._judges[one.resolution_scale].final(one) for one in finalists]
        best = min(judged, key=_key, default=None)
        self._seconds += time.perf_counter() - start
        return ProfileRecord(
            source=self._source,
            normalise=self._normalise,
            images=len(self._rows),
            seconds=self._seconds,
            cuts=tuple(cuts),
            joint=tuple(joint[:JOINT_KEPT]),
            best=best,
            left_out=tuple(sorted({cut for judge in self._judges.values() for cut in judge.not_finite})),
        )

    def compared(self, record: ProfileRecord) -> ProfileRecord:
        """A record of this profiler with the scores and the distance of the source, from its first look."""
        scale, judge = next(iter(self._judges.items()))
        return compared(record, judge.bank, self._task_at(scale), self._model, self._normaliser)

    def _allows(self, cut: CutRecord) -> bool:
        """Whether a strategy with the fixed values can read this."""
        named = {"pool": _named(cut.grid), "taps": cut.taps, "resolution_scale": cut.resolution_scale}
        if cut.resolution_scale > 1.0:
            named["detail"] = cut.detail
        return self._cuts_there(cut) and all(
            self._fixed.get(name, value) == value for name, value in named.items()
        )

    def _cuts_there(self, cut: CutRecord) -> bool:
        eighths = self._fixed.get("truncation")
        return eighths is None or max(1, groups_at(eighths, self._groups)) == cut.cut


def strategy_of(profile: ProfileRecord, cut: CutRecord | None = None) -> Strategy:
    """The closed-form strategy of a cut (by default the best): nothing trained, the head solved."""
    chosen = cut or profile.best
    if chosen is None or chosen.truncation is None:
        got = "none" if chosen is None else f"cut {chosen.cut}"
        raise ValueError(f"a strategy needs a cut that eighths of the groups reach, got {got}")
    return Strategy.model_validate(
        {
            "source": profile.source,
            "truncation": chosen.truncation,
            "pool": _named(chosen.grid),
            "taps": chosen.taps,
            "resolution_scale": chosen.resolution_scale,
            "detail": chosen.detail,
            "transfer_depth": EIGHTHS,
            "tune_mode": "closed_form",
            "head_init": "ridge",
            "ridge_lambda": chosen.ridge_lambda,
            "normalise": profile.normalise,
        }
    ).canonical()


class _Judge:
    """Scores heads on one bank.

    Attributes:
        bank: The features.
        singles: Every finite cell by itself.
        not_finite: Cuts with NaN or infinite activations.
    """

    def __init__(self, bank: FeatureBank, task: LoadedTask, groups: int, seed: int) -> None:
        self.bank = bank
        self._task = task
        self._labels = torch.from_numpy(np.array(task.labels[bank.rows], dtype=np.int64))
        self._classes = len(task.task.classes)
        self._groups = groups
        labels = task.labels[bank.rows]
        if len(bank.rows) < len(task.indices["train"]) or self._classes > MANY_CLASSES:
            self._order = in_shares(labels, np.random.default_rng([seed, 1]))
        else:
            self._order = np.random.default_rng([seed, 1]).permutation(len(bank.rows))
        self._kernels: dict[Cell, Tensor] = {}
        self._finite = {
            cell for cell in bank.cells() if bool(np.isfinite(bank.values[:, bank.columns[cell]]).all())
        }
        self.not_finite = {cell[0] for cell in bank.cells() if cell not in self._finite}
        self.singles = [
            self._score([cell], cell[0], cell[1], 1, SINGLE) for cell in bank.cells() if cell in self._finite
        ]

    def joint(self, single: CutRecord) -> list[CutRecord]:
        """Heads on several boundaries around the best single cut, best first."""
        found: dict[tuple[Cell, ...], CutRecord] = {}
        for cut in range(max(2, single.cut - 1), min(self._groups, single.cut + 3) + 1):
            if _eighths(cut, self._groups) is None:
                continue
            for pool in GRIDS:
                for taps in (t for t in TAPS if t <= cut):
                    cells = self.bank.parts(cut, pool, taps)
                    if cells is None or not self._finite.issuperset(cells) or tuple(cells) in found:
                        continue
                    found[tuple(cells)] = self._score_joint(cells, cut, pool, taps)
        return sorted(found.values(), key=_key)

    def final(self, result: CutRecord) -> CutRecord:
        """The same head on more rows."""
        cells = self.bank.parts(result.cut, _named(result.grid), result.taps)
        assert cells is not None
        return self._score(cells, result.cut, result.grid, result.taps, FINAL)

    def _score(self, cells: list[Cell], cut: int, grid: int, taps: int, most: Sample) -> CutRecord:
        positions, labels, counts = self._sample(most)
        features = self.bank.features(cells, positions)
        return self._record(Ridge(features, labels, self._classes, counts), cut, grid, taps)

    def _score_joint(self, cells: list[Cell], cut: int, pool: int, taps: int) -> CutRecord:
        """Many heads read the same cells: with more features than rows, each cell's kernel is made once."""
        positions, labels, counts = self._sample(JOINT)
        columns = [self.bank.columns[cell] for cell in cells]
        size = sum(column.stop - column.start for column in columns)
        if size <= len(positions):
            return self._score(cells, cut, pool, taps, JOINT)
        for cell in cells:
            if cell not in self._kernels:
                x = standardised(self.bank.features([cell], positions), counts.weights)
                self._kernels[cell] = x @ x.T
        kernel = torch.stack([self._kernels[cell] for cell in cells]).sum(0)
        return self._record(Ridge.of_kernel(kernel, size, labels, self._classes, counts), cut, pool, taps)

    def _sample(self, most: Sample) -> tuple[np.ndarray, Tensor, Counting]:
        """Positions in the bank of at most so many rows, the same ones for every head; labels and counts."""
        positions = np.sort(self._order[: most.of(self._classes)])
        counts = counting(self._task, self.bank.rows[positions])
        return positions, self._labels[torch.from_numpy(positions)], counts

    def _record(self, ridge: Ridge, cut: int, grid: int, taps: int) -> CutRecord:
        check_abort()  # with kept activations a look has no other moment for it
        best = ridge.best()
        return CutRecord(
            cut=cut,
            grid=grid,
            features=ridge.features,
            loo_accuracy=best.accuracy,
            loo_nll=best.nll,
            ridge_lambda=best.ridge_lambda,
            truncation=_eighths(cut, self._groups),
            taps=taps,
            resolution_scale=self.bank.scale,
            detail=self.bank.detail,
        )


def _key(result: CutRecord) -> tuple[float, float]:
    return result.loo_nll, -result.loo_accuracy


def _named(grid: int) -> int:
    """The grid that a strategy names to get this one, which small maps may have cut down."""
    return next(named for named in GRIDS if named >= grid)


def _eighths(cut: int, groups: int) -> int | None:
    """The least truncation that keeps this many groups."""
    return next((k for k in range(1, EIGHTHS + 1) if max(1, groups_at(k, groups)) == cut), None)


def _choose(task: LoadedTask, seed: int) -> np.ndarray:
    """Training rows to look at; all, where they are few: heads can be solved from the same pass then.

    Else classes have their shares, but at least `FINAL.a_class` rows each, as far as there are so many.
    """
    indices, classes = task.indices["train"], len(task.task.classes)
    if len(indices) <= MOST_IMAGES:
        return indices
    most = FINAL.of(classes)
    labels = task.labels[indices]
    order = in_shares(labels, np.random.default_rng(seed))
    first = places_in_class(labels[order]) < min(FINAL.a_class, most // classes)
    kept = np.concatenate([order[first], order[~first]])[:most]
    return np.asarray(indices[np.sort(kept)])
