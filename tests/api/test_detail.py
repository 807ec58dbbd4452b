"""Larger images that show what the files have: of small images with fine texture, which a small side loses."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from automl_transfer.api import (
    ModelMigration,
    SearchResult,
    apply,
    evaluate,
    load,
    package,
    search,
    verify,
)
from automl_transfer.api.composing import Ingredient, refitted, together
from automl_transfer.api.profiling import profile_sources
from automl_transfer.api.training import constants_of
from automl_transfer.data.folds import fresh_split
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.recipes.model_folder import load_model, save_model
from automl_transfer.recipes.predict import Predictor
from automl_transfer.search.answers import JUDGED_LARGER, tuned_from
from automl_transfer.search.first import FINETUNED_LABEL, FirstAnswers
from automl_transfer.search.promotion import JUDGED_LABEL
from automl_transfer.search.workbench import Workbench, source_digests
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.training.activation_cache import MemoryCache
from automl_transfer.training.calibration import softmax
from automl_transfer.training.feature_bank import FeatureBanks, ResplitFeatures
from automl_transfer.training.making import make_run, split_logits, train_to_the_end
from automl_transfer.training.profile import Profiler, strategy_of

CPU = torch.device("cpu")
SOURCE, IMAGES, SIDE = "efficientnet-lite0", 60, 32
SOLVED = Strategy(tune_mode="closed_form", truncation=3, pool=1, taps=1, resolution_scale=2.0, detail=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes 5 pixels apart that run across or down, under noise."""
    place, random = tmp_path_factory.mktemp("stripes"), np.random.default_rng(0)
    for number in range(IMAGES):
        phase = 2 * np.pi * (np.arange(128) / 5 + random.random())
        stripes = 100 + 55 * random.random() + 60 * np.sin(phase)[:, None] + random.normal(0, 60, (128, 128))
        pixels = stripes if number % 2 else stripes.T
        (place / "data" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        pixels = np.repeat(pixels.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)
        Image.fromarray(pixels).save(place / "data" / "ab"[number % 2] / f"{number}.png")
    return place


@pytest.fixture(scope="module")
def task(folder: Path) -> LoadedTask:
    spec = TaskSpec(dataset=str(folder / "data"), resolution=SIDE, seed=1)
    return load_task(spec, cache_root=folder / "cache")


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return get_source(SOURCE).load(3)


def solved(strategy: Strategy, task: LoadedTask, backbone: Backbone, **more: Any) -> Any:
    run = make_run(strategy, task, backbone, horizon=Horizon(1), seed=0, device=CPU, **more)
    train_to_the_end(run)
    return run


def test_detail_tells_apart_what_stretched_images_do_not(task: LoadedTask, backbone: Backbone) -> None:
    sharp = solved(SOLVED, task, backbone)
    stretched = solved(SOLVED.model_copy(update={"detail": False}), task, backbone)
    assert sharp.best.accuracy == 1.0
    assert stretched.best.accuracy <= 0.75
    assert (sharp.task.side, sharp.model.resolution_scale) == (64, 1.0)
    assert (stretched.task.side, stretched.model.resolution_scale) == (SIDE, 2.0)
    assert sharp.task.task == stretched.task.task  # what is stated stays
    assert "images x2 in detail" in SOLVED.describe()


def same_weights(one: Any, other: Any) -> bool:
    ours, theirs = one.model.state_dict(), other.model.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_profile_looks_at_each_size_in_detail_and_its_heads_have_the_same_bits(
    task: LoadedTask, backbone: Backbone
) -> None:
    banks = FeatureBanks()
    profile = Profiler(backbone, SOURCE, task, device=CPU, banks=banks).whole()
    assert {(cut.resolution_scale, cut.detail) for cut in profile.cuts} == {
        (1.0, False),
        (1.5, True),
        (2.0, True),
    }
    best = strategy_of(profile)
    assert best.detail
    assert best.resolution_scale > 1.0
    for strategy in (best, best.model_copy(update={"detail": False})):
        assert same_weights(solved(strategy, task, backbone, known=banks), solved(strategy, task, backbone))
    fixed = Profiler(backbone, SOURCE, task, device=CPU, fixed={"detail": False})
    assert fixed.scales == (1.0, 2.0)
    fixed.look(2.0)
    assert not any(cut.detail for cut in fixed.record().cuts)


def test_features_of_fresh_splits_are_those_of_the_larger_images(
    task: LoadedTask, backbone: Backbone
) -> None:
    pool = ResplitFeatures(task, MemoryCache())
    for strategy in (Strategy(**{**SOLVED.model_dump(), "resolution_scale": 1.0}), SOLVED):
        split = fresh_split(task, 0, seed=0)
        found, expected = (solved(strategy, split, backbone, **known) for known in ({"known": pool}, {}))
        assert same_weights(found, expected)


def test_crops_of_larger_images_have_a_margin_of_pixels(task: LoadedTask, backbone: Backbone) -> None:
    read = task.read_by(SOLVED)
    margin = read.enlarged()
    assert margin is not None
    assert (read.images.shape, margin.shape) == ((IMAGES, 64, 64, 3), (IMAGES, 80, 80, 3))
    assert read.read_by(SOLVED) is read


def test_files_without_more_pixels_are_stretched_as_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = load_task(TaskSpec(dataset="digits?per_class=6"), cache_root=tmp_path)
    backbone = get_source(SOURCE).load(1)
    plain = SOLVED.model_copy(update={"detail": False})
    assert same_weights(solved(SOLVED, small, backbone), solved(plain, small, backbone))
    by_hand = ModelMigration(SOURCE, device="cpu", cache_root=tmp_path)
    by_hand.begin(TaskSpec(dataset="digits?per_class=6"), small)
    by_hand.generate_target_model(SOLVED)
    assert "half of the images of digits?per_class=6 must have about 64 pixels" in caplog.text


def test_what_is_said_of_each_size(task: LoadedTask, folder: Path) -> None:
    (found,) = profile_sources(task, [SOURCE], device="cpu", cache_root=folder / "cache")
    assert [(at.pixels, at.detail) for at in found.resolutions] == [(32, False), (48, True), (64, True)]
    assert found.resolutions[-1].accuracy > found.resolutions[0].accuracy


@pytest.fixture(scope="module")
def found(folder: Path) -> SearchResult:
    """A profile's answers alone: nothing is trained by gradient."""
    spec = StudySpec(
        name="stripes",
        task=TaskSpec(dataset=str(folder / "data"), resolution=SIDE, seed=1),
        search=SearchSpec(trials=3, default_first=False, confirm=1),
        space={"tune_mode": "closed_form", "augmentation": "none"},
    )
    return search(
        spec,
        storage=StoreURL.parse(str(folder / "study.db")),
        output=folder / "out",
        device="cpu",
        cache_root=folder / "cache",
        refit=False,
    )


def test_a_search_finds_the_detail_and_what_ships_reads_it(found: SearchResult, folder: Path) -> None:
    strategy, recipe = found.recipe.strategy, found.recipe
    assert strategy.detail
    side = round(SIDE * strategy.resolution_scale)
    assert recipe.task.resolution == SIDE
    described = json.loads((folder / "out" / "model" / "model.json").read_text())
    assert (described["resolution"], described["resolution_scale"]) == (side, 1.0)
    assert recipe.metrics.test is not None
    assert recipe.metrics.test.accuracy >= 0.9
    files = sorted((folder / "data" / "a").iterdir())[:8]
    answers = load(folder / "out" / "model").predict([str(file) for file in files])
    assert sum(answer.label == "a" for answer in answers) >= 7


def test_what_ships_is_verified_judged_and_applied(found: SearchResult, folder: Path) -> None:
    at = {"device": "cpu", "cache_root": folder / "cache"}
    assert verify(found.recipe, str(folder / "data"), **at).word == "identical"
    judged = evaluate(folder / "out" / "model", folder / "data", split="test", **at)
    assert found.recipe.metrics.test is not None
    assert judged.accuracy == found.recipe.metrics.test.accuracy
    assert judged.notes == ()
    applied = apply(found.recipe, str(folder / "data"), folder / "again", **at)
    assert applied.recipe.task == found.recipe.task
    packed = package(folder / "out" / "model", "safetensors", folder / "packed", preprocessing=True)
    files = sorted((folder / "data" / "b").iterdir())[:4]
    ours, theirs = load(folder / "out" / "model").predict(files), load(packed.path).predict(files)
    assert [answer.label for answer in theirs] == [answer.label for answer in ours]


def test_networks_that_read_images_of_other_sizes_predict_together(
    found: SearchResult, task: LoadedTask, backbone: Backbone, folder: Path
) -> None:
    """They take the largest images, and the others scale them down by areas."""
    plain = solved(SOLVED.model_copy(update={"resolution_scale": 1.0, "detail": False}), task, backbone)
    sharp = solved(SOLVED.model_copy(update={"resolution_scale": 1.5}), task, backbone)
    with Store.open(StoreURL.parse(str(folder / "study.db"))) as store:
        record = Trials(store).records(store.study("stripes"))[0]
    ingredients = [
        Ingredient(record, run, backbone.architecture, split_logits(run, "validation"), run.best)
        for run in (plain, sharp)
    ]
    made = together([(ingredients[0], 0.4, 2.0), (ingredients[1], 0.6, 1.0)])
    assert made.judged.task.side == 48
    save_model(
        folder / "mixed", made.judged.model, architecture=backbone.architecture, in_channels=3,
        resolution=made.judged.task.side, classes=task.task.classes, normalisation=constants_of(made.judged),
        pixel_range=task.task.pixel_range, recipe=found.recipe, calibration=None,
    )  # fmt: skip
    assert plain.model.resolution_scale == 1.0  # the run's own network still reads its own images
    images = np.array(made.judged.task.images[:7])
    answered = softmax(Predictor(*load_model(folder / "mixed")).logits(images))
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    smaller = torch.nn.functional.adaptive_avg_pool2d(pixels, SIDE)
    with torch.no_grad():
        logits = [
            run.model(run.plan.normaliser(CPU).centred(of)) for run, of in ((plain, smaller), (sharp, pixels))
        ]
    wanted = 0.4 * softmax(logits[0].numpy(), 2.0) + 0.6 * softmax(logits[1].numpy())
    np.testing.assert_allclose(answered, wanted, atol=1e-5)
    for network in made.judged.model.networks:
        network.flips = True
    assert refitted(made, lambda record: None, record) == (made, frozenset())
    anew, new = refitted(made, lambda record: sharp, record)
    assert new == {record.root}
    assert [network.flips for network in anew.judged.model.networks] == [True, True]
    assert package(folder / "mixed", "onnx", folder / "mixed-packed").difference < 1e-4


def test_training_goes_on_from_smaller_images_where_there_is_no_time_for_larger_ones(
    task: LoadedTask, folder: Path
) -> None:
    spec = StudySpec(
        name="slow",
        task=TaskSpec(dataset=str(folder / "data"), resolution=SIDE, seed=1),
        search=SearchSpec(trials=9, max_epochs=10_000, default_first=False),
        space={"tune_mode": ("suffix", "closed_form"), "augmentation": "none"},
    )
    with Store.open(StoreURL.parse(str(folder / "slow.db"))) as store:
        handle = store.create_study(
            spec, task.task, artifact_url=(folder / "slow").as_posix(), sources=source_digests(spec)
        )
        bench = Workbench.open(handle, device="cpu", task=task, cache_root=folder / "cache")
        left = [math.inf]
        first = FirstAnswers(bench, Trials(store), left=lambda: left[0])
        first.quick()
        small = first._best()
        assert small is not None
        trains = tuned_from(first._solved(small), bench.space, spec.space, "accuracy")
        left[0] = 1.2 * first._cost.seconds(trains)  # enough to look at larger images, not to train on them
        first.rest()
        claims = [claim for _ in range(9) if (claim := Trials(store).claim(handle, "w"))]
    answers = {claim.label: claim.strategy for claim in claims}
    assert answers["profile, larger images"].detail
    tuned = answers["profile, tuned"]
    assert (tuned.resolution_scale, tuned.detail) == (1.0, False)


@pytest.mark.parametrize(("side", "tried"), [(96, True), (128, False)])
def test_the_whole_network_is_tried_once_more_on_images_that_the_files_have(
    folder: Path, tmp_path: Path, side: int, tried: bool
) -> None:
    spec = StudySpec(
        name="judged",
        task=TaskSpec(dataset=str(folder / "data"), resolution=side, seed=1),
        search=SearchSpec(trials=9, max_epochs=80, default_first=False, stop_when="budget"),
        space={"tune_mode": ("full", "closed_form"), "augmentation": "none"},
    )
    task = load_task(spec.task, cache_root=tmp_path)
    with Store.open(StoreURL.parse(str(tmp_path / "study.db"))) as store:
        handle = store.create_study(
            spec, task.task, artifact_url=tmp_path.as_posix(), sources=source_digests(spec)
        )
        bench = Workbench.open(handle, device="cpu", task=task, cache_root=tmp_path)
        FirstAnswers(bench, Trials(store)).rest()
        claims = [claim for _ in range(9) if (claim := Trials(store).claim(handle, "w"))]
    answers = {claim.label: claim.strategy for claim in claims}
    whole = answers[FINETUNED_LABEL]
    assert (whole.resolution_scale, whole.train_scale) == (1.0, 1.0)
    assert answers.get(JUDGED_LABEL) == (whole.model_copy(update=dict(JUDGED_LARGER)) if tried else None)
