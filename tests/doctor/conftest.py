"""Digits with real faults put in, and what the packaged source makes of them."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
from planted import SOURCE

from automl_transfer.data.task import LoadedDetails, load_with_details
from automl_transfer.doctor.features import Features, looker
from automl_transfer.domain.spec import TaskSpec

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))  # image_files

IMAGES = 500


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> LoadedDetails:
    """A part of the digits, in all splits."""
    spec = TaskSpec(dataset="digits")
    details = load_with_details(spec, data_root=None, cache_root=tmp_path_factory.mktemp("c"), progress=None)
    kept = np.arange(len(details.loaded.keys)) < IMAGES
    indices = {split: rows[kept[rows]] for split, rows in details.loaded.indices.items()}
    return dataclasses.replace(details, loaded=dataclasses.replace(details.loaded, indices=indices))


@pytest.fixture(scope="session")
def seen(digits: LoadedDetails, tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Their features."""
    rows = np.unique(np.concatenate(list(digits.loaded.indices.values())))
    return looker(SOURCE, device="cpu", cache_root=tmp_path_factory.mktemp("c"))(digits.loaded, rows)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"
