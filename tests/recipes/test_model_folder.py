import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipes_by_hand import FIXED, make_task, recipe
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import OutputError, SourceError
from automl_transfer.files import file_sha256
from automl_transfer.models.heads import TargetModel, build_from_description
from automl_transfer.models.registry import get_source
from automl_transfer.recipes.best_strategy import read_recipe, write_recipe
from automl_transfer.recipes.model_folder import load_model, save_model
from automl_transfer.recipes.output import without_file
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.scores import Confirmed
from automl_transfer.recipes.shipped_as import Part, ShippedAs
from automl_transfer.training.evaluate import predict_logits
from automl_transfer.transfer.build import build_plan

ARCHITECTURE = "torchvision/resnet18"


def build(groups_kept: int = 2, pool: int = 2) -> TargetModel:
    torch.manual_seed(0)
    return build_from_description(ARCHITECTURE, groups_kept, pool, 1, 3, 32)


def save(folder: Path, model: TargetModel, replace: bool = False, **more: Any) -> None:
    task = make_task()
    save_model(
        folder,
        model,
        architecture=ARCHITECTURE,
        in_channels=1,
        resolution=32,
        classes=task.classes,
        normalisation=FIXED,
        replace=replace,
        **{"recipe": recipe(), **more},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "model"
    save(folder, build())
    return folder


@pytest.fixture
def saved(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "model"))


def edit(folder: Path, **changes: object) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def refusal(folder: Path) -> str:
    with pytest.raises(SourceError) as caught:
        load_model(folder)
    return str(caught.value)


def test_the_description_as_agreed_with_the_checkpoint_source(saved: Path) -> None:
    assert sorted(entry.name for entry in saved.iterdir()) == ["README.md", "model.json", "model.safetensors"]
    assert json.loads((saved / "model.json").read_text(encoding="utf-8")) == {
        "schema": "automl-transfer/model/1",
        "architecture": ARCHITECTURE,
        "groups_kept": 2,
        "pool": 2,
        "taps": 1,
        "resolution_scale": 1.0,
        "in_channels": 1,
        "resolution": 32,
        "classes": ["null", "eins", "二"],
        "normalisation": {"kind": "fixed", "mean": [0.5], "std": [0.25]},
        "weights_sha256": file_sha256(saved / "model.safetensors"),
        "identity": None,
    }
    names = set(load_file(saved / "model.safetensors"))
    assert {"head.linear.weight", "head.linear.bias"} < names
    assert all(name.startswith(("groups.", "head.linear.")) for name in names)
    backbone = get_source(f"checkpoint/@{saved}").load(1)
    assert len(backbone.groups) == 2


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> LoadedTask:
    return load_task(TaskSpec(dataset="digits?per_class=20"), cache_root=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("normalise", ["source", "dataset", "per_image"])
def test_a_plan_predicts_the_same_after_saving_and_loading_bit_for_bit(
    digits: LoadedTask, tmp_path: Path, normalise: str
) -> None:
    backbone = get_source("scratch/torchvision/resnet18").load(digits.task.channels)
    strategy = Strategy(
        source="scratch/torchvision/resnet18",
        tune_mode="closed_form",
        truncation=4,
        pool=2,
        normalise=normalise,
    )
    plan = build_plan(strategy, backbone, digits, seed=0, device=torch.device("cpu"))
    rows = digits.indices["test"]
    before = predict_logits(plan.model, digits.images, rows, plan.normaliser("cpu"))
    save_model(
        tmp_path / "model",
        plan.model,
        architecture=backbone.architecture,
        in_channels=digits.task.channels,
        resolution=digits.task.resolution,
        classes=digits.task.classes,
        normalisation=None if plan.mean is None or plan.std is None else (plan.mean, plan.std),
        recipe=recipe(task=digits.task),
    )
    predictor = Predictor.load(tmp_path / "model")
    after = predictor.logits(digits.images[rows], batch=len(rows))
    assert after.dtype == before.dtype
    assert np.array_equal(after, before)
    labels = [p.label for p in predictor.predict(digits.images[rows], batch=len(rows))]
    assert labels == [digits.task.classes[i] for i in before.argmax(axis=1)]


def test_saving_twice_gives_equal_files(whole: Path, tmp_path: Path) -> None:
    save(tmp_path / "again", build())
    for name in ("model.json", "model.safetensors", "README.md"):
        assert (tmp_path / "again" / name).read_bytes() == (whole / name).read_bytes()


def test_an_interrupted_save_leaves_nothing(tmp_path: Path) -> None:
    class Interrupted(TargetModel):
        def state_dict(self, *args: object, **kwargs: object) -> dict[str, torch.Tensor]:
            raise KeyboardInterrupt

    model = build()
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path / "model", Interrupted(model.groups, model.head))
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_is_replaced_on_demand_and_nothing_else_is(saved: Path) -> None:
    with pytest.raises(OutputError, match="must not exist yet"):
        save(saved, build())
    save(saved, build(groups_kept=3), replace=True)
    assert len(load_model(saved)[0].groups) == 3
    (saved / "thesis.tex").touch()
    with pytest.raises(OutputError, match=r"only a model folder is replaced, got .*thesis.tex"):
        save(saved, build(), replace=True)
    assert (saved / "thesis.tex").exists()
    (saved / "thesis.tex").rename(saved / ".DS_Store")  # what a system leaves everywhere
    save(saved, build(), replace=True)
    assert not (saved / ".DS_Store").exists()


@pytest.mark.parametrize("stage", ["writing", "between the renames"])
def test_a_save_that_fails_or_is_interrupted_leaves_the_earlier_model_and_its_recipe(
    saved: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    recipe, before = saved.parent / "best_strategy.json", (saved / "model.safetensors").read_bytes()
    recipe.write_text("earlier")

    def full(*_: object, **__: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        if target == saved and self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return rename(self, target)

    if stage == "writing":
        monkeypatch.setattr("safetensors.torch.save_file", full)
    else:
        monkeypatch.setattr(Path, "rename", interrupted)
    expected = OutputError if stage == "writing" else KeyboardInterrupt
    with pytest.raises(expected), without_file(recipe):
        save(saved, build(groups_kept=3), replace=True)
    monkeypatch.undo()
    assert recipe.read_text() == "earlier"
    assert (saved / "model.safetensors").read_bytes() == before
    assert sorted(path.name for path in saved.parent.iterdir()) == ["best_strategy.json", saved.name]


def test_a_file_in_the_place_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "model").touch()
    for replace in (False, True):
        with pytest.raises(OutputError):
            save(tmp_path / "model", build(), replace=replace)


def test_the_card_says_what_a_stranger_needs(saved: Path) -> None:
    card = (saved / "README.md").read_text(encoding="utf-8")
    for fact in (
        "`null`, `eins`, `二`",
        "accuracy 95.00% (95% interval 76.0 to 99.0%, 20 images)",
        "licence: Apache-2.0",
        "automl-transfer predict",
        "32x32 gray",
    ):
        assert fact in card


def test_the_card_of_several_networks_names_all_sources_and_whose_confirmation_it_is(tmp_path: Path) -> None:
    of = ("timm/resnet18", "timm/convnext_atto")
    parts = tuple(
        Part(trial=n, root_trial=n, strategy=Strategy(source=name), weights_sha256="0" * 64, share=0.5)
        for n, name in enumerate(of)
    )
    confirmed = Confirmed(accuracy=0.9, interval=(0.8, 0.95), runs=4, images=80)
    made = recipe()
    made = made.model_copy(
        update={
            "shipped_as": ShippedAs(kind="ensemble", parts=parts, images=20),
            "metrics": made.metrics.model_copy(update={"confirmation": confirmed}),
        }
    )
    save(tmp_path / "m", build(), recipe=made)
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "Of other parts: timm/convnext_atto, whose own licences hold as well." in card
    assert "- **Confirmed** (the winner alone): accuracy 90.00%" in card


def test_hostile_names_stay_text_in_the_card(tmp_path: Path) -> None:
    classes = ("a`b<script>", "c\n# d")
    task = make_task(name="<img src=x>[l](x)", classes=classes)
    model = build_from_description(ARCHITECTURE, 1, 1, 1, 2, 32)
    save_model(
        tmp_path / "m",
        model,
        architecture=ARCHITECTURE,
        in_channels=1,
        resolution=32,
        classes=classes,
        normalisation=None,
        recipe=recipe(task=task),
    )
    card = (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    assert "`a'b<script>`, `c # d`" in card
    assert "\\<img src=x\\>\\[l\\](x)" in card
    assert "\n# d" not in card


def test_names_that_are_the_same_and_temperatures_that_cannot_be(saved: Path) -> None:
    described = json.loads((saved / "model.json").read_text(encoding="utf-8"))
    edit(saved, classes=[described["classes"][0]] * len(described["classes"]))
    assert "the names of classes must differ, got" in refusal(saved)
    edit(saved, classes=described["classes"], calibration={"temperature": 1e-300})
    assert "calibration.temperature" in refusal(saved)


def test_not_a_model_folder(tmp_path: Path) -> None:
    assert "must hold model.json" in refusal(tmp_path)
    assert "must hold model.json" in refusal(tmp_path / "none")


def test_missing_weights(saved: Path) -> None:
    (saved / "model.safetensors").unlink()
    assert "must hold model.safetensors" in refusal(saved)


def test_damaged_weights(saved: Path) -> None:
    path = saved / "model.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert "must have the sha256 of model.json" in refusal(saved)


def test_weights_that_are_no_safetensors(saved: Path) -> None:
    path = saved / "model.safetensors"
    path.write_bytes(b"\x80\x02}q\x00." * 100)  # a pickle is never opened
    edit(saved, weights_sha256=file_sha256(path))
    assert "must be a safetensors file" in refusal(saved)


def test_e11_images_of_enormous_size_are_refused_before_a_network_is_built(saved: Path) -> None:
    edit(saved, resolution=4096, resolution_scale=8.0)
    assert "resolution x resolution_scale must be <= 4096 pixels, got 4096 x 8" in refusal(saved)


def test_d6_the_range_of_the_images_is_kept_and_said(tmp_path: Path) -> None:
    task = make_task(pixel_range=PixelRange(low=0.0, high=4095.0, word="12 bits"))
    save(tmp_path / "m", build(), pixel_range=task.pixel_range)
    assert load_model(tmp_path / "m")[1].pixel_range == task.pixel_range
    assert "Black is 0 and white is 4095" in (tmp_path / "m" / "README.md").read_text(encoding="utf-8")
    made = recipe(task=task)
    write_recipe(tmp_path / "r.json", made)
    assert read_recipe(tmp_path / "r.json").task.pixel_range == task.pixel_range
    assert "pixel_range" not in recipe().to_json()  # as before, for files of 8 bits


def test_tensors_that_do_not_fit(saved: Path) -> None:
    path = saved / "model.safetensors"
    tensors = load_file(path)
    tensors["head.linear.weight"] = torch.zeros(3, 7)
    tensors["extra"] = torch.zeros(1)
    del tensors["head.linear.bias"]
    save_file(tensors, path)
    edit(saved, weights_sha256=file_sha256(path))
    text = refusal(saved)
    assert "head.linear.bias: missing" in text
    assert "extra: unknown" in text
    assert "head.linear.weight: (3, 7)" in text


def test_a_description_of_other_weights(saved: Path) -> None:
    edit(saved, classes=["a", "b"])
    assert "head.linear.weight: (3, 256) torch.float32 must be (2, 256)" in refusal(saved)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "automl-transfer/model/3"}, "a newer automl-transfer"),
        ({"architecture": "torchvision/no_such_net"}, "no_such_net"),
        ({"groups_kept": 99}, "groups_kept must be 1 to"),
        ({"groups_kept": 0}, "groups_kept"),
        ({"pool": 3}, "pool"),
        ({"in_channels": 3}, "one mean and std per channel"),
        ({"classes": ["one"]}, "classes"),
        ({"surprise": 1}, "surprise: unknown field"),
        ({"normalisation": {"kind": "fixed", "mean": [0.5], "std": [0.0]}}, "normalisation"),
        ({"normalisation": {"kind": "magic"}}, "normalisation"),
    ],
)
def test_descriptions_that_cannot_be_right(saved: Path, change: dict[str, object], said: str) -> None:
    edit(saved, **change)
    assert said in refusal(saved)
