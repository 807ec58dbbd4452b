"""What ships in the winner's place: flips, a soup, an ensemble; made as stated, measured, and refused in words."""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from automl_transfer.api import evaluate, export, finish, package, search, verify
from automl_transfer.api.composing import Ingredient, soup
from automl_transfer.api.exporting import export_from
from automl_transfer.api.offers import Offer, clearly_likelier, likelier_by, warn_of_flips
from automl_transfer.api.search import run_study
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.horizon import Horizon
from automl_transfer.domain.records import TrialRecord
from automl_transfer.domain.spec import SearchSpec, ShipAs, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError, NotANumberError, StudyError, UserError
from automl_transfer.models.registry import get_source
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.model_folder import load_model
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.shipped_as import AskedFor, Part
from automl_transfer.search.workbench import Workbench
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.store import Store
from automl_transfer.store.trials import Trials
from automl_transfer.store.url import StoreURL
from automl_transfer.training.calibration import softmax
from automl_transfer.training.making import make_run, split_logits
from automl_transfer.transfer.together import Ensemble
from automl_transfer.workers.sharing import SHIP, SharedWork

SPEC = StudySpec(
    name="offers",
    task=TaskSpec(dataset="digits?per_class=8", label_preserving=("mirror",)),
    search=SearchSpec(trials=4, max_epochs=2, profile=False, pruner="none", confirm=0),
    space={
        "truncation": 2, "tune_mode": "full", "norm_policy": "train", "pool": (1, 2),
        "normalise": ("source", "dataset"), "learning_rate": (1e-3, 1e-2),
    },
)  # fmt: skip


@dataclasses.dataclass
class Made:
    folder: Path

    @property
    def storage(self) -> str:
        return str(self.folder / "study.db")

    def export(self, name: str, **options: Any) -> Any:
        return export("offers", self.folder / name, storage=self.storage, device="cpu", **options).recipe

    def weights(self, part: Part) -> Path:
        """What a trial left among the study's files."""
        name = f"trial-{part.root_trial:06d}/model-0.safetensors"
        (found,) = (self.folder / "out" / "artifacts").glob(f"*/{name}")
        return found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("offers")
    search(SPEC, storage=StoreURL.parse(str(folder / "study.db")), output=folder / "out", device="cpu")
    return Made(folder)


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return load_task(SPEC.task)


def test_flips_are_the_mean_of_both_logits_in_the_folder_and_in_packages(
    made: Made, task: LoadedTask
) -> None:
    recipe = made.export("flips", flips=True, refit=False)
    folder, images = made.folder / "flips", task.images[:9]
    predictor = Predictor.load(folder / "model")
    assert predictor.description.flips
    together = predictor.logits(images)
    predictor.model.flips = False  # type: ignore[misc]
    alone = [predictor.logits(np.ascontiguousarray(each)) for each in (images, images[:, :, ::-1])]
    np.testing.assert_allclose(together, np.mean(alone, axis=0), atol=1e-5)
    assert [each.name for each in recipe.shipped_as.offered] == ["winner", "winner, flips"]
    assert "with its mirror image" in (folder / "model" / "README.md").read_text()
    assert package(folder / "model", "safetensors", made.folder / "flips-alone").description.flips
    safe = Predictor.load(made.folder / "flips-alone.safetensors")
    np.testing.assert_allclose(safe.logits(images), together, atol=1e-6)
    again = verify(folder / "best_strategy.json")
    assert (again.word, again.found.test) == ("identical", recipe.metrics.test)


def test_a_soup_is_the_mean_of_the_weights_with_statistics_of_its_own(made: Made, task: LoadedTask) -> None:
    recipe = made.export("soup", kind="soup")
    parts, folder = recipe.shipped_as.parts, made.folder / "soup" / "model"
    mixed = load_file(str(folder / "model.safetensors"))
    states = [load_file(str(made.weights(part))) for part in parts]
    assert len(parts) >= 2
    assert all(part.share == pytest.approx(1 / len(parts)) for part in parts)
    for name, value in mixed.items():
        if "running" not in name and value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([state[name] for state in states]).mean(0))
    # The first batch norm sees the first convolution's maps of all training images, which are one batch here.
    predictor = Predictor.load(folder)
    images = predictor._normalise(torch.from_numpy(task.images[task.indices["train"]]))
    convolution = next(m for m in predictor.model.modules() if isinstance(m, torch.nn.Conv2d))
    norm = next(m for m in predictor.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert norm.running_mean is not None
    with torch.no_grad():
        torch.testing.assert_close(
            norm.running_mean, convolution(images).mean((0, 2, 3)), atol=1e-4, rtol=1e-3
        )
    scores = {each.name: each.score for each in recipe.shipped_as.offered}
    assert scores[f"soup of {len(parts)}"] == recipe.metrics.validation.accuracy
    assert get_source(f"checkpoint/@{folder}").info().available  # one network, as ever
    assert verify(made.folder / "soup" / "best_strategy.json").word == "identical"


def test_a_soup_takes_what_ties_whatever_the_last_digit_of_a_score(made: Made, task: LoadedTask) -> None:
    """2 of 3 images are .6666666666666666, which was less than the .666666666667 of the first ingredient."""
    strategy = Strategy(truncation=1, tune_mode="closed_form")
    backbone, horizon = get_source(strategy.source).load(1), Horizon(1)
    alike: dict[str, Any] = {"horizon": horizon, "seed": 0, "device": torch.device("cpu")}
    rows = task.indices["test"]
    whole = make_run(strategy, task, backbone, **alike)
    right = split_logits(whole, "test").argmax(1) == task.labels[rows]
    three = np.concatenate([rows[right][:2], rows[~right][:1]])
    few = dataclasses.replace(task, indices={**task.indices, "validation": np.sort(three)})
    run = make_run(strategy, few, backbone, **alike)
    logits, scores = split_logits(run, "validation"), run.judge()[1]
    assert scores.accuracy == 2 / 3
    with Store.open(StoreURL.parse(made.storage)) as store:
        records = Trials(store).records(store.study("offers"))
    pool = [Ingredient(record, run, backbone.architecture, logits, scores) for record in records[:2]]
    assert len(soup(pool).chosen) == 2


def test_an_ensemble_is_the_mean_of_calibrated_probabilities(made: Made, task: LoadedTask) -> None:
    recipe = made.export("ensemble", kind="ensemble", flips=True, refit=False)
    folder = made.folder / "ensemble" / "model"
    model, description = load_model(folder)
    assert isinstance(model, Ensemble)
    images = task.images[task.indices["validation"]]
    ensemble, parts = Predictor(model, description), recipe.shipped_as.parts
    assert len(parts) == len(description.members) >= 2, "the fixture is to have an ensemble of several"
    wanted = 0.0
    for part, member, network in zip(parts, description.members, model.networks, strict=True):
        one = description.model_copy(update={"members": (), "normalisation": member.normalisation})
        wanted = wanted + part.share * softmax(Predictor(network, one).logits(images), member.temperature)
        state = load_file(str(made.weights(part)))
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    np.testing.assert_allclose(softmax(ensemble.logits(images)), wanted, atol=1e-5)
    assert evaluate(folder, SPEC.task, split="test").accuracy == recipe.metrics.test.accuracy
    for form in ("onnx", "safetensors"):
        packed = package(folder, form, made.folder / form, preprocessing=True)
        assert packed.description.networks == len(parts)
        assert packed.description.flips
        assert packed.difference < 1e-4  # of the model, which makes all passes
    safe = Predictor.load(made.folder / "safetensors.safetensors")
    np.testing.assert_allclose(safe.logits(images), ensemble.logits(images), atol=1e-5)
    with pytest.raises(UserError, match="is an ensemble of"):
        get_source(f"checkpoint/@{folder}")
    again = verify(made.folder / "ensemble" / "best_strategy.json")
    assert (again.word, again.found.test) == ("identical", recipe.metrics.test)


def test_what_ships_is_made_anew_where_it_is_asked_for_and_tested_once(made: Made) -> None:
    first = made.export("again", kind="soup")
    assert made.export("again", kind="soup").metrics == first.metrics
    assert made.export("again").shipped_as is None
    with Store.open(StoreURL.parse(made.storage)) as store:
        looks = Evidence(store).looks(store.study("offers"))
    assert [look.shipped_as for look in looks].count(first.shipped_as.name) == 1


def test_what_cannot_be_is_said_and_nothing_is_written(made: Made) -> None:
    soup = made.export("one", kind="soup").shipped_as.parts
    with Store.open(StoreURL.parse(made.storage)) as store:
        records = Trials(store).records(store.study("offers"))
    mine = soup[0].strategy
    other = next(
        record.root
        for record in records
        if record.strategy
        and (record.strategy.pool, record.strategy.normalise) != (mine.pool, mine.normalise)
    )
    for options, said in (
        ({"kind": "soup", "trials": (soup[0].trial, other)}, "share a source and a shape"),
        ({"kind": "soup", "trials": (0, 99)}, "got 99"),
        ({"kind": "soup", "refit": True}, "the winner and an ensemble can be refitted"),
        ({"trials": (0, 1)}, "for a soup or an ensemble"),
        ({"kind": "stew"}, "winner, soup, ensemble or auto"),
    ):
        with pytest.raises(UserError, match=said):
            made.export("nothing", **options)
    assert not (made.folder / "nothing").exists()


def test_weights_that_are_gone(made: Made, caplog: pytest.LogCaptureFixture) -> None:
    parts = made.export("first", kind="soup").shipped_as.parts
    place, aside = made.weights(parts[1]), made.folder / "aside"
    shutil.move(place, aside)
    try:
        with pytest.raises(StudyError, match=f"trial {parts[1].trial} are gone"):
            made.export("nothing", kind="ensemble", trials=[part.trial for part in parts])
        assert not (made.folder / "nothing").exists()
        left = made.export("left", kind="ensemble").shipped_as.parts
        assert parts[1].trial not in {part.trial for part in left}
        assert "their weights are gone" in caplog.text
    finally:
        shutil.move(aside, place)


def test_flips_where_a_mirror_image_is_another_digit(
    task: LoadedTask, caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_flips(task.task)
    assert not caplog.records
    warn_of_flips(task.task.model_copy(update={"label_preserving": ()}))
    assert "may be of another class" in caplog.text


def test_an_offer_says_all_mistakes_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Offer("soup", trials=(3,)).check(refit=True)
    assert len(caught.value.mistakes) == 2


def test_clearly_likelier_needs_more_than_luck() -> None:
    random, labels = np.random.default_rng(0), np.arange(400) % 4
    right = np.eye(4)[labels]
    one, other = (right * 2.0 + random.normal(0, 1.5, right.shape) for _ in range(2))
    mean = np.log((softmax(one) + softmax(other)) / 2)
    assert clearly_likelier(mean, one, labels)
    assert not clearly_likelier(one, mean, labels)
    assert not clearly_likelier(one, one, labels)
    assert not clearly_likelier(mean[:3], one[:3], labels[:3])
    # Four copies of an image are one observation.
    groups = np.repeat(np.arange(40), 4)
    four = [np.repeat(each[:40], 4, axis=0) for each in (mean, one, labels)]
    single = likelier_by(mean[:40], one[:40], labels[:40])
    assert likelier_by(*four, groups) == pytest.approx(single, rel=0.1)
    assert likelier_by(*four) > 1.7 * single


def test_auto_ships_two_only_where_their_mean_is_clearly_better(made: Made, task: LoadedTask) -> None:
    rows = task.indices["validation"]
    auto = made.export("auto", kind="auto", refit=False)
    made.export("one-alone", kind="winner", refit=False)
    made.export("two", kind="ensemble", refit=False)
    logits = [
        Predictor.load(made.folder / name / "model").logits(task.images[rows])
        for name in ("one-alone", "two")
    ]
    scores = [float((each.argmax(1) == task.labels[rows]).mean()) for each in logits]
    better = scores[1] > scores[0] and clearly_likelier(logits[1], logits[0], task.labels[rows])
    assert (auto.shipped_as is not None) == better


def test_a_study_says_what_ships_and_its_parts_are_refitted(task: LoadedTask, tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"ship_as": "ensemble"})})
    place, output = StoreURL.parse(str(tmp_path / "study.db")), tmp_path / "out"
    found = search(spec, storage=place, output=output, device="cpu").recipe
    shipped = found.shipped_as
    assert found.provenance.asked == AskedFor(rule="ensemble")
    assert all(part.refit for part in shipped.parts)
    assert found.training.refit
    before = {
        file: file.read_bytes() for file in output.rglob("*") if file.suffix in (".json", ".safetensors")
    }
    assert search(spec, storage=place, output=output, device="cpu").recipe == found
    assert {file: file.read_bytes() for file in before} == before
    again = verify(output / "best_strategy.json")
    assert (again.word, again.found.test) == ("identical", found.metrics.test)
    # What a recipe says of the winner's training, solved perhaps, says nothing of the other parts'.
    solved = found.training.model_copy(update={"epochs": 0})
    assert verify(found.model_copy(update={"training": solved})).word == "identical"
    card = (output / "model" / "README.md").read_text()
    assert "Of other parts" not in card  # all of one source
    kept = export("offers", output, refit=False, storage=str(tmp_path / "study.db"), device="cpu").recipe
    assert [part.weights_sha256 for part in kept.shipped_as.parts] == [
        p.weights_sha256 for p in shipped.parts
    ]
    assert not any(part.refit for part in kept.shipped_as.parts)
    assert kept.training.weights_sha256 != found.training.weights_sha256
    assert kept.metrics.validation == found.metrics.validation  # of networks that had not seen these images
    silent = shipped.model_copy(
        update={"parts": tuple(each.model_copy(update={"epochs": None}) for each in shipped.parts)}
    )
    with pytest.raises(UserError, match="for how many epochs each part is trained"):
        verify(found.model_copy(update={"training": solved, "shipped_as": silent}))
    asked = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"ship_as": "winner"})})
    assert search(asked, storage=place, output=output, device="cpu").recipe.shipped_as is None


def test_what_is_asked_for_by_name_stays_until_another_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ships(kind: ShipAs) -> StudySpec:
        return SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"ship_as": kind})})

    place, output = StoreURL.parse(str(tmp_path / "study.db")), tmp_path / "out"

    def searched(kind: ShipAs, **options: Any) -> Recipe:
        found = run_study(ships(kind), storage=place, output=output, device="cpu", **options).recipe
        assert found is not None
        return found

    def exported(**options: Any) -> Recipe:
        found = export("offers", output, storage=str(tmp_path / "study.db"), device="cpu", **options).recipe
        assert found is not None
        return found

    first = searched("ensemble", refit=False)
    # The same networks, by name from now on: no study's rule changes that, nor that the winner is asked for.
    assert exported(kind="ensemble", refit=False).provenance.asked == AskedFor(rule="ensemble", by_name=True)
    kept = searched("winner", refit=False)
    assert kept.shipped_as == first.shipped_as
    # Refitted it is what it was, by name.
    again = searched("winner", refit=True)
    assert first.shipped_as is not None
    assert again.shipped_as is not None
    assert {part.root_trial for part in again.shipped_as.parts} == {
        part.root_trial for part in first.shipped_as.parts
    }
    assert all(part.refit for part in again.shipped_as.parts)
    assert again.provenance.asked == AskedFor(rule="ensemble", by_name=True)
    # Who says in a search what ships gets that, and the rule is known afterwards.
    alone = searched("winner", by_rule=True)
    assert (alone.shipped_as, alone.provenance.asked) == (None, AskedFor(rule="winner"))
    assert searched("auto").provenance.asked == AskedFor(rule="auto")  # thought about again
    assert exported(kind="winner").provenance.asked == AskedFor(rule="winner", by_name=True)
    assert searched("ensemble").shipped_as is None
    assert searched("ensemble", by_rule=True).shipped_as is not None
    assert exported(kind="soup").kind == "soup"
    assert searched("winner", refit=True).kind == "soup"
    assert "the soup that was exported by name, which is not refitted" in caplog.text
    # Of another winner it is not made anew unasked, and that is said.
    recipe = json.loads((output / "best_strategy.json").read_text())
    recipe["provenance"] |= {"trial": 9, "root_trial": 9}
    (output / "best_strategy.json").write_text(json.dumps(recipe))
    assert searched("winner").kind == "winner"
    assert "the soup that was exported by name is not of today's winner" in caplog.text


def test_a_soup_that_the_study_ships_is_not_refitted_either(made: Made, tmp_path: Path) -> None:
    """`export --refit` of such a study was as if nobody had said it."""
    spec = SPEC.model_copy(
        update={"name": "souped", "search": SPEC.search.model_copy(update={"ship_as": "soup"})}
    )
    with Store.open(StoreURL.parse(made.storage)) as store:
        task = store.study("offers").task
        store.create_study(spec, task, artifact_url=str(tmp_path / "artifacts"), sources={})
        with pytest.raises(ConfigurationError, match="got --refit for a soup"):
            export_from(store, "souped", tmp_path / "out", Offer(), refit=True, device="cpu")
        with pytest.raises(StudyError, match="must have a complete trial"):
            export_from(store, "souped", tmp_path / "out", Offer("ensemble"), refit=True, device="cpu")


def test_a_look_that_the_store_cannot_keep_is_told_all_the_same(
    made: Made, caplog: pytest.LogCaptureFixture
) -> None:
    output = made.folder / "read-only"
    with Store.open(StoreURL.parse(made.storage), read_only=True) as store:
        before = Evidence(store).looks(store.study("offers"))
        offer = Offer("ensemble", flips=True)
        shipped = export_from(store, "offers", output, offer, refit=True, device="cpu")
        assert Evidence(store).looks(store.study("offers")) == before
    assert shipped.recipe is not None
    assert shipped.recipe.shipped_as is not None
    assert "that the test split was looked at is not kept" in caplog.text
    looks = json.loads((output / "ranking.json").read_text())["test_looks"]
    assert len(looks) == len(before) + 1
    assert looks[-1]["shipped_as"] == shipped.recipe.shipped_as.name


def test_an_export_waits_while_another_process_ships_into_its_folder(made: Made) -> None:
    made.export("busy", kind="winner", refit=False)
    waits = threading.Event()
    said = logging.Handler()
    said.emit = lambda record: waits.set() if "ships into it" in record.getMessage() else None  # type: ignore[method-assign]
    logging.getLogger("automl_transfer.api.exporting").addHandler(said)
    with (
        Store.open(StoreURL.parse(made.storage)) as store,
        ThreadPoolExecutor(1) as pool,
        SharedWork(store, store.study("offers")) as search_,
    ):
        assert search_.take(SHIP)
        later = pool.submit(made.export, "busy", kind="ensemble", refit=False)
        assert waits.wait(60)
        made.export("elsewhere", kind="winner", refit=False)  # nobody else writes there
        assert read_recipe(made.folder / "busy" / "best_strategy.json").kind == "winner"
        assert not later.done()
        search_.give_back(SHIP)
        assert later.result(120).kind == "ensemble"
    logging.getLogger("automl_transfer.api.exporting").removeHandler(said)


def test_a_study_of_one_trial_ships_its_winner(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    search_ = SPEC.search.model_copy(update={"ship_as": "soup", "trials": 1, "max_epochs": 1})
    spec = SPEC.model_copy(update={"search": search_})
    place = StoreURL.parse(str(tmp_path / "study.db"))
    found = search(spec, storage=place, output=tmp_path / "out", device="cpu", refit=False).recipe
    assert found.shipped_as is None
    assert not found.training.refit
    assert "the winner ships alone: soup: it is made of at least two trials" in caplog.text


def test_an_ensemble_of_two_sources_states_both(tmp_path: Path) -> None:
    space = {
        **SPEC.space,
        "source": ("efficientnet-lite0", "efficientnet-lite1"),
        "pool": 1,
        "normalise": "source",
    }
    search_ = SPEC.search.model_copy(update={"sampler": "random", "trials": 4, "ship_as": "ensemble"})
    spec = SPEC.model_copy(update={"search": search_, "space": {**space, "learning_rate": (1e-3, 3e-3)}})
    place, output = StoreURL.parse(str(tmp_path / "study.db")), tmp_path / "out"
    search(spec, storage=place, output=output, device="cpu")
    with Store.open(place) as store:
        trials = Trials(store).records(store.study("offers"))
    by_source = {trial.strategy.source: trial.number for trial in trials if trial.strategy is not None}
    assert set(by_source) == set(space["source"])
    found = export(
        "offers", output, kind="ensemble", trials=tuple(by_source.values()), storage=str(place), device="cpu"
    ).recipe
    used = {part.strategy.source for part in found.shipped_as.parts}
    stated = [found.source, *found.other_sources]
    assert {each.name for each in stated} == used | {found.source.name}
    assert all(each.licence and each.sha256 for each in stated)
    assert used == set(space["source"])
    (other,) = found.other_sources
    assert (
        f"Of other parts: {other.name}; licence: {other.licence}." in (output / "model/README.md").read_text()
    )
    assert verify(output / "best_strategy.json").word == "identical"
    changed = found.model_copy(update={"other_sources": (other.model_copy(update={"sha256": "0" * 64}),)})
    with pytest.raises(UserError, match="must have the recipe's sha256"):
        verify(changed)


def test_a_refit_that_fails_ships_what_was_judged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"trials": 1, "max_epochs": 1})})
    place = StoreURL.parse(str(tmp_path / "study.db"))
    through = finish.trained

    def failing(bench: Workbench, winner: TrialRecord, *, refit: bool) -> Any:
        if refit:
            raise NotANumberError("the loss is not a number")
        return through(bench, winner, refit=refit)

    monkeypatch.setattr(finish, "trained", failing)
    with pytest.raises(NotANumberError):  # it was insisted on
        search(spec, storage=place, output=tmp_path / "out", device="cpu", refit=True)
    found = search(spec, storage=place, output=tmp_path / "out", device="cpu").recipe
    assert not found.training.refit
    assert "trial 0 ships as it was judged, its refit failed: the loss is not a number" in caplog.text
    assert (tmp_path / "out" / "model" / "model.safetensors").is_file()


def test_a_soup_is_not_refitted_and_says_so_before_the_search(tmp_path: Path) -> None:
    spec = SPEC.model_copy(update={"search": SPEC.search.model_copy(update={"ship_as": "soup"})})
    place = StoreURL.parse(str(tmp_path / "study.db"))
    with pytest.raises(ConfigurationError, match="got --refit for a soup"):
        search(spec, storage=place, output=tmp_path / "out", device="cpu", refit=True)
    assert not list(tmp_path.iterdir())
