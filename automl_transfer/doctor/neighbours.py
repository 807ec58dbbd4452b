"""Nearest neighbours among features, and how close a pair must be to be no chance.

Where points lie in m dimensions at a locally even density, the volumes out to the k nearest neighbours behave
like a Poisson process (as in Facco et al. 2017, TWO-NN, here for more than two neighbours): given the
k-th distance, the k - 1 nearer ones to the power m are even draws. So the nearest one is by chance as near as
r d_k with probability 1 - (1 - r^m)^(k - 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from automl_transfer.aborting import check_abort

NEIGHBOURS = 10
DIMENSIONS = 256
"""Principal directions in which distances are taken."""
_SAMPLE = 4000
_CHUNK_ELEMENTS = 16_000_000
_TILE = 32
"""Distances of which the least is found first."""


@dataclass(frozen=True)
class Neighbours:
    """The nearest others of each of n points.

    Attributes:
        places: int64 (n, k), nearest first.
        distances: float32 (n, k).
        dimension: m, estimated from the middle and the last distances.
    """

    places: npt.NDArray[np.int64]
    distances: npt.NDArray[np.float32]
    dimension: float

    def chance(self) -> npt.NDArray[np.float64]:
        """(n,) how likely the nearest neighbour is as near by chance."""
        last = np.maximum(self.distances[:, -1].astype(np.float64), 1e-30)
        ratio = np.clip(self.distances[:, 0] / last, 0.0, 1.0)
        k = self.distances.shape[1]
        # log1p and expm1: what counts are chances far below the rounding of 1.
        log_power = self.dimension * np.log(np.maximum(ratio, 1e-300))
        return np.asarray(-np.expm1((k - 1) * np.log1p(-np.exp(np.minimum(log_power, -1e-12)))))


def neighbours_of(values: npt.NDArray[np.float32], most: int = NEIGHBOURS) -> Neighbours:
    """The nearest others of each row of (n, D) values, n >= 3.

    Every pair is compared: time grows with n^2 (20,000 points take about three seconds on one core).
    """
    x = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    n, k = len(x), min(most, len(x) - 1)
    squares = x.square().sum(1)
    others, beyond = x, squares
    if over := -n % _TILE:  # points infinitely far away, so that tiles are whole
        others = torch.cat([x, x.new_zeros(over, x.shape[1])])
        beyond = torch.cat([squares, squares.new_full((over,), torch.inf)])
    places, distances = np.empty((n, k), np.int64), np.empty((n, k), np.float32)
    step = max(1, _CHUNK_ELEMENTS // n)
    for start in range(0, n, step):
        check_abort()
        own = slice(start, min(start + step, n))
        d = torch.addmm(beyond[None], x[own], others.T, alpha=-2.0)  # but for their own squares
        d[torch.arange(len(d)), torch.arange(own.start, own.stop)] = torch.inf
        near, where = _least(d, k)
        places[own] = where.numpy()
        distances[own] = (near + squares[own, None]).clamp_min_(0.0).sqrt_().numpy()
    return Neighbours(places, distances, _dimension(distances))


def _least(d: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The k least of each row of (b, tiles x _TILE), and their places.

    They are in the k tiles with the least minima, so that most numbers are read once.
    """
    tiles = d.reshape(len(d), -1, _TILE)
    _, best = tiles.amin(2).topk(min(k, tiles.shape[1]), largest=False)
    some = tiles.gather(1, best[:, :, None].expand(-1, -1, _TILE)).flatten(1)
    near, at = some.topk(k, largest=False)
    return near, best.gather(1, at // _TILE) * _TILE + at % _TILE


def reduced(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Standardised values in their first principal directions, float32 (n, at most `DIMENSIONS`)."""
    x = torch.from_numpy(np.ascontiguousarray(values, np.float32))
    mean, std = x.mean(0), x.std(0, correction=0)
    x = (x - mean) / std.clamp_min(max(1e-3 * float(std.mean()), 1e-12))
    if x.shape[1] <= DIMENSIONS:
        return x.numpy()
    some = x[torch.from_numpy(np.random.default_rng(0).permutation(len(x))[:_SAMPLE])]
    _, vectors = torch.linalg.eigh(some.T @ some)
    found: npt.NDArray[np.float32] = (x @ vectors[:, -DIMENSIONS:].flip(1)).numpy()
    return found


def _dimension(distances: npt.NDArray[np.float32]) -> float:
    """From the median of d_j / d_k: (d_j / d_k)^m has the median .5 for j = k / 2."""
    k = distances.shape[1]
    last = distances[:, -1].astype(np.float64)
    usable = last > 0
    if k < 2 or not usable.any():
        return 1.0
    ratio = float(np.median(distances[usable, max(0, k // 2 - 1)] / last[usable]))
    return float(np.clip(np.log(0.5) / np.log(np.clip(ratio, 1e-6, 1.0 - 1e-6)), 1.0, 200.0))
