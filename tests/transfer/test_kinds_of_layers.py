"""What counts as a norm layer, and what as a vector, in networks of timm and torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from small_plans import plan, small_backbone
from torch import nn
from torchvision.models.convnext import CNBlock

from automl_transfer.data.task import LoadedTask
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.initialise.layers import initialise


def names_that_train(task: LoadedTask, backbone: Backbone, **changes: Any) -> set[str]:
    model = plan(task, backbone=backbone, **changes).model
    return {name for name, p in model.named_parameters() if p.requires_grad and name.startswith("groups")}


def test_norm_layers_of_timms_own_train_and_freeze_as_others_do(task: LoadedTask) -> None:
    layers = pytest.importorskip("timm.layers")
    backbone = small_backbone()
    for group, width in zip(backbone.groups, (8, 12, 12, 16, 24), strict=True):
        group[1] = layers.RmsNorm2d(width)  # type: ignore[index]
    norms = {f"groups.{number}.1.weight" for number in range(5)}
    assert names_that_train(task, backbone, tune_mode="norm") == norms
    assert not names_that_train(task, backbone, tune_mode="full", norm_policy="frozen") & norms
    assert norms <= names_that_train(task, backbone, tune_mode="full", norm_policy="train")


def test_a_fresh_norm_layer_of_timms_own_has_its_own_start() -> None:
    layers = pytest.importorskip("timm.layers")
    rms, evo = layers.RmsNorm2d(4), layers.EvoNorm2dS0(8, group_size=4)
    for parameter in (*rms.parameters(), *evo.parameters()):
        nn.init.constant_(parameter, 7.0)
    initialise(nn.Sequential(rms, evo), "zero", torch.Generator())
    assert rms.weight.tolist() == [1.0] * 4
    assert (evo.weight.tolist(), evo.bias.tolist(), evo.v.tolist()) == ([1.0] * 8, [0.0] * 8, [1.0] * 8)


def with_torchvisions_block() -> Backbone:
    """Its top group ends with a block of torchvision's ConvNeXt, whose layer scale is (24, 1, 1)."""
    backbone = small_backbone()
    backbone.groups[4].append(CNBlock(24, 1e-6, 0.0).eval())  # type: ignore[operator]
    return backbone


def test_the_layer_scale_of_torchvisions_convnext_does_not_decay(task: LoadedTask) -> None:
    found = plan(task, backbone=with_torchvisions_block(), tune_mode="full", weight_decay=0.1)
    decays = {id(p): group["weight_decay"] for group in found.parameter_groups for p in group["params"]}
    block = found.model.groups[4][3]  # type: ignore[index]
    assert isinstance(block, CNBlock)
    assert block.layer_scale.shape == (24, 1, 1)
    assert decays[id(block.layer_scale)] == 0.0
    kernels = [p for p in block.parameters() if p.dim() > 1 and p is not block.layer_scale]
    assert [decays[id(kernel)] for kernel in kernels] == [0.1] * 3


def test_a_fresh_layer_scale_lets_its_branch_pass(task: LoadedTask) -> None:
    """As one that is a plain vector does; it was drawn around zero."""
    found = plan(task, backbone=with_torchvisions_block(), transfer_depth=4, tune_mode="full")
    block = found.model.groups[4][3]  # type: ignore[index]
    assert isinstance(block, CNBlock)
    assert block.layer_scale.unique().tolist() == [1.0]


def test_a_kernel_of_one_pixel_is_drawn_and_a_gain_beside_one_is_not() -> None:
    layers = pytest.importorskip("timm.layers")
    pixel, gained = nn.Conv2d(64, 64, 1, groups=64), layers.ScaledStdConv2d(64, 64, 3)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        pixel.weight.normal_(0.3, 0.7, generator=generator)
        gained.weight.normal_(0.3, 0.7, generator=generator)
        gained.gain.fill_(5.0)
    before = pixel.weight.clone(), gained.weight.clone()
    initialise(nn.Sequential(pixel, gained), "mean_var", generator)
    for old, new in zip(before, (pixel.weight, gained.weight), strict=True):
        assert not torch.equal(old, new)
        assert float(new.detach().mean()) == pytest.approx(float(old.detach().mean()), abs=0.3)
        assert float(new.detach().std()) == pytest.approx(float(old.detach().std()), rel=0.3)
    assert gained.gain.unique().tolist() == [1.0]
