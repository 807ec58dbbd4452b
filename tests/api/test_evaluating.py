"""`evaluate`: its numbers are scikit-learn's, and every image is judged or counted."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from PIL import Image
from sklearn import metrics

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))  # recipes_by_hand

from recipes_by_hand import FIXED, make_task, recipe

from automl_transfer.api import Evaluation, evaluate
from automl_transfer.cli.main import main
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.model_description import Calibration
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SplitSizes
from automl_transfer.errors import ConfigurationError, DataError, SourceError
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.best_strategy import write_recipe
from automl_transfer.recipes.model_folder import save_model
from automl_transfer.recipes.predict import Predictor
from automl_transfer.reporting import judging
from automl_transfer.reporting.statistics import clopper_pearson
from automl_transfer.training.calibration import softmax

CLASSES = ("ant", "bee", "cat", "missing")


def make_model(folder: Path, classes: tuple[str, ...] = CLASSES) -> Path:
    torch.manual_seed(3)
    model = build_from_description("torchvision/resnet18", 1, 2, 1, len(classes), 32)
    with torch.no_grad():
        model.head.linear.weight.mul_(6.0)
    save_model(
        folder, model, architecture="torchvision/resnet18", in_channels=1, resolution=32, classes=classes,
        normalisation=FIXED, recipe=recipe(), calibration=Calibration(temperature=1.7),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("run") / "model")


def draw(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = (rng.integers(0, 256, (8, 8)) // rng.integers(1, 5)).astype(np.uint8)
    Image.fromarray(image).resize((32, 32), Image.Resampling.NEAREST).save(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three of the model's classes, one that it does not know, and a file that is no image."""
    root = tmp_path_factory.mktemp("data") / "pictures"
    for label, (name, count) in enumerate({"ant": 40, "bee": 25, "cat": 8, "dog": 11}.items()):
        for number in range(count):
            draw(root / name / f"{number:02}.png", 100 * label + number)
    (root / "bee" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture(scope="module")
def found(model: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    return evaluate(model, folder, cache_root=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def by_hand(model: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of the judged images, by way of `predict`'s own reading."""
    predictor, labels, logits = Predictor.load(model), [], []
    for label, name in enumerate(CLASSES[:3]):
        for path in sorted((folder / name).glob("[0-9]*.png")):
            pixels = np.asarray(Image.open(path))[None, :, :, None]
            labels.append(label)
            logits.append(predictor.logits(pixels)[0])
    return np.array(labels), np.array(logits)


def test_scores_are_those_of_scikit_learn(found: Evaluation, by_hand: tuple[np.ndarray, np.ndarray]) -> None:
    truth, logits = by_hand
    p = softmax(logits, 1.7)
    answer = p.argmax(axis=1)
    assert 0 < found.wrong < found.images == len(truth) == 73
    assert found.accuracy == pytest.approx(metrics.accuracy_score(truth, answer))
    assert found.interval == clopper_pearson(73 - found.wrong, 73)
    recalls = metrics.recall_score(truth, answer, labels=[0, 1, 2], average=None)
    assert found.balanced_accuracy == pytest.approx(recalls.mean())
    assert found.macro_f1 == pytest.approx(metrics.f1_score(truth, answer, average="macro"))
    assert found.nll == pytest.approx(metrics.log_loss(truth, p, labels=range(4)), rel=1e-5)
    assert found.uncalibrated_nll == pytest.approx(
        metrics.log_loss(truth, softmax(logits), labels=range(4)), rel=1e-5
    )
    areas = [metrics.roc_auc_score(truth == label, p[:, label]) for label in range(3)]
    assert found.auroc == pytest.approx(np.mean(areas), abs=1e-6)
    table = metrics.confusion_matrix(truth, answer, labels=range(4))
    assert {(c.truth, c.answer): c.images for c in found.confusion} == {
        (t, a): table[t, a] for t in range(4) for a in range(4) if table[t, a]
    }
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth, answer, labels=range(4), zero_division=0.0
    )
    for label, each in enumerate(found.by_class):
        assert (each.name, each.images) == (CLASSES[label], support[label])
        assert (each.precision or 0.0) == pytest.approx(precision[label])
        assert (each.recall or 0.0) == pytest.approx(recall[label])
        assert (each.f1 or 0.0) == pytest.approx(f1[label])
    assert found.by_class[3].recall is None


def test_calibration_and_thresholds_are_what_they_say(
    found: Evaluation, by_hand: tuple[np.ndarray, np.ndarray]
) -> None:
    truth, logits = by_hand
    p = softmax(logits, 1.7)
    sure, right = p.max(axis=1), p.argmax(axis=1) == truth
    error = 0.0
    for low in range(10):
        inside = (sure >= low / 10) & ((sure < (low + 1) / 10) | (low == 9))
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
    assert found.expected_calibration_error == pytest.approx(error, abs=1e-6)
    assert sum(each.images for each in found.calibration) == 73
    for each in found.thresholds:
        kept = sure >= each.threshold
        assert each.images == kept.sum()
        assert each.accuracy == (pytest.approx(right[kept].mean()) if kept.any() else None)


def test_every_image_is_judged_or_counted(found: Evaluation, folder: Path) -> None:
    files = sum(path.is_file() for path in folder.rglob("*"))
    out = found.not_judged
    assert (out.unreadable, out.other_classes, out.not_finite) == (1, {"dog": 11}, 0)
    assert found.images + out.total == files
    assert out.examples[0][0] == "bee/broken.png"
    assert found.missing == ("missing",)
    assert all(each.of_other_classes <= 11 for each in found.thresholds)
    assert [each.probability for each in found.worst] == sorted(
        (each.probability for each in found.worst), reverse=True
    )
    assert Evaluation.model_validate_json(found.to_json()) == found


def test_many_probabilities_lie_on_disk_and_give_the_same(
    found: Evaluation, model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judging, "IN_MEMORY", 100)
    assert evaluate(model, folder, cache_root=tmp_path) == found


def test_two_classes_have_the_area_of_the_second(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", ("ant", "bee"))
    for label, name in enumerate(("ant", "bee")):
        for number in range(6):
            draw(tmp_path / "two" / name / f"{number}.png", 50 * label + number)
    found = evaluate(model, tmp_path / "two", cache_root=tmp_path / "cache")
    predictor = Predictor.load(model)
    answers = list(
        predictor.predict([tmp_path / "two" / n / f"{i}.png" for n in ("ant", "bee") for i in range(6)])
    )
    scores = [dict(each.top)["bee"] for each in answers]
    assert found.auroc == pytest.approx(metrics.roc_auc_score([0] * 6 + [1] * 6, scores))


def test_one_class_alone_is_judged(model: Path, tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "one" / "ant" / f"{number}.png", number)
    found = evaluate(model, tmp_path / "one", cache_root=tmp_path / "cache")
    assert (found.images, found.auroc) == (3, None)


def test_splits_are_declared_or_those_of_the_models_own_search(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "declared"
    for split, count in (("train", 5), ("val", 3), ("test", 2)):
        for label, name in enumerate(CLASSES[:3]):
            for number in range(count):
                draw(root / split / name / f"{number}.png", 1000 * label + 10 * count + number)
    cache = tmp_path / "cache"
    sizes = {split: evaluate(model, root, split=split, cache_root=cache).images for split in ("train", "validation", "test")}  # fmt: skip
    assert sizes == {"train": 15, "validation": 9, "test": 6}
    assert evaluate(model, root, cache_root=cache).images == 30

    # Beside its own recipe the model knows how its dataset was split, and says what it was trained on.
    own = make_model(tmp_path / "run" / "model", tuple(str(digit) for digit in range(10)))
    task = make_task(
        name="digits", classes=tuple(str(digit) for digit in range(10)),
        splits=SplitSizes(train=1079, validation=359, test=359),
    )  # fmt: skip
    write_recipe(
        own.parent / "best_strategy.json", recipe(task=task, spec=TaskSpec(dataset="digits", seed=3))
    )
    with pytest.raises(DataError, match="must be the one that its search has drawn"):
        evaluate(own.parent, "digits", split="test", cache_root=cache)  # the fingerprint is made up
    known = load_task(TaskSpec(dataset="digits", seed=3), cache_root=cache).task
    write_recipe(
        own.parent / "best_strategy.json",
        recipe(
            task=task.model_copy(update={"fingerprint": known.fingerprint}),
            spec=TaskSpec(dataset="digits", seed=3),
        ),
    )
    test = evaluate(own.parent, "digits", split="test", cache_root=cache)
    other = evaluate(own, TaskSpec(dataset="digits", seed=4), split="test", cache_root=cache)
    assert test.images == other.images == 359
    assert test.accuracy != other.accuracy or test.nll != other.nll
    assert test.notes == ()
    assert "not what it was" in other.notes[0]
    assert "--split test" in evaluate(own, "digits", cache_root=cache).notes[0]
    few = evaluate(own, "digits?per_class=2", split="train", cache_root=cache)
    assert (few.images, few.notes) == (20, ("The model was trained on these images.",))


@pytest.fixture(scope="module")
def own(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, int]:
    """A run whose search merged rare classes and was told groups: model, cache, number of its test images."""
    cache = tmp_path_factory.mktemp("own-cache")
    spec = TaskSpec(
        dataset=str(folder),
        seed=3,
        rare_classes="merge",
        min_per_class=20,
        group_from=r"/\d?(\d|b)",
        on_bad_image="skip",
    )
    task = load_task(spec, cache_root=cache).task
    assert task.classes == ("ant", "bee", "other")
    made = make_model(tmp_path_factory.mktemp("own") / "model", task.classes)
    write_recipe(made.parent / "best_strategy.json", recipe(task=task, spec=spec))
    return made, cache, task.splits.test


def test_rare_classes_that_were_merged_are_judged_as_the_class_they_became(
    own: tuple[Path, Path, int], folder: Path
) -> None:
    """They were counted as classes that the model does not know, and its class `other` had no image."""
    made, cache, _ = own
    found = evaluate(made, folder, cache_root=cache, attack="fgsm:1/255")
    assert {each.name: each.images for each in found.by_class} == {"ant": 40, "bee": 25, "other": 19}
    assert (found.missing, found.not_judged.other_classes) == ((), {})
    assert found.notes[0].startswith("If these are the images that the model was made with")
    refused = evaluate(made, TaskSpec(dataset=str(folder)), cache_root=cache)  # somebody says otherwise
    assert refused.not_judged.other_classes == {"cat": 8, "dog": 11}


def test_a_copy_of_another_name_is_not_split_as_if_it_were_other_data(
    own: tuple[Path, Path, int], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the groups of the search, images that were trained on were judged as its test split."""
    made, cache, test = own
    for name in ("backup", "elsewhere/pictures"):
        shutil.copytree(folder, tmp_path / name)
    with pytest.raises(DataError, match="another name than that of the model's own dataset, 'pictures'"):
        evaluate(made, tmp_path / "backup", split="test", cache_root=cache)
    assert evaluate(made, tmp_path / "backup", cache_root=cache).notes == ()
    monkeypatch.chdir(tmp_path / "elsewhere" / "pictures")
    for place in (tmp_path / "elsewhere" / "pictures", "."):
        found = evaluate(made, place, split="test", cache_root=cache)
        assert (found.images, found.notes) == (test, ())


def grouped(root: Path) -> tuple[Path, str]:
    """Three classes of ten patients with four pictures each, and the table that says whose they are."""
    rows = ["file,group"]
    for label, name in enumerate(CLASSES[:3]):
        for number in range(40):
            draw(root / name / f"{number:02}.png", 500 * label + number)
            rows.append(f"{name}/{number:02}.png,{name}-{number % 10}")
    table = root.parent / "patients.csv"
    table.write_text("\n".join(rows) + "\n")
    return root, str(table)


def shipped(place: Path, spec: TaskSpec, cache: Path) -> tuple[Path, LoadedTask]:
    """A model beside the recipe of a search on these data."""
    task = load_task(spec, cache_root=cache)
    made = make_model(place / "model", task.task.classes)
    write_recipe(place / "best_strategy.json", recipe(task=task.task, spec=spec))
    return made, task


@pytest.mark.parametrize(("searched", "asked"), [("?per_class=8", ""), ("", "?per_class=8")])
def test_other_options_do_not_hide_that_a_split_is_another_one(
    searched: str, asked: str, tmp_path: Path
) -> None:
    """Images that the model was trained on were judged as its test split, without a word."""
    folder, table = grouped(tmp_path / "photos")
    cache = tmp_path / "cache"
    spec = TaskSpec(dataset=f"{folder}{searched}", seed=3, group_from=table)
    made, task = shipped(tmp_path / "run", spec, cache)
    without = load_task(TaskSpec(dataset=f"{folder}{asked}", seed=3), cache_root=cache)
    assert {*without.indices["test"]} & {*task.indices["train"]}  # it would have been so
    given = f"{folder}{asked}"
    for split in ("test", "validation"):
        with pytest.raises(
            DataError, match=rf"the {split} split of the model's own .*got another one of photos"
        ):
            evaluate(made, given, split=split, cache_root=cache)
    found = evaluate(made, given, split="test", group_from=table, cache_root=cache)
    assert (found.images, found.notes) == (task.task.splits.test, ())
    stated = evaluate(made, TaskSpec(dataset=given, seed=3), split="test", cache_root=cache)
    assert "some of these images may have been trained on" in stated.notes[0]
    trained = evaluate(made, given, split="train", cache_root=cache)
    assert trained.notes == ("The model was trained on these images.",)
    draw(folder / "ant" / "new.png", 7)  # of a patient of its own, and the splits are drawn anew
    with Path(table).open("a") as file:
        file.write("ant/new.png,another\n")
    with pytest.raises(DataError, match="where the images are others by now, leave --split out"):
        evaluate(made, given, split="test", group_from=table, cache_root=cache)


def test_patches_of_another_size_are_no_test_split(tmp_path: Path) -> None:
    """Bands of photographs are drawn for each size: what tests at one size trains at another."""
    cache = tmp_path / "cache"
    made, task = shipped(tmp_path / "run", TaskSpec(dataset="textures", seed=3), cache)
    assert evaluate(made, "textures", split="test", cache_root=cache).images == task.task.splits.test
    with pytest.raises(DataError, match=r"got another one of textures\?patch=64"):
        evaluate(made, "textures?patch=64", split="test", cache_root=cache)


def test_an_excluded_image_is_not_judged_whether_or_not_a_split_is_named(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--exclude` did nothing without `--split`, and was not even looked for."""
    listed = tmp_path / "list.csv"
    listed.write_text("image,from\nant/00.png,everything\ndog/00.png,everything\nbee/00.png,training\n")
    found = evaluate(model, folder, exclude=str(listed), cache_root=tmp_path / "cache")
    assert (found.images, found.not_judged.other_classes) == (72, {"dog": 10})
    assert (found.by_class[0].images, found.by_class[1].images) == (39, 25)
    listed.write_text("image,from\nwolf/00.png,everything\n")
    for name, rule in ((listed, "must be one of the dataset's"), ("none.csv", "must be an existing .csv")):
        code, _, err = said(
            capsys, "evaluate", model, folder, "--exclude", name, "--cache", tmp_path / "cache"
        )
        assert code == 2
        assert rule in " ".join(err.split())


def test_what_the_model_fixes_is_not_set(model: Path, folder: Path, tmp_path: Path) -> None:
    """It was overwritten without a word."""
    with pytest.raises(
        ConfigurationError, match=r"must be left to the model .*got resolution=64, fit='crop'"
    ):
        evaluate(model, folder, resolution=64, fit="crop", cache_root=tmp_path)


def test_what_cannot_be_is_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"must hold model\.json"):
        evaluate(tmp_path, folder)
    with pytest.raises(DataError, match="no such name"):
        evaluate(model, "nowhere", cache_root=tmp_path)
    with pytest.raises(ConfigurationError, match="split must be one of"):
        evaluate(model, folder, split="dev", cache_root=tmp_path)  # type: ignore[arg-type]
    for number in range(2):
        draw(tmp_path / "other" / "ANT" / f"{number}.png", number)
        draw(tmp_path / "other" / "wasp" / f"{number}.png", 10 + number)
    with pytest.raises(DataError, match="'ANT' differs in its capitals only"):
        evaluate(model, tmp_path / "other", cache_root=tmp_path / "cache")


def said(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main([str(each) for each in arguments])
    out, err = capsys.readouterr()
    return int(ended.value.code or 0), out, err


def test_the_command_prints_writes_and_refuses(
    model: Path, folder: Path, found: Evaluation, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = ("--cache", tmp_path / "cache")
    code, out, err = said(capsys, "evaluate", model, folder, "--json", "-", *cache)
    assert code == 0
    assert json.loads(out) == json.loads(found.to_json())
    page, facts = tmp_path / "e.html", tmp_path / "e.json"
    code, out, err = said(capsys, "evaluate", model, folder, "--json", facts, "--html", page, *cache)
    assert (code, facts.read_text()) == (0, found.to_json())
    assert f"accuracy {100 * found.accuracy:.2f}%" in out
    assert "11 images are not judged" in out
    assert "bee/broken.png" in out
    assert page.read_text().count("<img ") == len(found.worst)
    for arguments in (
        (tmp_path / "gone", folder),
        (model, "nowhere"),
        (model, folder, "--split", "dev"),
        (model, folder, "--html", tmp_path / "no" / "such.html"),
        (model, folder, "--json", tmp_path),
        (model, folder, "--json", facts, "--html", tmp_path / "." / "e.json"),
    ):
        code, out, err = said(capsys, "evaluate", *arguments, *cache)
        assert (code, out) == (2, "")
        assert "Traceback" not in err


def test_a_table_of_labels_and_a_data_frame_are_datasets(
    found: Evaluation, model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("[0-9]*.png"))]
    rows = {"path": files, "kind": [file.split("/")[0] for file in files]}
    table = tmp_path / "labels.csv"
    table.write_text("path,kind\n" + "".join(f"{f},{k}\n" for f, k in zip(*rows.values(), strict=True)))
    code, out, err = said(
        capsys, "evaluate", model, table, "--images", folder, "--columns", "file=path,label=kind", "--json",
        "-", "--cache", tmp_path / "cache",
    )  # fmt: skip
    assert code == 0, err
    from_table = json.loads(out)
    frame = pandas.DataFrame(rows)
    columns = {"file": "path", "label": "kind"}
    from_frame = evaluate(model, frame, images=folder, columns=columns, cache_root=tmp_path / "cache")
    for key in ("images", "accuracy", "nll", "confusion"):
        assert from_table[key] == json.loads(found.to_json())[key] == json.loads(from_frame.to_json())[key]


def test_another_range_of_pixels_is_said(model: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for word, images in (("12 bits", rng.integers(0, 4096, (8, 32, 32)).astype(np.uint16)), ("", rng.integers(0, 256, (8, 32, 32)).astype(np.uint8))):  # fmt: skip
        np.savez(tmp_path / "a.npz", images=images, labels=np.array(["ant", "bee"] * 4))
        notes = evaluate(model, tmp_path / "a.npz", cache_root=tmp_path / "cache").notes
        assert [word in note for note in notes] == ([True] if word else [])


def test_a_split_that_nobody_says_how_to_draw_is_refused(model: Path, folder: Path, tmp_path: Path) -> None:
    """Without its recipe a model does not know which images were its test split."""
    with pytest.raises(
        DataError, match=r"the test split must be the one that the model's search has drawn, got no"
    ):
        evaluate(model, folder, split="test", cache_root=tmp_path)
    stated = tmp_path / "stated"
    for number in range(6):
        for name in ("ant", "bee"):
            draw(stated / ("train", "test")[number % 2] / name / f"{number}.png", number)
    assert evaluate(model, stated, split="test", cache_root=tmp_path).images == 6
    spec = TaskSpec(dataset=str(folder), on_bad_image="skip", seed=3)  # somebody says how
    assert evaluate(model, spec, split="test", cache_root=tmp_path).images > 0
