"""Initialisers: the distributions they promise, the same weights for the same seed."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from automl_transfer.domain import methods
from automl_transfer.errors import ConfigurationError
from automl_transfer.transfer.initialise.layers import initialise

FAN_IN, FAN_OUT = 64 * 9, 128 * 9


def filled(name: str, seed: int = 0) -> nn.Conv2d:
    layer = nn.Conv2d(64, 128, 3)
    with torch.no_grad():
        layer.weight.normal_(0.3, 0.7, generator=torch.Generator().manual_seed(9))
        layer.bias.fill_(5.0)
    initialise(layer, name, torch.Generator().manual_seed(seed))
    return layer


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("he_normal", 0.0, math.sqrt(2 / FAN_IN)),
        ("he_uniform", 0.0, math.sqrt(2 / FAN_IN)),
        ("xavier_normal", 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("xavier_uniform", 0.0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
        ("normal", 0.0, 0.05),
        ("uniform", 0.0, 0.05 / math.sqrt(3)),
        ("trunc_normal", 0.0, 0.02 * 0.8796),
        ("mean_var", 0.3, 0.7),
        ("zero", 0.0, 0.0),
    ],
)
def test_mean_and_spread_are_those_of_the_distribution(name: str, mean: float, std: float) -> None:
    weight = filled(name).weight.detach()
    assert float(weight.mean()) == pytest.approx(mean, abs=0.02 * max(std, 0.01))
    assert float(weight.std()) == pytest.approx(std, rel=0.01)


def test_uniform_and_truncated_ones_stay_within_their_bounds() -> None:
    bounds = {
        "he_uniform": math.sqrt(6 / FAN_IN),
        "xavier_uniform": math.sqrt(6 / (FAN_IN + FAN_OUT)),
        "uniform": 0.05,
        "trunc_normal": 0.04,
    }
    for name, bound in bounds.items():
        furthest = float(filled(name).weight.detach().abs().max())
        assert 0.99 * bound < furthest <= bound * (1 + 1e-6)


def test_orthogonal_rows_are_orthogonal() -> None:
    rows = filled("orthogonal").weight.detach().flatten(1)
    torch.testing.assert_close(rows @ rows.T, 2.0 * torch.eye(128), atol=1e-4, rtol=0.0)


def test_he_keeps_the_scale_of_grouped_convolutions() -> None:
    layer = nn.Conv2d(512, 512, 3, groups=512)
    initialise(layer, "he_normal", torch.Generator().manual_seed(0))
    assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / 9), rel=0.05)


@pytest.mark.parametrize("name", methods.built_in("rest_init"))
def test_a_seed_decides_the_weights_and_biases_are_zero(name: str) -> None:
    first, again, other = filled(name), filled(name), filled(name, seed=1)
    assert torch.equal(first.weight, again.weight)
    assert name == "zero" or not torch.equal(first.weight, other.weight)
    assert not first.bias.detach().any()


@pytest.mark.parametrize("role", methods.METHODS)
def test_every_method_that_is_named_is_there(role: methods.Role) -> None:
    assert all(callable(methods.get(role, name)) for name in methods.built_in(role))


def test_an_unknown_name_is_answered_with_the_list() -> None:
    with pytest.raises(ConfigurationError, match=r"rest_init must be one of he_normal, .*zero, got 'lsuv'"):
        methods.get("rest_init", "lsuv")


def test_norm_layers_start_afresh() -> None:
    norm = nn.BatchNorm2d(4)
    with torch.no_grad():
        norm.weight.fill_(3.0)
        norm.bias.fill_(2.0)
    norm.running_mean.fill_(1.0)  # type: ignore[union-attr]
    norm.running_var.fill_(9.0)  # type: ignore[union-attr]
    initialise(nn.Sequential(norm, nn.LayerNorm(4)), "zero", torch.Generator())
    assert norm.weight.tolist() == [1.0] * 4
    assert norm.bias.tolist() == [0.0] * 4
    assert norm.running_mean.tolist() == [0.0] * 4  # type: ignore[union-attr]
    assert norm.running_var.tolist() == [1.0] * 4  # type: ignore[union-attr]


def test_a_transformer_is_initialised_whole_and_by_its_seed() -> None:
    timm = pytest.importorskip("timm")

    def made(seed: int) -> nn.Module:
        torch.manual_seed(seed + 100)  # what was there before must not matter
        net = timm.create_model("deit3_small_patch16_224", img_size=32, num_classes=0)
        blocks = nn.ModuleList([net.blocks[0], net.patch_embed])
        blocks.register_parameter("pos_embed", nn.Parameter(torch.randn(1, 5, 8)))
        initialise(blocks, "trunc_normal", torch.Generator().manual_seed(seed))
        return blocks

    first, again, other = made(0), made(0), made(1)
    for (name, one), two, three in zip(
        first.named_parameters(), again.parameters(), other.parameters(), strict=True
    ):
        assert torch.equal(one, two), name
        assert one.dim() < 2 or not torch.equal(one, three), name
    gamma = dict(first.named_parameters())["0.ls1.gamma"]
    assert float(gamma.detach().abs().max()) <= 1e-3  # layer scale keeps its own small start
