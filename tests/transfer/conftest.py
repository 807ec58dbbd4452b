from __future__ import annotations

import pytest
from small_plans import small_task

from automl_transfer.data.task import LoadedTask


@pytest.fixture(scope="session")
def task(tmp_path_factory: pytest.TempPathFactory) -> LoadedTask:
    return small_task(tmp_path_factory.mktemp("images"))
