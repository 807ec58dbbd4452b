"""Who is asked whether to give up: the innermost block of this thread, and nobody outside of any."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from automl_transfer.aborting import Aborted, abortable, check_abort
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec


def test_the_innermost_block_is_asked() -> None:
    check_abort()
    with abortable(lambda: True):
        with pytest.raises(Aborted):
            check_abort()
        with abortable():
            check_abort()
        with pytest.raises(Aborted):
            check_abort()
        other = threading.Thread(target=check_abort)
        other.start()
        other.join()
    check_abort()


def test_decoding_that_is_given_up_leaves_nothing_and_can_begin_again(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (400, 8, 8), np.uint8)
    np.savez(tmp_path / "noise.npz", images=images, labels=np.arange(400) % 4)
    spec, seen = TaskSpec(dataset=str(tmp_path / "noise.npz")), []
    with abortable(lambda: bool(seen)), pytest.raises(Aborted):
        load_task(spec, cache_root=tmp_path / "cache", progress=lambda *told: seen.append(told))
    assert seen == [("decoding images", 2, 400)]
    assert not list((tmp_path / "cache").rglob("*.npy"))
    assert load_task(spec, cache_root=tmp_path / "cache").images.shape == (400, 32, 32, 1)
