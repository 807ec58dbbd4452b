"""A packaged model answers as the trained one, and holds nothing of how it came to be."""

from __future__ import annotations

import getpass
import io
import json
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from recipes_by_hand import recipe
from safetensors import safe_open

import automl_transfer.recipes.package as packaging
from automl_transfer.domain.model_description import Calibration
from automl_transfer.errors import ConfigurationError, OutputError, SourceError
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.model_folder import save_model
from automl_transfer.recipes.package import ParityError, package
from automl_transfer.recipes.predict import Predictor
from automl_transfer.training.state import sha256_of

CLASSES = ("null", "eins", "二")
ARCHITECTURES = {
    "efficientnet": ("timm/tf_efficientnet_lite0", 4, 4, 32),
    "resnet": ("torchvision/resnet18", 2, 1, 32),
    "convnext": ("timm/convnext_atto", 3, 1, 32),
    "vit": ("timm/deit_tiny_patch16_224", 2, 2, 32),
}
FORMATS = {"safetensors": ".safetensors", "torch-export": ".pt2", "onnx": ".onnx"}
PER_IMAGE = None
FIXED = ((0.5, 0.4, 0.3), (0.25, 0.2, 0.3))

OF_TRAINING = re.compile(
    rb"optim|adamw|momentum|learning_?rate|weight_decay|num_batches|dropout|label_smooth|ridge|lambda|epoch|"
    rb"fingerprint|trial|digits-quick|requires_grad.: ?true|stack_trace|site-packages|\\.py\\W+line|Traceback",
    re.IGNORECASE,
)


def make_model(folder: Path, name: str, normalisation: Any = FIXED) -> Path:
    """A model folder with random weights whose norm layers have statistics of their own."""
    architecture, groups, pool, resolution = ARCHITECTURES[name]
    torch.manual_seed(0)
    model = build_from_description(architecture, groups, pool, 3, len(CLASSES), resolution)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2.0)  # type: ignore[union-attr]
            module.num_batches_tracked.fill_(7)  # type: ignore[union-attr]
    save_model(
        folder, model, architecture=architecture, in_channels=3, resolution=resolution, classes=CLASSES,
        normalisation=normalisation, recipe=recipe(),
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: make_model(folder / name, name) for name in ARCHITECTURES}


@pytest.fixture(autouse=True, scope="module")
def few_repeats() -> Iterator[None]:
    patch = pytest.MonkeyPatch()
    patch.setattr(packaging, "REPEATS", 1)
    yield
    patch.undo()


@pytest.mark.parametrize(("named", "wanted"), [("small", "small.safetensors"), ("v1.2", "v1.2.safetensors")])
def test_a_name_without_the_suffix_gets_it(
    models: dict[str, Path], tmp_path: Path, named: str, wanted: str
) -> None:
    """`predict` refused the file that `package -o NAME` had written."""
    made = package(models["convnext"], "safetensors", tmp_path / named)
    assert made.path == tmp_path / wanted
    assert [file.name for file in tmp_path.iterdir()] == [wanted]
    assert Predictor.load(made.path).description.classes == CLASSES
    with pytest.raises(OutputError, match="exists"):
        package(models["convnext"], "safetensors", tmp_path / named)


def texts(path: Path) -> bytes:
    """All readable text in a file, members of an archive unpacked."""
    raw = path.read_bytes()
    if zipfile.is_zipfile(io.BytesIO(raw)):
        with zipfile.ZipFile(path) as archive:
            raw += b"\n".join(archive.read(name) for name in archive.namelist())
    return b"\n".join(re.findall(rb"[ -~]{6,}", raw))


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_package_answers_as_the_trained_model(
    models: dict[str, Path], tmp_path: Path, name: str, format_: str
) -> None:
    predictor = Predictor.load(models[name])
    size = predictor.description.resolution
    pixels = np.random.default_rng(1).integers(0, 256, (5, size, size, 3), dtype=np.uint8)
    wanted = predictor.logits(pixels)
    mean, std = np.array(FIXED[0]), np.array(FIXED[1])
    normalised = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    made = package(models[name], format_, tmp_path / f"a{FORMATS[format_]}")
    for count in (1, 5):  # any number of images
        found = run(format_, made.path, normalised[:count])
        assert found.shape == (count, 3)
        assert np.abs(found - wanted[:count]).max() <= 1e-4
    assert made.difference <= 1e-4
    assert made.size_bytes == made.path.stat().st_size
    inside = texts(made.path)
    assert OF_TRAINING.findall(inside) == []
    for local in (
        str(models[name]),
        str(tmp_path),
        str(Path.cwd()),
        "/" + getpass.getuser(),
    ):
        assert local.encode() not in inside


@pytest.mark.parametrize("format_", FORMATS)
def test_pixels_in_and_probabilities_out(models: dict[str, Path], tmp_path: Path, format_: str) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    wanted = torch.softmax(torch.from_numpy(Predictor.load(models["resnet"]).logits(pixels)), 1).numpy()
    made = package(models["resnet"], format_, tmp_path / f"a{FORMATS[format_]}", preprocessing=True)
    assert np.abs(run(format_, made.path, pixels) - wanted).max() <= 1e-4
    assert OF_TRAINING.findall(texts(made.path)) == []


def run(format_: str, path: Path, images: np.ndarray) -> np.ndarray:
    """As a reader of the file would, without this project's helpers where the file holds the program."""
    if format_ == "onnx":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return np.asarray(session.run(None, {"images": images})[0])
    if format_ == "torch-export":
        with torch.inference_mode():
            return np.asarray(torch.export.load(str(path)).module()(torch.from_numpy(images)))
    from automl_transfer.recipes.packaging.registry import get_format

    return get_format("safetensors").open(path)(images)


def test_no_parameter_is_left_to_tune(models: dict[str, Path], tmp_path: Path) -> None:
    exported = torch.export.load(str(package(models["resnet"], "torch-export", tmp_path / "a.pt2").path))
    assert list(exported.parameters()) == []
    assert not any(tensor.requires_grad for tensor in exported.module().buffers())
    assert exported.example_inputs is None
    operators = {str(node.target) for node in exported.graph.nodes}
    assert not any("batch_norm" in name or "dropout" in name for name in operators)
    proto = onnx.load(str(package(models["resnet"], "onnx", tmp_path / "a.onnx").path))
    assert {node.op_type for node in proto.graph.node}.isdisjoint({"BatchNormalization", "Dropout"})
    assert [entry.key for entry in proto.metadata_props] == ["automl_transfer"]
    assert not any(node.metadata_props or node.doc_string for node in proto.graph.node)
    assert proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    loaded = Predictor.load(package(models["resnet"], "safetensors", tmp_path / "a.safetensors").path)
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_a_file_says_how_it_is_fed(models: dict[str, Path], tmp_path: Path) -> None:
    made = package(models["vit"], "onnx", tmp_path / "a.onnx", preprocessing=True)
    stated = json.loads(onnx.load(str(made.path)).metadata_props[0].value)
    assert stated["classes"] == list(CLASSES)
    assert stated["output"] == "probabilities"
    assert stated["normalisation"]["mean"] == list(FIXED[0])
    extra = {"automl_transfer.json": ""}
    torch.export.load(str(package(models["vit"], "torch-export", tmp_path / "a.pt2").path), extra_files=extra)
    assert json.loads(extra["automl_transfer.json"])["output"] == "logits"
    with safe_open(str(package(models["vit"], "safetensors", tmp_path / "a.safetensors").path), "pt") as file:
        assert set(file.metadata()) == {"automl_transfer"}


def test_images_normalised_by_themselves(tmp_path: Path) -> None:
    folder = make_model(tmp_path / "model", "resnet", PER_IMAGE)
    for format_ in ("torch-export", "onnx"):
        assert package(folder, format_, preprocessing=True).difference <= 1e-4


def test_a_head_on_several_groups_of_resized_images(tmp_path: Path) -> None:
    torch.manual_seed(0)
    name = "torchvision/resnet18"
    model = build_from_description(name, 3, 4, 3, len(CLASSES), 40, taps=2, resolution_scale=1.5)
    folder = tmp_path / "model"
    save_model(
        folder, model, architecture=name, in_channels=3, resolution=40, classes=CLASSES, normalisation=FIXED,
        recipe=recipe(),
    )  # fmt: skip
    for format_ in FORMATS:
        assert package(folder, format_).difference <= 1e-4


def large_logits(folder: Path, calibration: Calibration | None = None) -> Path:
    """A model whose logits are in the hundreds, as those of a solved head with a small lambda are."""
    torch.manual_seed(0)
    model = build_from_description("torchvision/resnet18", 3, 1, 3, len(CLASSES), 32)
    with torch.no_grad():
        model.head.linear.weight.mul_(3000.0)
    save_model(
        folder, model, architecture="torchvision/resnet18", in_channels=3, resolution=32, classes=CLASSES,
        normalisation=FIXED, recipe=recipe(), calibration=calibration,
    )  # fmt: skip
    return folder


def test_a_folder_is_no_file_to_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = large_logits(tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    for output in (".", "..", str(folder)):
        with pytest.raises(OutputError, match="must be a new file, got the folder"):
            package(folder, "safetensors", output)
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


def test_the_tolerance_is_a_share_of_the_logits(tmp_path: Path) -> None:
    """E17: logits near 60 differ by 4.9e-4, which is exact for numbers of 32 bits."""
    made = package(large_logits(tmp_path / "model"), "torch-export")
    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    largest = np.abs(Predictor.load(tmp_path / "model").logits(pixels)).max()
    assert largest > 50
    assert made.difference <= 1e-5 * largest


@pytest.mark.parametrize("format_", FORMATS)
def test_the_temperature_is_in_probabilities_and_beside_logits(tmp_path: Path, format_: str) -> None:
    folder = large_logits(tmp_path / "model", Calibration(temperature=40.0, images=9))
    pixels = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    logits = torch.from_numpy(Predictor.load(folder).logits(pixels))
    suffix = FORMATS[format_]
    made = package(folder, format_, tmp_path / f"p{suffix}", preprocessing=True)
    found = run(format_, made.path, pixels)
    assert np.abs(found - torch.softmax(logits / 40.0, 1).numpy()).max() < 1e-4
    made = package(folder, format_, tmp_path / f"l{suffix}")
    mean, std = np.array(FIXED[0]), np.array(FIXED[1])
    normalised = ((pixels / 255.0 - mean) / std).transpose(0, 3, 1, 2).astype(np.float32)
    assert np.abs(run(format_, made.path, normalised) - logits.numpy()).max() <= 1e-4 * logits.abs().max()
    assert made.description.temperature == 40.0
    if format_ == "safetensors":
        assert Predictor.load(made.path).description.temperature == 40.0


def test_the_same_model_gives_the_same_bytes(models: dict[str, Path], tmp_path: Path) -> None:
    for format_, suffix in (("torch-export", ".pt2"), ("onnx", ".onnx")):
        first = package(models["resnet"], format_, tmp_path / f"a{suffix}").path.read_bytes()
        assert package(models["resnet"], format_, tmp_path / f"b{suffix}").path.read_bytes() == first


def test_a_safetensors_package_predicts(models: dict[str, Path], tmp_path: Path) -> None:
    file = package(models["efficientnet"], "safetensors", tmp_path / "a.safetensors").path
    images = np.random.default_rng(0).integers(0, 256, (3, 50, 40, 3), dtype=np.uint8)
    packaged, trained = Predictor.load(file), Predictor.load(models["efficientnet"])
    assert [p.top for p in packaged.predict(images)] == [p.top for p in trained.predict(images)]
    before = {
        name: value.clone() for name, value in trained.model.state_dict().items() if "num_batches" not in name
    }
    assert all(torch.equal(value, packaged.model.state_dict()[name]) for name, value in before.items())
    assert sha256_of(packaged.model) != sha256_of(trained.model)  # the counters are gone


def test_what_exists_is_kept_and_what_is_wrong_is_not_written(
    models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = tmp_path / "a.onnx"
    there.write_text("mine")
    with pytest.raises(OutputError, match=r"must be a new file, got .*a\.onnx, which exists"):
        package(models["resnet"], "onnx", there)
    assert there.read_text() == "mine"
    with pytest.raises(OutputError, match="folder must exist"):
        package(models["resnet"], "onnx", tmp_path / "none" / "a.onnx")
    with pytest.raises(SourceError, match=r"must hold model\.json"):
        package(tmp_path, "onnx", tmp_path / "b.onnx")
    with pytest.raises(
        ConfigurationError, match="format must be one of safetensors, torch-export, onnx, got 'pickle'"
    ):
        package(models["resnet"], "pickle")
    monkeypatch.setattr(packaging, "TOLERANCE", -1.0)
    with pytest.raises(ParityError, match="must answer as the trained one"):
        package(models["resnet"], "safetensors", tmp_path / "b.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.onnx"]


def test_a_safetensors_file_of_someone_else(models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="must describe itself"):
        Predictor.load(models["resnet"] / "model.safetensors")
    broken = tmp_path / "a.safetensors"
    broken.write_bytes(b"\x08\0\0\0\0\0\0\0{}      x")
    with pytest.raises(SourceError, match="a\\.safetensors"):
        Predictor.load(broken)
