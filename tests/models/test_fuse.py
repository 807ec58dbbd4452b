"""Batch norms folded into convolutions: the same function, the originals untouched, and never by mistake."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from automl_transfer.models.fuse import fused
from automl_transfer.models.registry import build_architecture

LEFT = {  # norms that no convolution feeds directly: densenet's stand in front of theirs
    "timm/tf_efficientnet_lite0": 0,
    "timm/densenet121": 62,
    "timm/ghostnet_050": 0,
    "torchvision/mobilenet_v3_small": 0,
    "torchvision/shufflenet_v2_x0_5": 0,
}


def norms(groups: list[nn.Module]) -> list[nn.BatchNorm2d]:
    return [module for group in groups for module in group.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize("architecture", LEFT)
@torch.no_grad()
def test_fused_groups_compute_the_same_function(architecture: str) -> None:
    generator = torch.Generator().manual_seed(0)
    groups = list(build_architecture(architecture, 3).eval().groups)
    for norm in norms(groups):  # statistics and affine parameters that a mistake would not survive
        for tensor, low, high in (
            (norm.running_mean, -0.3, 0.3),
            (norm.running_var, 0.5, 1.5),
            (norm.weight, 0.5, 1.5),
            (norm.bias, -0.3, 0.3),
        ):
            assert tensor is not None
            tensor.uniform_(low, high, generator=generator)
    before = copy.deepcopy([group.state_dict() for group in groups])
    images = torch.rand(3, 3, 64, 64, generator=generator)
    found = fused(groups, images[:1])
    assert len(norms(found)) == LEFT[architecture]
    x, y = images, images
    for group, other in zip(groups, found, strict=True):
        x, y = group(x), other(y)
        torch.testing.assert_close(y, x, atol=1e-4 * float(x.abs().max()), rtol=1e-4)
    for group, state in zip(groups, before, strict=True):
        now = group.state_dict()
        assert all(torch.equal(now[name], value) for name, value in state.items())


def test_groups_with_nothing_to_fold_are_the_same_objects() -> None:
    group = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU()).eval()
    assert fused([group], torch.rand(1, 3, 8, 8)) == [group]


class UsedTwice(nn.Module):
    """The convolution's output goes on beside its norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        nn.init.constant_(self.norm.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found + self.norm(found)


class RunsTwice(nn.Module):
    """One convolution feeds two norms, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.one, self.two = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        nn.init.constant_(self.two.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.two(self.conv(self.one(self.conv(x))))
        return found


@pytest.mark.parametrize("kind", [UsedTwice, RunsTwice])
def test_a_convolution_that_serves_others_keeps_its_norm(kind: type[nn.Module]) -> None:
    group = kind().eval()
    assert fused([group], torch.rand(1, 3, 8, 8)) == [group]


def test_norms_without_statistics_or_in_training_stay() -> None:
    x = torch.rand(2, 3, 8, 8)
    without = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, track_running_stats=False)).eval()
    training = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert fused([without], x) == [without]
    assert fused([training], x) == [training]
