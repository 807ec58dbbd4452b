"""Whatever the space can draw is built, trained, saved, loaded and predicted with, on four families of networks.

`make draws` draws 200 for each family (`ANY_STRATEGY_DRAWS`); by default it is a few.
"""

from __future__ import annotations

import os
import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_runs import CPU

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.dimensions import Dimension, Trait
from automl_transfer.domain.spec import DimensionSetting, TaskSpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.errors import NotANumberError
from automl_transfer.models.architectures import create_network
from automl_transfer.models.heads import build_from_description
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.models.traits import traits_of
from automl_transfer.space.space import Space, cannot_take
from automl_transfer.space.suggest import suggest
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan

FAMILIES = ("test_efficientnet", "test_resnet", "test_convnext", "test_vit")
DRAWS = int(os.environ.get("ANY_STRATEGY_DRAWS", "6"))
CHANGED = {
    "resolution_scale": (1.0, 1.5),
    "batch": (64, 128, 256),
    "views": (2, 3),
    "learning_rate": (1e-5, 1e-3),
    "prepare_steps": (4, 8),
}
"""Narrower than the space, to be quick and to stay finite."""


class RandomTrial:
    """Draws uniformly."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def ask(self, dimension: Dimension) -> Any:
        if dimension.kind == "categorical":
            return self._random.choice(dimension.choices)
        value = self._random.uniform(dimension.low, dimension.high)
        return round(value) if dimension.kind == "int" else value


@pytest.fixture(scope="module")
def task(image_cache: Path) -> LoadedTask:
    """Large enough for all families."""
    return load_task(TaskSpec(dataset="digits?per_class=6", resolution=32), cache_root=image_cache)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weights")


@cache
def loaded(name: str, folder: Path) -> tuple[str, Backbone]:
    """A small network with weights of its own, as a local file: its classifier is the file's."""
    torch.manual_seed(0)
    network = create_network(f"timm/{name}", 5)
    path = folder / f"{name}.safetensors"
    state = dict(network.state_dict())
    whole = create_network(f"timm/{name}").state_dict()
    state |= {key: tensor for key, tensor in whole.items() if state[key].shape != tensor.shape}
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, path)
    source = f"checkpoint/timm/{name}@{path}"
    return source, get_source(source).load(1)


WHOLE: dict[str, DimensionSetting] = {"truncation": 8, "transfer_depth": 8}
"""Every other draw: most methods, and Co-Tuning alone, are about networks that are transferred whole."""


def drawn(source: str, traits: frozenset[Trait], seed: int) -> Strategy:
    settings: dict[str, DimensionSetting] = dict.fromkeys(DIMENSIONS, "search")
    settings |= {**CHANGED, "source": source} | (WHOLE if seed % 2 else {})
    return suggest(RandomTrial(seed).ask, Space.from_settings(settings), lambda _: traits)


def judge(run: TrainingRun) -> np.ndarray:
    return run.judge()[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_any_draw_trains_and_is_the_same_after_saving(
    task: LoadedTask, weights: Path, tmp_path: Path, family: str
) -> None:
    source, backbone = loaded(family, weights)
    traits = traits_of(backbone)
    assert "source_head" in traits
    for seed in range(DRAWS):
        strategy = drawn(source, traits, 1000 * FAMILIES.index(family) + seed)
        try:
            check(strategy, backbone, task, tmp_path / str(seed))
        except (AssertionError, RuntimeError, ValueError, KeyError) as error:
            raise AssertionError(f"draw {seed} of {family}: {strategy.model_dump_json()}") from error


def check(strategy: Strategy, backbone: Backbone, task: LoadedTask, folder: Path) -> None:
    def made() -> TrainingRun:
        plan = build_plan(strategy, backbone, task, seed=0, device=CPU)
        return TrainingRun(plan, task, max_epochs=2, seed=0, device=CPU)

    run = made()
    try:
        next(run.epochs())
    except NotANumberError:  # of an optimiser that was drawn too bold, which is said
        return
    run.save(folder)
    again = made()
    assert again.restore(folder).identical
    np.testing.assert_array_equal(judge(again), judge(run))
    run.load_best()
    model = build_from_description(
        backbone.architecture,
        run.plan.selection.kept,
        strategy.pool,
        1,
        len(task.task.classes),
        task.task.resolution,
        run.model.head.taps,
        strategy.resolution_scale,
        adapter=run.model.adapter,
    )
    model.load_state_dict(run.model.state_dict())
    model.eval()
    rows = task.indices["validation"][:4]
    x = run.plan.normaliser(CPU)(torch.from_numpy(np.ascontiguousarray(task.images[rows])))
    with torch.no_grad():
        torch.testing.assert_close(model(x), run.model(x), rtol=1e-4, atol=1e-4)


def test_what_a_family_cannot_take_is_not_drawn_and_refused_where_it_is_forced(weights: Path) -> None:
    source, backbone = loaded("test_vit", weights)
    traits = traits_of(backbone)
    found = [drawn(source, traits, seed) for seed in range(100)]
    assert {s.stoch_norm for s in found} == {0.0}
    assert {s.weight_scale for s in found} == {1.0}
    assert "adapt" not in {s.norm_policy for s in found}
    assert {"delta", "bss", "co_tuning", "l2sp"} < {s.anchor for s in found}
    assert {s.drop_path for s in found} == {0.0, 0.1, 0.2}
    forced: dict[str, DimensionSetting] = {"stoch_norm": 0.5, "weight_scale": 1.5, "norm_policy": ("adapt",)}
    mistakes = cannot_take(forced, {source: traits})
    assert [mistake.split(":")[0] for mistake in mistakes] == [f"space.{name}" for name in forced]
    assert (
        f"space.stoch_norm: 0.5 needs batch norms, got the source {source} (it has none): take" in mistakes[0]
    )
    assert not cannot_take(
        {"norm_policy": ("adapt", "train"), "weight_scale": (0.5, 2.0)}, {"x": traits | {"batch_norms"}}
    )


def test_a_strategy_that_co_tunes_a_part_is_refused_and_never_drawn(weights: Path) -> None:
    source, _ = loaded("test_resnet", weights)
    with pytest.raises(
        ValueError, match="truncation and transfer_depth must be 8 where anchor is co_tuning, got 5"
    ):
        Strategy(tune_mode="full", anchor="co_tuning", truncation=5)
    Strategy(tune_mode="head", anchor="co_tuning", truncation=5)  # without effect
    space = Space.from_settings(
        {"source": source, "tune_mode": "full", "anchor": ("co_tuning", "bss"), "truncation": (4, 8)}
    )
    for seed in range(30):
        strategy = suggest(RandomTrial(seed).ask, space)
        assert strategy.anchor in ({"co_tuning", "bss"} if strategy.truncation == 8 else {"none", "bss"})
