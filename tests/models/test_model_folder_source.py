"""Model folders of earlier runs as sources, and target models from their description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from automl_transfer.errors import SourceError
from automl_transfer.models.base import file_sha256
from automl_transfer.models.heads import TargetModel, build_from_description
from automl_transfer.models.registry import get_source

ARCHITECTURE = "timm/mobilenetv2_035"


def write(folder: Path, model: TargetModel, **changes: Any) -> str:
    folder.mkdir(exist_ok=True)
    save_file(model.state_dict(), folder / "model.safetensors")
    content = {
        "schema": "automl-transfer/model/1",
        "architecture": ARCHITECTURE,
        "groups_kept": 5,
        "pool": 2,
        "in_channels": 1,
        "resolution": 32,
        "classes": ["eins", "zwei", "三"],
        "normalisation": {"kind": "fixed", "mean": [0.4], "std": [0.2]},
        "weights_sha256": file_sha256(folder / "model.safetensors"),
    }
    content.update(changes)
    (folder / "model.json").write_text(json.dumps({k: v for k, v in content.items() if v is not ...}))
    return f"checkpoint/@{folder}"


@pytest.fixture
def model() -> TargetModel:
    torch.manual_seed(1)
    return build_from_description(ARCHITECTURE, 5, 2, 1, 3, 32)


@torch.no_grad()
def test_description_builds_the_model_that_was_saved(model: TargetModel) -> None:
    again = build_from_description(ARCHITECTURE, 5, 2, 1, 3, 32)
    again.load_state_dict(model.state_dict())
    images = torch.randn(2, 1, 32, 32)
    assert torch.equal(again(images), model(images))
    assert model(images).shape == (2, 3)
    assert len(model.groups) == 5
    assert not model.training


@torch.no_grad()
def test_earlier_model_is_a_source(model: TargetModel, tmp_path: Path) -> None:
    source = get_source(write(tmp_path / "früheres modell", model))
    info = source.info()
    assert (info.architecture, info.available) == (ARCHITECTURE, True)
    assert "5 groups" in info.note
    assert source.sha256() == file_sha256(tmp_path / "früheres modell" / "model.safetensors")
    backbone = source.load(1)
    assert len(backbone.groups) == len(backbone.group_notes) == 5
    assert (backbone.mean, backbone.std, backbone.resolution) == ((0.4,) * 3, (0.2,) * 3, 32)
    assert (backbone.pretrained, backbone.training, backbone.in_channels) == (True, False, 1)
    assert "head for 3 classes is not used" in backbone.notes[0]
    images = torch.randn(2, 1, 32, 32)
    expected = backbone(images)
    assert torch.equal(model.head.pool(expected), model.features(images))
    in_colour = source.load(3)(images.expand(-1, 3, -1, -1))
    assert torch.allclose(in_colour, expected, atol=1e-4 * float(expected.abs().max()))


def test_its_own_size_is_the_one_that_its_weights_were_trained_for(
    model: TargetModel, tmp_path: Path
) -> None:
    """It was the size of the task's images, which the network had enlarged: the profile never looked there."""
    assert get_source(write(tmp_path / "m", model, resolution_scale=2.0)).load(1).resolution == 64


def test_per_image_normalisation_is_said(model: TargetModel, tmp_path: Path) -> None:
    backbone = get_source(write(tmp_path / "m", model, normalisation={"kind": "per_image"})).load(1)
    assert any("normalised by itself" in note for note in backbone.notes)
    assert len(backbone.mean) == 3


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (
            {"schema": "automl-transfer/model/9"},
            r"must be automl-transfer/model/1 or .*, got 'automl-transfer/model/9'",
        ),
        ({"architecture": ..., "groups_kept": 0}, r"architecture: .*groups_kept: "),
        ({"architecture": "timm/nosuchnet"}, "no such timm architecture"),
        ({"groups_kept": 12}, r"groups_kept must be <= 9 .*, got 12"),
        ({"groups_kept": 6}, r"missing groups\.5\."),
        ({"groups_kept": 4}, r"unexpected groups\.4\."),
        (
            {"in_channels": 3, "normalisation": {"kind": "fixed", "mean": [0.1] * 3, "std": [1] * 3}},
            r"must be \(16, 3, 3, 3\), got \(16, 1, 3, 3\)",
        ),
        ({"weights_sha256": "0" * 64}, "damaged or was changed"),
        ({"normalisation": {"kind": "fixed", "mean": [0.1, 0.2], "std": [1, 1]}}, "one mean and std per"),
        ({"normalisation": {"kind": "fixed"}}, "mean: missing"),
        # FINDINGS E10: as strict as the reader of `predict`.
        ({"colour": "red"}, "colour: unknown field"),
        ({"classes": []}, "classes: "),
        ({"classes": ["eins", ""]}, r"classes\.1: "),
        ({"normalisation": {"kind": "fixed", "mean": [float("nan")], "std": [1]}}, "not a JSON number"),
        ({"resolution": "32"}, "resolution: .*, got '32'"),
        ({"pool": 3}, "pool: "),
    ],
)
def test_wrong_descriptions_are_refused(
    changes: dict[str, Any], text: str, model: TargetModel, tmp_path: Path
) -> None:
    name = write(tmp_path / "m", model, **changes)
    with pytest.raises(SourceError, match=f"(?s){text}"):
        get_source(name).load(1)


def test_folders_that_lack_a_part_are_refused(model: TargetModel, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"folder with model\.json"):
        get_source(f"checkpoint/@{tmp_path}")
    name = write(tmp_path / "m", model)
    (tmp_path / "m" / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"must hold model\.safetensors"):
        get_source(name)
    (tmp_path / "m" / "model.json").write_text('{"schema": ')
    with pytest.raises(SourceError, match="must be JSON"):
        get_source(name)
    (tmp_path / "m" / "model.json").write_text("[" * 100_000)
    with pytest.raises(SourceError, match="nest at most 32 deep"):
        get_source(name)
    (tmp_path / "m" / "model.json").write_text('{"schema": 1, "schema": 2}')
    with pytest.raises(SourceError, match="'schema' twice"):
        get_source(name)


def test_impossible_descriptions_are_refused() -> None:
    with pytest.raises(SourceError, match=r"1 to 9 .*, got 10"):
        build_from_description(ARCHITECTURE, 10, 1, 3, 2, 32)
    with pytest.raises(SourceError, match="large enough"):
        build_from_description("torchvision/alexnet", 7, 1, 3, 2, 32)
    assert build_from_description("torchvision/alexnet", 3, 1, 3, 2, 32).head.features == 384
