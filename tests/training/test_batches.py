"""Batches: each image once an epoch, an order that the seed decides, and reading ahead."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from automl_transfer.domain.horizon import Horizon
from automl_transfer.training.batches import epoch_order, read_ahead, split_batches, split_micro
from automl_transfer.training.seen import Seen
from automl_transfer.transfer.views import NO_VIEWS, Views


@given(n=st.integers(1, 200), batch=st.integers(1, 70), smallest=st.integers(1, 2))
def test_every_image_is_in_one_batch_and_none_is_too_small(n: int, batch: int, smallest: int) -> None:
    batches = split_batches(np.arange(n), batch, smallest)
    assert np.concatenate(batches).tolist() == list(range(n))
    assert all(len(rows) >= min(smallest, n) for rows in batches)
    assert all(len(rows) <= max(batch, smallest) + smallest - 1 for rows in batches)


@given(n=st.integers(1, 200), micro=st.integers(1, 70), smallest=st.integers(1, 2))
def test_parts_of_a_batch_hold_all_of_it(n: int, micro: int, smallest: int) -> None:
    parts = split_micro(np.arange(n), micro, smallest)
    assert np.concatenate(parts).tolist() == list(range(n))
    assert all(len(rows) >= min(smallest, n) for rows in parts)
    assert max(len(rows) for rows in parts) <= max(micro, 2 * smallest - 1)


@pytest.mark.parametrize("horizon", [Horizon(2, steps=3), Horizon(2, passes=3), Horizon(3)])
@pytest.mark.parametrize("batch", [16, 256])
def test_a_trial_sees_as_many_images_as_its_cost_counts(horizon: Horizon, batch: int) -> None:
    images = Views(np.zeros((50, 2, 2, 1), np.uint8), NO_VIEWS)
    seen = Seen(images, np.arange(50), 0, horizon.epochs, horizon.passes, horizon.steps)
    trained = [part for epoch in range(1, horizon.epochs + 1) for part in seen.in_epoch(epoch, batch)]
    assert sum(map(len, trained)) == horizon.images(50, batch)


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    rows = np.arange(100)
    first = epoch_order(rows, 3, 5)
    np.random.default_rng(0).random(10)
    assert np.array_equal(first, epoch_order(rows, 3, 5))
    assert sorted(first) == list(range(100))
    assert not np.array_equal(first, epoch_order(rows, 3, 6))
    assert not np.array_equal(first, epoch_order(rows, 4, 5))


def test_reading_ahead_keeps_the_order_and_happens_in_another_thread() -> None:
    threads = set()

    def read(rows: np.ndarray) -> Tensor:
        threads.add(threading.get_ident())
        return torch.from_numpy(rows)

    batches = [np.array([number]) for number in range(50)]
    assert [int(value) for value in read_ahead(read, batches)] == list(range(50))
    assert threads.isdisjoint({threading.get_ident()})


def test_an_error_while_reading_is_raised_at_its_batch() -> None:
    def read(rows: np.ndarray) -> Tensor:
        if rows[0] == 7:
            raise OSError("the disk is gone")
        return torch.from_numpy(rows)

    reader = read_ahead(read, [np.array([number]) for number in range(10)])
    assert [int(next(reader)) for _ in range(7)] == list(range(7))
    with pytest.raises(OSError, match="the disk is gone"):
        next(reader)


def test_giving_up_early_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    reader = read_ahead(torch.from_numpy, [np.arange(3)] * 100)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
