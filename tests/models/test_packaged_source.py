"""EfficientNet-Lite: proven by its logits, with a forward pass that shares no code with the package."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from automl_transfer.errors import SourceError
from automl_transfer.models.architectures import assemble, create_network, preprocessing
from automl_transfer.models.packaged import PACKAGED, Package, PackagedSource, reference_image
from automl_transfer.models.registry import get_source

SMALL = ((1, 1), (2, 2), (2, 2), (3, 2), (3, 1), (4, 2), (1, 1))  # repeats, stride
LARGER = ((1, 1), (3, 2), (3, 2), (4, 2), (4, 1), (5, 2), (1, 1))
STAGES = {"efficientnet-lite0": SMALL, "efficientnet-lite1": LARGER, "efficientnet-lite2": LARGER}
LITE0 = PACKAGED["efficientnet-lite0"]
EPSILON = 1e-3


def convolve(x: Tensor, weight: Tensor, stride: int, groups: int = 1) -> Tensor:
    """TensorFlow's "SAME": as many outputs as ceil(size / stride), the odd pixel at the end."""
    size, kernel = x.shape[-1], weight.shape[-1]
    missing = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    before, after = missing // 2, missing - missing // 2
    return F.conv2d(F.pad(x, (before, after, before, after)), weight, stride=stride, groups=groups)


def plain_forward(x: Tensor, w: dict[str, Tensor], stages: tuple[tuple[int, int], ...]) -> Tensor:
    """EfficientNet-Lite in functions, on the file's own tensor names, in float64."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = w[f"{name}.running_mean"], w[f"{name}.running_var"]
        scale = w[f"{name}.weight"] / torch.sqrt(var + EPSILON)
        return x * scale.view(-1, 1, 1) + (w[f"{name}.bias"] - mean * scale).view(-1, 1, 1)

    x = norm(convolve(x, w["_conv_stem.weight"], 2), "_bn0").clamp(0, 6)
    block = 0
    for repeats, stride in stages:
        for repeat in range(repeats):
            name = f"_blocks.{block}"
            y = x
            if f"{name}._expand_conv.weight" in w:
                y = norm(F.conv2d(y, w[f"{name}._expand_conv.weight"]), f"{name}._bn0").clamp(0, 6)
            depthwise = w[f"{name}._depthwise_conv.weight"]
            y = convolve(y, depthwise, stride if repeat == 0 else 1, groups=len(depthwise))
            y = norm(y, f"{name}._bn1").clamp(0, 6)
            y = norm(F.conv2d(y, w[f"{name}._project_conv.weight"]), f"{name}._bn2")
            x = x + y if repeat > 0 else y
            block += 1
    x = norm(F.conv2d(x, w["_conv_head.weight"]), "_bn1").clamp(0, 6)
    return F.linear(x.mean(dim=(2, 3)), w["_fc.weight"], w["_fc.bias"])


def file_of(package: Package) -> dict[str, Tensor]:
    path = package.path()
    assert path is not None
    return torch.load(path, weights_only=True)


def reference_of(package: Package) -> Tensor:
    tensors = {name: tensor.double() for name, tensor in file_of(package).items()}
    return plain_forward(reference_image(package.resolution).double(), tensors, STAGES[package.name])


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    return file_of(LITE0)


@pytest.fixture(scope="module")
def reference() -> Tensor:
    return reference_of(LITE0)


def filled(architecture: str, tensors: dict[str, Tensor]) -> nn.Module:
    model = create_network(architecture)
    model.load_state_dict(dict(zip(model.state_dict(), tensors.values(), strict=True)))
    return model.eval()


@pytest.mark.parametrize("package", PACKAGED.values(), ids=PACKAGED)
@torch.no_grad()
def test_logits_and_the_loaded_source_are_those_of_the_plain_forward_pass(package: Package) -> None:
    reference = reference_of(package)
    stored = torch.tensor(package.logits, dtype=torch.float64)
    assert torch.allclose(reference[0, : len(stored)], stored, atol=1e-4)
    backbone, tensors = get_source(package.name).load(3), file_of(package)
    assert len(tensors) == (296 if package is LITE0 else 386)
    features = backbone.run(reference_image(package.resolution)).mean(dim=(2, 3))
    logits = F.linear(features, tensors["_fc.weight"], tensors["_fc.bias"])
    assert torch.allclose(logits.double(), reference, atol=1e-3)
    assert backbone.resolution == package.resolution


@torch.no_grad()
def test_groups_and_original_classifier_give_the_reference_logits(
    tensors: dict[str, Tensor], reference: Tensor
) -> None:
    model = filled(LITE0.architecture, tensors)
    stated = preprocessing(LITE0.architecture)
    backbone, tail = assemble(model, LITE0.architecture, 3, stated, pretrained=True)
    assert torch.allclose(tail(backbone(reference_image(LITE0.resolution))).double(), reference, atol=1e-3)


@torch.no_grad()
def test_wrong_padding_and_epsilon_load_without_error_and_are_refused(
    tensors: dict[str, Tensor], reference: Tensor
) -> None:
    wrong = filled("timm/efficientnet_lite0", tensors)
    assert (wrong(reference_image(LITE0.resolution)).double() - reference).abs().max() > 0.5
    with pytest.raises(SourceError, match="padding or epsilon"):
        PackagedSource(LITE0.name, "timm/efficientnet_lite0").load(3)


@torch.no_grad()
def test_photographs_are_recognised(tensors: dict[str, Tensor]) -> None:
    data = pytest.importorskip("skimage.data")
    model = filled(LITE0.architecture, tensors)
    expected = {"chelsea": range(281, 286), "coffee": range(967, 969)}  # cats; espresso and cup
    for name, classes in expected.items():
        image = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None].float() / 127.5 - 1
        side = min(image.shape[2:])
        top, left = (image.shape[2] - side) // 2, (image.shape[3] - side) // 2
        image = image[:, :, top : top + side, left : left + side]
        image = F.interpolate(image, (224, 224), mode="bicubic", antialias=True)
        assert int(model(image).argmax()) in classes, name


@pytest.mark.parametrize("package", PACKAGED.values(), ids=PACKAGED)
def test_states_what_it_is(package: Package) -> None:
    source = get_source(package.name)
    info, backbone = source.info(), source.load(3)
    assert (info.licence, info.available, info.architecture) == ("Apache-2.0", True, package.architecture)
    path = package.path()
    assert path is not None
    assert info.size_bytes == path.stat().st_size
    assert source.sha256() == package.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert len(backbone.groups) == 9
    assert backbone.group_names == tuple(f"g{number}" for number in range(1, 10))
    assert backbone.group_notes[0] == "stem"
    assert backbone.group_notes[-1] == "last convolution"
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)
    assert (backbone.pretrained, backbone.training) == (True, False)


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PACKAGED, LITE0.name, dataclasses.replace(LITE0, sha256="0" * 64))
    with pytest.raises(SourceError, match=r"must have the sha256 0000.*install"):
        get_source("efficientnet-lite0").load(3)


def test_each_load_is_independent() -> None:
    source = get_source("efficientnet-lite0")
    one, two = source.load(3), source.load(3)
    with torch.no_grad():
        next(one.parameters()).zero_()
    assert float(next(two.parameters()).detach().abs().sum()) > 0
