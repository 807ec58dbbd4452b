"""The photographs' figures: over which seeds ours is compared with whom."""

from __future__ import annotations

import argparse
from typing import Any

import photos
import pytest


def cell(accuracy: float) -> dict[str, Any]:
    return {"final": {"accuracy": accuracy}, "curve": [{"seconds": 60.0, "test": accuracy}]}


def test_a_peer_that_is_behind_is_not_waited_for_on_further_seeds() -> None:
    """Where the best one lacks a seed, that seed is left out."""
    found = {
        "ours": (0.90, 0.92, 0.97), "optuna": (0.91, 0.92, 0.93), "features": (0.80, 0.81), "fastai": (0.70,),
    }  # fmt: skip
    cells = {
        ("signs", arm, seed): cell(value) for arm, each in found.items() for seed, value in enumerate(each)
    }
    options = argparse.Namespace(seeds=[0, 1, 2], minutes=20.0)
    row = photos.so_far("signs", cells, options)
    assert row is not None
    assert (row.seeds, row.best_peer, set(row.means)) == ([0, 1, 2], "optuna", {"ours", "optuna"})
    assert row.gain == pytest.approx(100 * (0.93 - 0.92))
    del cells["signs", "optuna", 2]
    row = photos.so_far("signs", cells, options)
    assert row is not None
    assert (row.seeds, set(row.means)) == ([0, 1], {"ours", "optuna", "features"})
    assert row.gain == pytest.approx(100 * (0.91 - 0.915))
