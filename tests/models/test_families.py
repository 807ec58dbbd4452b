"""Layer groups of every family: proven, few, and usable on small images."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import MaxVit

from automl_transfer.errors import SourceError
from automl_transfer.models import network
from automl_transfer.models.architectures import Preprocessing, assemble, create_network
from automl_transfer.models.families.registry import FAMILIES
from automl_transfer.models.heads import PooledHead, TargetModel, truncate
from automl_transfer.models.network import Backbone, adapt_channels, keep_branches
from automl_transfer.models.registry import build_architecture
from automl_transfer.models.traits import branch_drops

STATED = Preprocessing((0.5,) * 3, (0.5,) * 3, 224)
NETWORKS = {  # the smallest of each family, its groups, and the smallest image of a power of two
    "timm/tf_efficientnet_lite0": (9, 32),
    "timm/mobilenetv3_small_050": (8, 32),
    "timm/mobilenetv2_035": (9, 32),
    "timm/resnet18": (9, 32),
    "timm/regnetx_002": (7, 32),
    "timm/convnext_atto": (10, 32),
    "timm/vit_tiny_patch16_224": (7, 32),
    "timm/deit_tiny_distilled_patch16_224": (7, 32),
    "timm/vit_wee_patch16_reg1_gap_256": (9, 32),
    "timm/swin_tiny_patch4_window7_224": (9, 32),
    "timm/densenet121": (8, 32),
    "timm/ghostnet_050": (7, 32),
    "torchvision/resnet18": (9, 32),
    "torchvision/regnet_x_400mf": (8, 32),
    "torchvision/convnext_tiny": (10, 32),
    "torchvision/efficientnet_b0": (9, 32),
    "torchvision/mobilenet_v2": (8, 32),
    "torchvision/mobilenet_v3_small": (9, 32),
    "torchvision/mnasnet0_5": (8, 32),
    "torchvision/shufflenet_v2_x0_5": (8, 32),
    "torchvision/squeezenet1_1": (9, 32),
    "torchvision/swin_t": (9, 32),
    "torchvision/densenet121": (8, 32),
    "torchvision/alexnet": (7, 64),
    "torchvision/vgg11": (7, 32),
    "torchvision/vit_b_16": (7, 32),
    "torchvision/googlenet": (6, 32),
}


@pytest.mark.parametrize("architecture", NETWORKS)
@torch.no_grad()
def test_groups_compute_the_network_at_every_cut(architecture: str) -> None:
    groups, smallest = NETWORKS[architecture]
    torch.manual_seed(0)
    model = create_network(architecture, classes=5).eval()
    side = 224 if architecture == "torchvision/vit_b_16" else 64  # torchvision's own takes nothing else
    images = torch.randn(2, 3, side, side)
    expected = model(images)
    backbone, tail = assemble(model, architecture, 3, STATED, pretrained=False)
    assert len(backbone.groups) == groups == len(backbone.group_notes)
    assert not any(group.training for group in backbone.groups)
    assert torch.allclose(tail(backbone(images)), expected, rtol=1e-4, atol=1e-5)
    half = groups // 2
    assert torch.equal(backbone.run(backbone.run(images, stop=half), half), backbone(images))
    for kept, shape in enumerate(backbone.shapes(smallest), 1):
        for grid in (1, 2, 4):
            head = PooledHead([shape], 5, grid, backbone.prefix_tokens)
            assert type(head.linear) is nn.Linear
            target = TargetModel(list(backbone.groups)[:kept], head).eval()
            if grid == 2 and kept not in (1, half, groups):
                continue
            small = torch.zeros(2, 3, smallest, smallest)
            assert target.features(small).shape == (2, head.features)
            if kept in (1, groups):
                assert target(small).shape == (2, 5)
                rest, below = target.run(small, 1)
                assert torch.equal(target(rest, 1, below), target(small))


def test_every_family_is_covered() -> None:
    seen = set()
    for architecture in NETWORKS:
        ancestors = type(create_network(architecture)).__mro__
        seen |= {f"{kind.__module__}.{kind.__qualname__}" for kind in ancestors}
    assert set(FAMILIES) - seen == {"timm.models.vgg.VGG"}  # half a gigabyte; tried by hand


@torch.no_grad()
@pytest.mark.parametrize(
    "architecture",
    [
        "torchvision/efficientnet_b0",
        "torchvision/convnext_tiny",
        "torchvision/swin_t",
        "timm/swin_tiny_patch4_window7_224",
    ],
)
def test_no_branch_is_left_out_that_no_strategy_leaves_out(architecture: str) -> None:
    """Libraries build networks with the stochastic depth that ImageNet was trained with: up to a half."""
    torch.manual_seed(0)
    backbone = build_architecture(architecture, 3)
    images = torch.randn(2, 3, 64, 64)
    expected = backbone(images)
    backbone.train()
    for layer in backbone.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert torch.equal(backbone(images), expected)
    assert next(branch_drops(backbone.groups), None) is not None  # `drop_path` finds its places


@torch.no_grad()
def test_branches_that_have_another_name_are_kept_as_well() -> None:
    torch.manual_seed(0)
    model = MaxVit(
        input_size=(64, 64), stem_channels=8, partition_size=2, block_channels=[8, 16], block_layers=[1, 1],
        head_dim=8, stochastic_depth_prob=0.9,
    )  # fmt: skip
    keep_branches(model)
    images = torch.randn(4, 3, 64, 64)
    expected = model.eval()(images)
    model.train()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    assert torch.equal(model(images), expected)


def test_fully_connected_layers_before_the_last_are_groups() -> None:
    backbone = build_architecture("torchvision/alexnet", 3)
    assert backbone.group_notes[-2:] == ("fully connected 1", "fully connected 2")
    assert backbone.shapes(64)[-2:] == ((4096,), (4096,))
    linear = [module for module in backbone.groups[-1].modules() if isinstance(module, nn.Linear)]
    assert [(layer.in_features, layer.out_features) for layer in linear] == [(4096, 4096)]


def test_images_that_are_too_small_are_refused_in_words() -> None:
    backbone = build_architecture("torchvision/alexnet", 3)
    with pytest.raises(SourceError, match=r"large enough for torchvision/alexnet.*got 32 pixels.*resolution"):
        backbone.shapes(32)


def test_shapes_for_enormous_images_are_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `model.json` that says 4,096 pixels took gigabytes before anything was predicted."""
    backbone = build_architecture("timm/convnext_atto", 3)
    run = backbone.shapes(64)
    monkeypatch.setattr(network, "MOST_RUN", 63)
    assert backbone.shapes(64) == run
    monkeypatch.undo()
    for group in backbone.groups:
        group.register_forward_hook(
            lambda group, inputs, output: pytest.fail("run") if not output.is_meta else None
        )
    assert backbone.shapes(4096, stop=2) == tuple((c, 64 * h, 64 * w) for c, h, w in run[:2])


def test_a_group_that_needs_values_is_run_for_its_shapes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "MOST_RUN", 8)
    backbone = build_architecture("timm/convnext_atto", 3)
    wanted = backbone.shapes(64)
    backbone.groups[1].register_forward_hook(
        lambda group, inputs, output: output * float(output.sum() * 0 + 1)
    )
    assert backbone.shapes(64) == wanted


def test_state_dict_names_say_what_the_tensors_are() -> None:
    names = build_architecture("timm/tf_efficientnet_lite0", 3).state_dict()
    assert "groups.0.conv_stem.weight" in names
    assert "groups.8.conv_head.weight" in names
    assert not any("classifier" in name for name in names)


@torch.no_grad()
def test_copies_and_shapes_leave_the_backbone_alone() -> None:
    backbone = build_architecture("timm/vit_tiny_patch16_224", 3)
    backbone.groups[2].train()
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    assert backbone.shapes(48)[0] == (10, 192)
    assert [group.training for group in backbone.groups[:4]] == [False, False, True, False]
    assert all(torch.equal(tensor, before[name]) for name, tensor in backbone.state_dict().items())
    backbone.eval()
    images = torch.randn(1, 3, 48, 48)
    copied = copy.deepcopy(backbone)
    next(copied.parameters()).zero_()
    assert not torch.equal(copied(images), backbone(images))


class Shuffled(nn.Module):
    """Runs its children in another order than it names them."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(3, 3, 3, padding=1)
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.second(self.first(x).relu()).mean((2, 3)))


class Overwriting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.convolution(x.relu_())


class InPlace(nn.Module):
    """Its second layer overwrites the first one's output."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 3, 1)
        self.two = Overwriting()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.two(self.one(x))).flatten(1))


class Loose(nn.Module):
    """Has a weight outside of its children."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))
        self.one = nn.Conv2d(3, 3, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.pool(self.one(x) * self.scale).flatten(1))


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Shuffled(), "differ|do not run"),
        (InPlace(), "changes its input in place"),
        (Loose(), "scale is part of 0 groups"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Linear(99, 2)), "fails on random images"),
    ],
)
def test_networks_that_cannot_be_cut_are_refused(model: nn.Module, reason: str) -> None:
    with pytest.raises(SourceError, match=f"(?s)own/net.*{reason}"):
        assemble(model, "own/net", 3, STATED, pretrained=False)


@torch.no_grad()
@pytest.mark.parametrize(
    "architecture",
    ["timm/tf_efficientnet_lite0", "timm/vit_tiny_patch16_224", "torchvision/resnet18", "torchvision/swin_t"],
)
def test_gray_networks_answer_as_rgb_ones_on_gray_images(architecture: str) -> None:
    rgb = build_architecture(architecture, 3)
    gray = copy.deepcopy(rgb)
    adapt_channels(gray, 1)
    images = torch.randn(2, 1, 64, 64)
    expected = rgb(images.expand(-1, 3, -1, -1))
    scale = float(expected.abs().max())
    assert float((gray(images) - expected).abs().max()) <= 1e-4 * scale
    adapt_channels(gray, 3)  # and back: the filters are spread over RGB evenly
    assert float((gray(images.expand(-1, 3, -1, -1)) - expected).abs().max()) <= 1e-4 * scale


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_numbers_of_channels_are_refused(channels: int) -> None:
    with pytest.raises(SourceError, match=f"1 .gray. or 3 .RGB., got {channels}"):
        build_architecture("timm/resnet18", channels)


def test_head_pools_maps_tokens_and_features() -> None:
    maps = torch.arange(2 * 3 * 4 * 4, dtype=torch.float32).view(2, 3, 4, 4)
    tokens = torch.cat([torch.full((2, 1, 3), 1e9), maps.flatten(2).transpose(1, 2)], dim=1)
    for grid in (1, 2, 4):
        by_maps = PooledHead([(3, 4, 4)], 5, grid).pool(maps)
        by_tokens = PooledHead([(17, 3)], 5, grid, prefix_tokens=1).pool(tokens)
        assert by_maps.shape == (2, 3 * grid * grid)
        assert torch.allclose(by_maps, by_tokens)
    # A map keeps its own cells where it has fewer than the grid; tokens that form no square are one cell.
    assert torch.equal(PooledHead([(3, 1, 1)], 5, 4).pool(maps[:, :, :1, :1]), maps[:, :, 0, 0])
    assert PooledHead([(3, 8)], 2, 2).pool(torch.zeros(1, 3, 8)).shape == (1, 8)
    assert PooledHead([(7,)], 5, 4)(torch.zeros(2, 7)).shape == (2, 5)
    with pytest.raises(SourceError, match="must be a map"):
        PooledHead([(1, 2, 3, 4)], 2)


@torch.no_grad()
def test_a_head_reads_several_outputs_and_goes_on_from_any_of_them() -> None:
    backbone = build_architecture("timm/resnet18", 3)
    images = torch.randn(2, 3, 32, 32)
    for taps, scale in ((1, 2.0), (3, 1.0), (6, 1.5)):
        model = truncate(backbone, 6, 5, pool=2, resolution=32, taps=taps, resolution_scale=scale)
        side = round(32 * scale)
        resized = torch.nn.functional.interpolate(images, size=(side, side), mode="bilinear")
        x, parts = resized if scale != 1.0 else images, []
        for group in backbone.groups[:6]:
            x = group(x)
            parts.append(torch.nn.functional.adaptive_avg_pool2d(x, min(2, x.shape[-1])).flatten(1))
        expected = torch.cat(parts[-taps:], dim=1)
        assert torch.allclose(model.features(images), expected, atol=1e-5)
        for stop in range(7):
            rest, below = model.run(images, stop) if stop else (images, None)
            assert (below is not None) == (6 - taps < stop < 6)
            assert torch.equal(model.features(rest, stop, below), model.features(images))
            assert torch.equal(model(rest, stop, below), model(images))
    with pytest.raises(SourceError, match=r"taps must be 1 to the groups kept \(2\), got 3"):
        truncate(backbone, 2, 5, taps=3)


def test_a_backbone_needs_a_note_for_each_group() -> None:
    with pytest.raises(ValueError, match="one note per group"):
        Backbone(
            "own/net",
            [nn.Identity()],
            [],
            in_channels=3,
            mean=(0,) * 3,
            std=(1,) * 3,
            resolution=8,
            pretrained=False,
        )
