"""What a member of a crew makes of what the first one hands out where one of them cannot prepare a model."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CPU, SPEC, make_run, small_backbone, strategy

from automl_transfer.aborting import abortable
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import StudySpec
from automl_transfer.errors import SourceError, TrialLostError
from automl_transfer.models.network import Backbone
from automl_transfer.search import following
from automl_transfer.search.following import follow
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.crew import OVER, Alone, raise_together
from automl_transfer.transfer.features import is_out_of_memory

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


def followed(task: LoadedTask, second: Second | Other, backbone: Any) -> None:
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


class First(Alone):
    """The first member of two; writes down every exchange, and what both heard."""

    rank, size = 0, 2

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def _exchange(self, name: str, heard: Any) -> Any:
        self.heard.append((name, heard))
        return heard

    def hand_out(self, value: Any) -> Any:
        return self._exchange("hand_out", value)

    def add(self, values: Any) -> Any:
        return self._exchange("add", list(values))

    def sync(self, parameters: Any, loss: Any, trouble: str) -> Any:
        return self._exchange("sync", trouble)

    def agree(self, trouble: str) -> Any:
        return self._exchange("agree", trouble)


class Other(First):
    """The other one, which must ask for the same exchanges: else both would wait for ever."""

    rank = 1

    def __init__(self, first: First) -> None:
        self.left = first.heard

    def _exchange(self, name: str, heard: Any) -> Any:
        of_first, heard = self.left.pop(0)
        assert of_first == name
        return heard


def test_a_trial_that_is_lost_in_the_middle_of_an_epoch_is_over_for_all(task: LoadedTask) -> None:
    """It was deleted, or reaped: the first member finds that out between two steps, alone."""
    first, looks = First(), list[bool]()

    def is_lost() -> bool:
        looks.append(True)
        if len(looks) > 2:
            raise TrialLostError("the trial belongs to another worker now")
        return False

    first.hand_out("study")
    following.begin(first, strategy())
    run = make_run(task, max_epochs=1, crew=first)
    following.go_on(first, None)
    with pytest.raises(TrialLostError), abortable(is_lost):
        list(run.epochs())
    following.end(first)
    first.hand_out(None)
    steps = [name for name, _ in first.heard].count("sync")
    assert steps == 2  # in the third one it stopped
    followed(task, Other(first), lambda source: small_backbone())


def test_members_in_different_trouble_end_in_the_same_one() -> None:
    """One has no memory, which begins the epoch again, while for the first one the trial is lost."""
    with pytest.raises(RuntimeError, match="TrialLostError: gone, on another device") as found:
        raise_together(torch.OutOfMemoryError("no memory"), "TrialLostError: gone")
    assert not is_out_of_memory(found.value)
    with pytest.raises(torch.OutOfMemoryError):
        raise_together(torch.OutOfMemoryError("no memory"), "OutOfMemoryError: no memory")
