"""Bottleneck adapters: the identity at first, the paper's formula later, on four families, and shipped with the model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from automl_transfer.api import train
from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.dimensions import ALL_TRAITS
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.strategy import DIMENSIONS, Strategy
from automl_transfer.errors import ConfigurationError, SourceError
from automl_transfer.models.adapters import Adapter, adapters_in, insert_adapters
from automl_transfer.models.architectures import build_architecture, create_network
from automl_transfer.models.grouping import Layout
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.recipes.model_folder import load_model
from automl_transfer.recipes.package import package
from automl_transfer.recipes.predict import Predictor
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.plan import TransferPlan

CPU = torch.device("cpu")
FAMILIES = ("mobilenetv2_035", "test_resnet", "test_convnext", "test_vit")
ADAPTERS: dict[str, Any] = {
    "tune_mode": "adapter", "adapter_width": 5, "learning_rate": 1e-2, "batch": 32, "norm_policy": "frozen",
}  # fmt: skip


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> LoadedTask:
    cache = tmp_path_factory.mktemp("cache")
    return load_task(TaskSpec(dataset="digits?per_class=6", resolution=32), cache_root=cache)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Backbone]]:
    found = {}
    for name in FAMILIES:
        torch.manual_seed(0)
        path = tmp_path_factory.mktemp("weights") / f"{name}.safetensors"
        save_file({k: t.contiguous() for k, t in create_network(f"timm/{name}").state_dict().items()}, path)
        source = f"checkpoint/timm/{name}@{path}"
        found[name] = source, get_source(source).load(1)
    return found


def plan_of(source: tuple[str, Backbone], task: LoadedTask, **changes: Any) -> TransferPlan:
    strategy = Strategy(source=source[0], **{**ADAPTERS, **changes})
    return build_plan(strategy, source[1], task, seed=0, device=CPU)


def images(plan: TransferPlan, task: LoadedTask) -> torch.Tensor:
    rows = task.indices["train"][:8]
    return plan.normaliser(CPU)(torch.from_numpy(np.ascontiguousarray(task.images[rows])))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_prediction_is_the_unchanged_networks_and_only_adapters_and_head_move(
    task: LoadedTask, backbones: dict[str, tuple[str, Backbone]], family: str
) -> None:
    plan = plan_of(backbones[family], task)
    plain = plan_of(backbones[family], task, tune_mode="full")
    found = adapters_in(plan.model)
    assert found
    assert not adapters_in(backbones[family][1])  # the source's network stays as it is
    with torch.no_grad():
        torch.testing.assert_close(
            plan.model(images(plan, task)), plain.model(images(plan, task)), atol=0, rtol=0
        )
    before = {name: p.detach().clone() for name, p in plan.model.named_parameters()}
    run = TrainingRun(plan, task, max_epochs=2, seed=0, device=CPU)
    list(run.epochs())
    moved = {name for name, p in plan.model.named_parameters() if not torch.equal(p.detach(), before[name])}
    assert {name for name in moved if ".up." not in name and ".down." not in name} <= {
        "head.linear.weight", "head.linear.bias",
    }  # fmt: skip
    assert all(any(f".{end}." in name for name in moved) for end in ("up", "down"))
    assert plan.trained_parameters < 0.7 * plan.parameters


def test_norm_layers_move_where_the_policy_says_so(
    task: LoadedTask, backbones: dict[str, tuple[str, Backbone]]
) -> None:
    for policy in ("frozen", "adapt", "train"):
        model = plan_of(backbones["test_resnet"], task, norm_policy=policy).model
        norms = [m for m in model.groups.modules() if isinstance(m, nn.BatchNorm2d)]
        assert {m.weight.requires_grad for m in norms} == {policy == "train"}


@pytest.mark.parametrize("maps", [True, False])
def test_the_formula_by_hand(maps: bool) -> None:
    """Houlsby et al. 2019, figure 2: b + U gelu(D b + d) + u at each position."""
    adapter = Adapter(6, 3, maps)
    generator = torch.Generator().manual_seed(0)
    for parameter in adapter.parameters():
        parameter.data.normal_(generator=generator)
    branch = torch.randn((2, 6, 4, 4) if maps else (2, 5, 6), generator=generator)
    state = {name: tensor.numpy() for name, tensor in adapter.state_dict().items()}
    down, up = state["down.weight"].reshape(3, 6), state["up.weight"].reshape(6, 3)
    d, u = state["down.bias"], state["up.bias"]
    rows = branch.movedim(1, -1).numpy() if maps else branch.numpy()
    hidden = rows.astype(np.float64) @ down.T + d
    hidden = hidden * 0.5 * (1.0 + np.vectorize(math.erf)(hidden / math.sqrt(2.0)))
    wanted = rows + hidden @ up.T + u
    got = adapter(branch).detach()
    np.testing.assert_allclose((got.movedim(1, -1) if maps else got).numpy(), wanted, atol=1e-5)


class _Branch(nn.Module):
    """A residual block on (B, C, H, W) maps or, as Swin's, on (B, H, W, C)."""

    def __init__(self, channels: int, maps: bool) -> None:
        super().__init__()
        self.layer = nn.Conv2d(channels, channels, 1) if maps else nn.Linear(channels, channels)
        self.drop_path = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch: torch.Tensor = self.drop_path(self.layer(x))
        return x + branch


@pytest.mark.parametrize("maps", [True, False])
@pytest.mark.parametrize("side", [8, 16])
def test_adapters_find_the_channels_of_maps_as_large_as_these_are_many(maps: bool, side: int) -> None:
    """Swin-T at 384 pixels has maps of 96 x 96 with 96 channels; here eight channels meet eight places."""
    inside = [_Branch(8, maps)] if maps else [Layout(0, 2, 3, 1), _Branch(8, maps), Layout(0, 3, 1, 2)]
    backbone = Backbone(
        "small", [nn.Sequential(nn.Conv2d(1, 8, 4, stride=4), *inside), nn.Conv2d(8, 12, side // 2 + 1)], ("a", "b"),
        in_channels=1, mean=(0.5,), std=(0.25,), resolution=4 * side, pretrained=False,
    )  # fmt: skip
    (adapter,) = insert_adapters(backbone, 2, 4 * side)
    assert isinstance(adapter.down, nn.Conv2d if maps else nn.Linear)
    assert adapter.down.weight.shape[:2] == (2, 8)
    assert backbone(torch.zeros(1, 1, 4 * side, 4 * side)).shape[1] == 12


@pytest.mark.parametrize("family", ["mobilenetv2_035", "test_vit"])
def test_a_model_with_adapters_is_saved_loaded_and_packaged(
    backbones: dict[str, tuple[str, Backbone]], family: str, tmp_path: Path
) -> None:
    trained = train(
        "digits?per_class=6", settings={**ADAPTERS, "source": backbones[family][0], "drop_path": 0.1},
        epochs=1, refit=False, output=tmp_path / "run", device="cpu",
    )  # fmt: skip
    model, described = load_model(trained.model)
    assert described.adapter == 5
    assert adapters_in(model)
    made = package(trained.model, "safetensors", tmp_path / "packed")
    assert made.difference < 1e-4
    assert Predictor.load(made.path).description.adapter == 5
    with pytest.raises(SourceError, match="holds adapters of width 5"):
        get_source(f"checkpoint/@{trained.model}")


def test_a_network_without_residual_blocks(task: LoadedTask) -> None:
    assert DIMENSIONS["tune_mode"].excluded_by(ALL_TRAITS - {"residual_blocks"}) == (
        "adapter needs residual blocks that can be left out: it has none",
    )
    plain = build_architecture("torchvision/squeezenet1_1", 1)
    with pytest.raises(ConfigurationError, match="no residual blocks, got torchvision/squeezenet1_1"):
        build_plan(Strategy(source="scratch", **ADAPTERS), plain, task, seed=0, device=CPU)
