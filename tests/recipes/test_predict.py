import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from recipes_by_hand import FIXED, make_task, recipe

from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.errors import DataError, SourceError
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.model_folder import save_model
from automl_transfer.recipes.predict import Predictor
from automl_transfer.recipes.predictions import Prediction, write_csv, write_json_lines

CLASSES = make_task().classes


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs") / "model"
    save_model(
        folder,
        build_from_description("torchvision/resnet18", 2, 1, 1, 3, 32),
        architecture="torchvision/resnet18",
        in_channels=1,
        resolution=32,
        classes=CLASSES,
        normalisation=FIXED,
        recipe=recipe(),
    )
    return folder


@pytest.fixture
def predictor(model: Path) -> Predictor:
    return Predictor.load(model)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Seven images of several modes and sizes, two of them unreadable, under foreign names."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "bilder größe"
    (folder / "tiefer").mkdir(parents=True)
    for number in range(3):
        pixels = rng.integers(0, 256, (32, 32), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    Image.fromarray(rng.integers(0, 256, (40, 50, 4), dtype=np.uint8)).save(folder / "tiefer" / "猫.png")
    Image.fromarray(rng.integers(0, 256, (300, 200, 3), dtype=np.uint8)).save(folder / "rgb.jpg")
    whole = (folder / "rgb.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.txt").write_text("no image")
    return folder


def test_a_folder_file_by_file(predictor: Predictor, images: Path) -> None:
    found = {Path(p.file).name: p for p in predictor.predict(images, batch=2, top=2)}
    assert set(found) == {"0.png", "1.png", "2.png", "猫.png", "rgb.jpg", "half.jpg", "empty.png"}
    for name in ("half.jpg", "empty.png"):
        assert found[name].label is None
        assert name in (found[name].error or "")
    for name in ("0.png", "猫.png", "rgb.jpg"):
        prediction = found[name]
        assert prediction.error is None
        assert prediction.label in CLASSES
        assert prediction.top[0] == (prediction.label, prediction.probability)
        assert len(prediction.top) == 2
        assert prediction.top[0][1] >= prediction.top[1][1]


def test_probabilities_are_the_softmax_of_the_logits(predictor: Predictor, images: Path) -> None:
    pixels = np.stack([np.asarray(Image.open(images / f"{n}.png"))[..., None] for n in range(3)])
    expected = torch.softmax(torch.from_numpy(predictor.logits(pixels)).double(), dim=1).numpy()
    for number, prediction in enumerate(predictor.predict([images / f"{n}.png" for n in range(3)])):
        assert dict(prediction.top) == pytest.approx(dict(zip(CLASSES, expected[number], strict=True)))


def test_files_and_arrays_give_the_same(predictor: Predictor, images: Path) -> None:
    pixels = np.stack([np.asarray(Image.open(images / f"{n}.png")) for n in range(3)])
    of_files = list(predictor.predict([str(images / f"{n}.png") for n in range(3)], batch=3))
    of_arrays = list(predictor.predict(pixels, batch=3))
    assert [p.top for p in of_files] == [p.top for p in of_arrays]
    assert [p.file for p in of_arrays] == ["0", "1", "2"]


def test_arrays_of_any_size_and_channels(predictor: Predictor) -> None:
    rng = np.random.default_rng(1)
    for shape in ((2, 50, 40), (2, 50, 40, 1), (2, 9, 9, 3), (2, 32, 32, 4)):
        found = list(predictor.predict(rng.integers(0, 256, shape, dtype=np.uint8)))
        assert [p.error for p in found] == [None, None]
    assert list(predictor.predict(np.empty((0, 32, 32, 1), np.uint8))) == []


def test_d1_arrays_are_scaled_as_in_training(predictor: Predictor) -> None:
    """Floats were refused, and a model of 12-bit images would have seen other ones nearly black."""
    whole = np.random.default_rng(1).integers(0, 256, (2, 32, 32), dtype=np.uint8)
    whole[0, 0, :2] = 0, 255
    wanted = [p.top for p in predictor.predict(whole)]
    assert [p.top for p in predictor.predict(whole.astype(">i8"))] == wanted
    with pytest.raises(DataError, match="images must be scaled like the others, 8 bits"):
        predictor.predict(whole / 255)
    twelve = PixelRange(low=0.0, high=4095.0, word="12 bits")
    scaled = predictor.description.model_copy(update={"pixel_range": twelve})
    camera = Predictor(predictor.model, scaled)
    assert [p.top for p in camera.predict(np.rint(whole * (4095 / 255)).astype(np.uint16))] == wanted
    with pytest.raises(DataError, match=r"in the range of the others, 12 bits .*, got 0 to 65535"):
        camera.predict(whole.astype(np.uint16) * 257)


def test_an_array_of_eight_bits_is_no_darker_than_the_file_of_it(predictor: Predictor, images: Path) -> None:
    """A model of 12-bit images took the array for numbers of 12 bits: 255 was nearly black, without a word."""
    twelve = PixelRange(low=0.0, high=4095.0, word="12 bits")
    camera = Predictor(predictor.model, predictor.description.model_copy(update={"pixel_range": twelve}))
    array = np.asarray(Image.open(images / "0.png"))[None]
    with pytest.raises(DataError, match=r"12 bits .*, got uint8, .* pass images \* \(4095 / 255\)"):
        camera.predict(array)
    (of_file,) = camera.predict(images / "0.png")
    (of_array,) = camera.predict(array * (4095 / 255))
    assert of_array.top == of_file.top


@pytest.mark.parametrize(
    "array",
    [np.zeros((2, 32, 32, 1), complex), np.zeros((32, 32), np.uint8), np.zeros((1, 32, 32, 2), np.uint8)],
)
def test_arrays_that_are_no_images(predictor: Predictor, array: np.ndarray) -> None:
    with pytest.raises(DataError, match="images must be an array of numbers"):
        predictor.predict(array)


def test_one_file_and_missing_files(predictor: Predictor, images: Path) -> None:
    (one,) = predictor.predict(str(images / "0.png"))
    assert one.error is None
    (none,) = predictor.predict(images / "none.png")
    assert none.label is None
    assert "none.png" in (none.error or "")


def test_a_folder_without_images(predictor: Predictor, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must hold images"):
        predictor.predict(tmp_path)


def test_one_bad_input_of_several_does_not_stop_the_rest(
    predictor: Predictor, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "leer").mkdir()
    given = [images / "0.png", tmp_path / "leer", "a\0b.png", images / "1.png"]
    found = list(predictor.predict(given, batch=1))
    assert [p.error is None for p in found] == [True, False, False, True]
    assert "must hold images" in (found[1].error or "")


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"top": 0}])
def test_impossible_numbers(predictor: Predictor, images: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be >= 1"):
        predictor.predict(images, **wrong)


def test_predictions_stream(predictor: Predictor, images: Path) -> None:
    taken: list[int] = []

    def endless():  # type: ignore[no-untyped-def]
        while True:
            taken.append(1)
            yield images / "0.png"

    stream = predictor.predict(endless(), batch=4)
    first = [next(stream) for _ in range(5)]
    stream.close()
    assert all(p.error is None for p in first)
    assert len(taken) <= 12  # one batch done, one begun, one ahead


def test_more_classes_wanted_than_there_are(predictor: Predictor, images: Path) -> None:
    (one,) = predictor.predict(images / "0.png", top=99)
    assert sum(p for _, p in one.top) == pytest.approx(1.0)


def test_logits_refuse_other_pixels(predictor: Predictor) -> None:
    with pytest.raises(DataError, match=r"uint8 \(N, 32, 32, 1\)"):
        predictor.logits(np.zeros((1, 16, 16, 1), np.uint8))


def test_not_finite_outputs_are_errors(predictor: Predictor, images: Path) -> None:
    with torch.no_grad():
        predictor.model.head.linear.bias[1] = float("nan")
    (one,) = predictor.predict(images / "0.png")
    assert (one.label, one.error) == (None, "the model's output is not finite")


def test_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"must hold model\.json"):
        Predictor.load(tmp_path)


ROWS = [
    Prediction("a,b.png", "katze", 0.75, (("katze", 0.75), ("hund", 0.25))),
    Prediction("caf\udce9.png", None, None, error="not an\nimage"),
]


def test_csv() -> None:
    stream = io.StringIO()
    written = write_csv(ROWS, stream, top=3)
    assert (written.rows, written.errors) == (2, 1)
    stream.getvalue().encode()
    table = list(csv.DictReader(io.StringIO(stream.getvalue())))
    assert table[0] == {
        "file": "a,b.png",
        "label": "katze",
        "probability": "0.750000",
        "label_2": "hund",
        "probability_2": "0.250000",
        "label_3": "",
        "probability_3": "",
        "error": "",
    }
    assert table[1]["file"] == "caf\\udce9.png"
    assert table[1]["error"] == "not an\\nimage"  # E5: one line
    assert list(csv.DictReader(io.StringIO("file,label,probability,error\n"))) == []


def test_json_lines() -> None:
    stream = io.StringIO()
    written = write_json_lines(ROWS, stream)
    assert (written.rows, written.errors) == (2, 1)
    lines = stream.getvalue().encode().splitlines()
    assert json.loads(lines[0]) == {
        "file": "a,b.png",
        "label": "katze",
        "probability": 0.75,
        "top": [{"label": "katze", "probability": 0.75}, {"label": "hund", "probability": 0.25}],
    }
    assert json.loads(lines[1])["error"] == "not an\nimage"
