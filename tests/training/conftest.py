from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import small_task

from automl_transfer.data.task import LoadedTask


@pytest.fixture(scope="session")
def image_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture(scope="session")
def task(image_cache: Path) -> LoadedTask:
    return small_task(image_cache)
