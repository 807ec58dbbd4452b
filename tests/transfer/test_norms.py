"""Statistics of batch norms, estimated anew: those of all images, whatever the batch and the order of rows."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch
from small_plans import CPU, plan
from torch import Tensor, nn

from automl_transfer.aborting import Aborted, abortable
from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import OutOfMemoryError
from automl_transfer.transfer.norms import adapt_statistics, batch_norms
from automl_transfer.transfer.plan import TransferPlan


def norm(found: TransferPlan, group: int) -> nn.BatchNorm2d:
    return found.model.groups[group][1]  # type: ignore[index, return-value]


class Limited(nn.Module):
    """Has memory for so many images."""

    most: ClassVar[int] = 16
    sizes: ClassVar[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > self.most:
            raise torch.OutOfMemoryError(f"no memory for {len(x)} images")
        self.sizes.append(len(x))
        return x


def estimated(
    task: LoadedTask, images: np.ndarray, order: np.ndarray, most: int | None = None
) -> TransferPlan:
    """A plan whose statistics are those of these images; with `most`, memory is for so many at once."""
    found = plan(task, tune_mode="full", norm_policy="train")
    if most is not None:
        Limited.most, Limited.sizes = most, []
        found.model.groups[0].append(Limited())  # type: ignore[operator]
    adapt_statistics(found.model, batch_norms([found.model]), images, order, found.normaliser(CPU))
    return found


@torch.no_grad()
@pytest.mark.parametrize("most", [8, 16, 99])
def test_statistics_are_those_of_all_images_in_batches_that_fit(task: LoadedTask, most: int) -> None:
    """Where rows lie class by class, a mean of each batch's variance lacks what is between classes."""
    images, train = np.array(task.images), task.indices["train"]
    order = train[np.argsort(task.labels[train], kind="stable")]
    light = (120 * np.arange(len(order)) / len(order)).astype(np.uint8)
    images[order] = images[order] // 2 + light[:, None, None, None]
    whole, found = estimated(task, images, order), estimated(task, images, order, most)
    assert max(Limited.sizes) - min(Limited.sizes) <= 1
    assert sum(Limited.sizes) == len(train)
    assert len(Limited.sizes) > 1
    x = found.model.groups[0][0](found.normaliser(CPU)(torch.from_numpy(images[order])))  # type: ignore[index]
    for each in (whole, found):
        torch.testing.assert_close(norm(each, 0).running_mean, x.mean((0, 2, 3)), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(norm(each, 0).running_var, x.var((0, 2, 3)), atol=1e-4, rtol=1e-4)
    for group in range(1, 5):  # these see what each batch makes of the norms below
        one, all_ = norm(found, group).running_var, norm(whole, group).running_var
        assert one is not None
        assert all_ is not None
        assert 0.8 < float((one / all_).median()) < 1.25
        assert norm(found, group).momentum == 0.1


def test_estimating_statistics_ends_when_asked_and_where_two_images_do_not_fit(task: LoadedTask) -> None:
    train = task.indices["train"]
    with abortable(lambda: True), pytest.raises(Aborted):
        estimated(task, task.images, train)
    with pytest.raises(OutOfMemoryError, match="statistics must fit in memory for 2 images"):
        estimated(task, task.images, train[:30], most=1)
    estimated(task, task.images, train[:3], most=3)
