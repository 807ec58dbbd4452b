"""What a member of a crew makes of what the first one hands out where one of them cannot prepare a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from small_runs import CPU, SPEC, small_backbone, strategy

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import SourceError
from automl_transfer.models.network import Backbone
from automl_transfer.search.following import follow
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.crew import OVER, Alone

PREPARED = strategy(prepare="denoise", prepare_steps=4)


class Second(Alone):
    """The second member of two, to whom all this is handed out."""

    rank, size = 1, 2

    def __init__(self, *told: Any) -> None:
        self.left, self.agreed = list(told), list[str]()

    def hand_out(self, value: Any) -> Any:
        return self.left.pop(0)

    def agree(self, trouble: str) -> str:
        self.agreed.append(trouble)
        return trouble


def followed(task: LoadedTask, second: Second, backbone: Any) -> None:
    handle: Any = SimpleNamespace(spec=StudySpec(name="together", task=SPEC))
    bench: Any = SimpleNamespace(
        handle=handle, task=task, backbone=backbone, horizon=Horizon(1), device=CPU,
        activations=MemoryCache(), banks=None,
    )  # fmt: skip
    follow(second, lambda _: bench)
    assert second.left == []


def test_a_trial_that_the_first_one_could_not_prepare_is_over(task: LoadedTask) -> None:
    second = Second("study", PREPARED, OVER, PREPARED, OVER, None)
    followed(task, second, lambda source: small_backbone())
    assert second.agreed == []


def test_what_is_prepared_for_a_model_that_a_member_does_not_have_is_no_checkpoint(task: LoadedTask) -> None:
    def missing(source: str) -> Backbone:
        raise SourceError("weights must be here")

    second = Second("study", PREPARED, np.zeros((1, 9), np.float32), None, OVER, None)
    followed(task, second, missing)
    assert second.agreed == ["SourceError: weights must be here"]
