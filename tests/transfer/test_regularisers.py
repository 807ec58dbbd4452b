"""Terms of single papers beside their formulas, worked out in numpy on the same tensors, to 1e-5."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from small_plans import CPU, plan, small_backbone, strategy
from torch import Tensor, nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import ConfigurationError
from automl_transfer.models.network import Backbone
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.terms.averages import EMA, Wise
from automl_transfer.transfer.terms.base import Term, hooked
from automl_transfer.transfer.terms.bss import BSS, shrinkage
from automl_transfer.transfer.terms.co_tuning import CALIBRATION, SCALE, CoTuning
from automl_transfer.transfer.terms.delta import Delta, distance, rises
from automl_transfer.transfer.terms.dropping import BranchDrop, Dropout, DropPath
from automl_transfer.transfer.terms.stoch_norm import StochNorm

WITHIN: dict[str, float] = {"rtol": 1e-5, "atol": 1e-5}


def with_head(backbone: Backbone, classes: int = 7) -> Backbone:
    """The same network with a classifier of its own."""
    torch.manual_seed(1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(24, classes)).eval()
    backbone._source_head = (head,)
    return backbone


def images_of(found: TransferPlan, task: LoadedTask, count: int = 12) -> tuple[Tensor, Tensor]:
    rows = task.indices["train"][:count]
    pixels = torch.from_numpy(np.ascontiguousarray(task.images[rows]))
    return found.normaliser(CPU)(pixels), torch.from_numpy(task.labels[rows].astype(np.int64))


def only(found: TransferPlan, kind: type[Term]) -> Any:
    (term,) = (term for term in found.terms if type(term) is kind)
    return term


def added(found: TransferPlan, term: Term, x: Tensor, labels: Tensor) -> Tensor:
    """What the term adds to the loss of a training step."""
    found.model.train()
    with hooked([term]):
        logits = found.model(x)
        loss = term.loss((x, None), logits, labels)
    assert loss is not None
    return loss


@pytest.mark.parametrize("shape", [(5, 6, 3, 4), (5, 9, 6), (5, 6)], ids=["maps", "tokens", "features"])
def test_the_distance_of_delta(shape: tuple[int, ...]) -> None:
    """Li et al. 2019, eq. 5 and 6; the authors' code sums over the batch where this is its mean."""
    torch.manual_seed(0)
    one, other, weights = torch.randn(shape), torch.randn(shape), torch.softmax(torch.randn(6), 0)
    a, b = ((t.transpose(1, 2) if len(shape) == 3 else t).numpy().reshape(5, 6, -1) for t in (one, other))
    for chosen, w in ((weights, weights.numpy()), (None, np.full(6, 1 / 6))):
        expected = 0.0
        for image in range(5):
            for channel in range(6):
                norm = np.linalg.norm(a[image, channel] - b[image, channel])
                expected += 0.5 * 6 * w[channel] * norm**2 / a.shape[2] / 5
        torch.testing.assert_close(float(distance(one, other, chosen)), float(expected), **WITHIN)


@torch.no_grad()
def test_the_attention_of_delta_is_how_much_the_loss_rises_without_a_channel(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", anchor="delta", head_init="ridge", taps=2, resolution_scale=2.0)
    model = found.model.eval()
    x, labels = images_of(found, task, 9)
    whole = float(nn.functional.cross_entropy(model(x), labels))
    term = only(found, Delta)
    for number, width in enumerate((8, 12, 12, 16, 24)):
        expected = []
        for channel in range(width):
            handle = model.groups[number].register_forward_hook(
                lambda _, __, output, c=channel: output * (torch.arange(output.shape[1]) != c)[:, None, None]
            )
            expected.append(float(nn.functional.cross_entropy(model(x), labels)) - whole)
            handle.remove()
        torch.testing.assert_close(rises(model, number, x, labels, 5), torch.tensor(expected), **WITHIN)
        torch.testing.assert_close(float(term._weights[number].sum()), 1.0)


def test_delta_is_zero_at_the_start_and_half_the_square_of_what_moved(task: LoadedTask) -> None:
    found = plan(task, tune_mode="suffix", freeze_depth=2, anchor="delta", anchor_weight=0.5)
    term, model = only(found, Delta), found.model
    assert model.frozen_prefix == 1
    assert term._weights == {}, "a head that is zero says nothing about channels"
    x, labels = images_of(found, task)
    x = model.run(x, 1)[0]

    def loss() -> Tensor:
        with hooked([term]):
            return term.loss((x, None), model(x, 1), labels)  # type: ignore[no-any-return]

    assert not loss().any()
    start = [output_of(model, x, number) for number in range(1, 5)]
    with torch.no_grad():
        model.groups[2][0].weight.mul_(1.1)  # type: ignore[index, operator, union-attr]
    now = [output_of(model, x, number) for number in range(1, 5)]
    expected = sum(
        0.5 * float((a - b).square().mean((2, 3)).sum(1).mean()) for a, b in zip(now, start, strict=True)
    )
    value = loss()
    torch.testing.assert_close(float(value.detach()), 0.5 * expected, **WITHIN)
    value.backward()  # type: ignore[no-untyped-call]
    assert model.groups[2][0].weight.grad.any()  # type: ignore[index, union-attr]


def output_of(model: Any, x: Tensor, number: int) -> Tensor:
    with torch.no_grad():
        for group in list(model.groups)[1 : number + 1]:
            x = group(x)
    return x


@pytest.mark.parametrize(("rows", "columns"), [(6, 10), (10, 6)])
def test_bss_is_the_smallest_singular_values_squared(rows: int, columns: int) -> None:
    """Chen et al. 2019, eq. 8: eigenvalues of the smaller Gram matrix are the squares."""
    torch.manual_seed(0)
    features = torch.randn(rows, columns, dtype=torch.float32).requires_grad_()
    array = features.detach().double().numpy()
    gram = array @ array.T if rows <= columns else array.T @ array
    values, vectors = np.linalg.eigh(gram)
    for k in (1, 3):
        torch.testing.assert_close(float(shrinkage(features, k).detach()), float(values[:k].sum()), **WITHIN)
    shrinkage(features, 1).backward()  # type: ignore[no-untyped-call]
    u = vectors[:, :1]  # of sigma^2 = |F^T u|^2: its gradient is 2 u u^T F
    expected = 2 * u @ u.T @ array if rows <= columns else 2 * array @ u @ u.T
    torch.testing.assert_close(features.grad, torch.from_numpy(expected).float(), **WITHIN)


def test_bss_penalises_what_the_head_reads(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", anchor="bss", anchor_weight=0.1, dropout=0.5, norm_policy="train")
    x, labels = images_of(found, task, 30)
    found.model.train()
    read = found.model.features(x)
    value = added(found, only(found, BSS), x, labels)
    torch.testing.assert_close(value, 0.1 * shrinkage(read, 1), **WITHIN)
    assert [type(term) for term in found.terms] == [BSS, Dropout], (
        "features are dropped after it has seen them"
    )


@pytest.mark.parametrize("soft", [False, True])
def test_co_tuning_is_the_cross_entropy_to_the_source_classes(task: LoadedTask, soft: bool) -> None:
    """You et al. 2020, section 3.2 (the direct approach) and eq. 4."""
    backbone = with_head(small_backbone())
    found = plan(task, backbone=backbone, tune_mode="full", anchor="co_tuning", anchor_weight=0.02)
    term, model, rows = only(found, CoTuning), found.model, task.indices["train"]
    model.eval()

    def source_logits(x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return np.asarray(term._head(top_of(model, x)).double())

    x, _ = images_of(found, task, len(rows))
    powers = np.exp(CALIBRATION * source_logits(x))
    answers = powers / powers.sum(1, keepdims=True)
    relation = np.stack([answers[task.labels[rows] == c].mean(0) for c in range(10)])
    np.testing.assert_allclose(term._relationship.numpy(), relation, atol=1e-5)

    x, labels = images_of(found, task)
    logits = source_logits(x)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    shares = np.eye(10)[labels.numpy()]
    shares = 0.7 * shares + 0.3 * shares[::-1] if soft else shares
    expected = -SCALE * 0.02 * ((shares @ relation) * logs).sum(1).mean()
    targets = torch.from_numpy(shares).float() if soft else labels
    torch.testing.assert_close(float(added(found, term, x, targets).detach()), float(expected), **WITHIN)


def top_of(model: Any, x: Tensor) -> Tensor:
    for group in model.groups:
        x = group(x)
    return x


def test_the_source_classifier_trains_with_the_body_and_is_kept(task: LoadedTask) -> None:
    backbone = with_head(small_backbone())
    untouched = [p.clone() for p in backbone.source_head.parameters()]  # type: ignore[union-attr]
    found = plan(task, backbone=backbone, tune_mode="full", anchor="co_tuning")
    (own,) = (group for group in found.parameter_groups if group["name"] == "terms")
    assert own["lr"] == found.strategy.learning_rate
    assert [p.shape for p in own["params"]] == [p.shape for p in untouched]
    with torch.no_grad():
        own["params"][0].add_(1.0)
    term = only(found, CoTuning)
    state = {name: tensor.clone() for name, tensor in term.state().items()}
    other = only(plan(task, backbone=backbone, tune_mode="full", anchor="co_tuning"), CoTuning)
    other.load_state(state)
    assert all(torch.equal(a, b) for a, b in zip(own["params"], other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(untouched, backbone.source_head.parameters(), strict=True))  # type: ignore[union-attr]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_stoch_norm_mixes_the_branches_channel_by_channel(task: LoadedTask, share: float) -> None:
    """Kou et al. 2020, eq. 4 to 6; the authors' code draws s = 1 for the batch's branch, of probability p."""
    found = plan(task, tune_mode="full", norm_policy="train", stoch_norm=share or 0.5)
    term = only(found, StochNorm)
    term.strength = share
    layer = found.model.groups[0][1]  # type: ignore[index]
    torch.manual_seed(3)
    x = torch.randn(6, 8, 5, 5) * 2 + 1
    moving = {name: b.double().numpy().copy() for name, b in layer.named_buffers()}  # type: ignore[union-attr]
    found.model.train()
    with hooked([term]):
        torch.manual_seed(5)
        y = layer(x).detach().numpy()  # type: ignore[operator]
    torch.manual_seed(5)
    by_moving = (torch.rand(8) < share).numpy()
    a = x.double().numpy()
    mean, var = a.mean((0, 2, 3)), a.var((0, 2, 3))
    mean_used = np.where(by_moving, moving["running_mean"], mean)
    var_used = np.where(by_moving, moving["running_var"], var)
    weight, bias = (p.detach().double().numpy() for p in layer.parameters())  # type: ignore[union-attr]
    shaped = [v[None, :, None, None] for v in (mean_used, var_used, weight, bias)]
    expected = (a - shaped[0]) / np.sqrt(shaped[1] + 1e-5) * shaped[2] + shaped[3]
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    unbiased = a.var((0, 2, 3), ddof=1)
    np.testing.assert_allclose(
        layer.running_var.numpy(), 0.9 * moving["running_var"] + 0.1 * unbiased, rtol=1e-5
    )  # type: ignore[union-attr]
    assert share != 0.5 or 0 < by_moving.sum() < 8
    again = layer(x).detach().numpy()  # type: ignore[operator]
    usual = (a - mean[None, :, None, None]) / np.sqrt(var[None, :, None, None] + 1e-5) * shaped[2] + shaped[3]
    np.testing.assert_allclose(
        again, usual, rtol=1e-5, atol=1e-5
    )  # outside of training steps, nothing is mixed


def test_stoch_norm_has_the_gradients_of_the_branch_that_it_takes(task: LoadedTask) -> None:
    """Where every channel takes its moving statistics, those of the same norm in evaluation mode."""
    found = plan(task, tune_mode="full", norm_policy="train", stoch_norm=1.0)
    layer = found.model.groups[0][1]  # type: ignore[index]
    still = copy.deepcopy(layer).eval()
    torch.manual_seed(3)
    x, outwards = torch.randn(6, 8, 5, 5) * 2 + 1, torch.randn(6, 8, 5, 5)
    found.model.train()
    gradients = []
    for norm in (layer, still):
        seen = x.clone().requires_grad_()
        with hooked([only(found, StochNorm)] if norm is layer else []):
            norm(seen).backward(outwards)  # type: ignore[operator]
        gradients.append([seen.grad, *(parameter.grad for parameter in norm.parameters())])  # type: ignore[union-attr]
    assert not torch.equal(layer.running_mean, still.running_mean)  # type: ignore[arg-type, union-attr]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_dropout_drops_features_while_training_only(task: LoadedTask) -> None:
    found = plan(task, tune_mode="head", dropout=0.25, pool=4)
    x, _ = images_of(found, task, 30)
    seen: list[Tensor] = []
    found.model.train()
    read = found.model.features(x)
    with hooked(found.terms):
        found.model.head.linear.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        found.model(x)
    kept = seen[0] != 0
    torch.testing.assert_close(seen[0][kept], (read / 0.75)[kept])
    assert 0.2 < float(((read != 0) & ~kept).sum() / (read != 0).sum()) < 0.3
    found.model(x)
    assert torch.equal(seen[1], read)


def test_branches_are_dropped_more_often_higher_up() -> None:
    drop = BranchDrop(0.5)
    torch.manual_seed(0)
    branch = torch.ones(1000, 3, 2, 2)
    dropped = drop(branch)
    assert {0.0, 2.0} == set(dropped.unique().tolist())
    assert torch.equal(dropped.amax((1, 2, 3)), dropped.amin((1, 2, 3)))
    assert 0.9 < float(dropped.mean()) < 1.1
    assert torch.equal(drop.eval()(branch), branch)


class Block(nn.Module):
    """A residual block as timm builds it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)
        self.drop_path = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.drop_path(self.conv(x))
        return x + branch


def test_the_rates_rise_linearly(task: LoadedTask) -> None:
    """Huang et al. 2016, eq. 4."""
    backbone = small_backbone()
    backbone.groups = nn.ModuleList([backbone.groups[0], nn.Sequential(Block(), Block()), Block(), Block()])
    backbone.group_notes = backbone.group_notes[:4]
    found = plan(task, backbone=backbone, tune_mode="full", drop_path=0.2)
    assert type(only(found, DropPath)) is DropPath
    drops = [m for m in found.model.modules() if isinstance(m, BranchDrop)]
    assert [drop.rate for drop in drops] == pytest.approx([0.05, 0.1, 0.15, 0.2])
    assert not any(isinstance(m, BranchDrop) for m in backbone.modules())
    frozen = plan(task, backbone=backbone, tune_mode="suffix", freeze_depth=8, drop_path=0.2).model.train()
    x, _ = images_of(found, task, 3)
    assert torch.equal(frozen.features(x), frozen.eval().features(x))


def test_an_average_follows_the_weights(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", ema=0.9, norm_policy="train")
    term, weight = only(found, EMA), found.model.groups[1][0].weight  # type: ignore[index]
    expected = weight.detach().double().numpy().copy()  # type: ignore[union-attr, operator]
    for step in range(1, 200):
        with torch.no_grad():
            weight.add_(0.1)  # type: ignore[union-attr, operator]
        term.stepped()
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach().double().numpy()  # type: ignore[union-attr, operator]
    shown = term.shown(dict(found.model.state_dict()))
    np.testing.assert_allclose(shown["groups.1.0.weight"].numpy(), expected, rtol=1e-5)
    other = only(plan(task, tune_mode="full", ema=0.9, norm_policy="train"), EMA)
    other.load_state(term.state())
    assert other._steps == 199
    assert torch.equal(
        other.shown({"groups.1.0.weight": weight})["groups.1.0.weight"], shown["groups.1.0.weight"]
    )


def test_wise_weights_lie_on_the_way(task: LoadedTask) -> None:
    """Wortsman et al. 2022, eq. 1."""
    found = plan(task, tune_mode="full", wise_alpha=0.25, head_init="ridge", norm_policy="train")
    start = {name: tensor.clone() for name, tensor in found.model.state_dict().items()}
    now = {name: tensor + 1 for name, tensor in start.items()}
    shown = only(found, Wise).shown(now)
    for name, tensor in start.items():
        moved = 1 if name.endswith("num_batches_tracked") else 0.25
        torch.testing.assert_close(shown[name], tensor + moved)


def test_pruned_weights_are_the_smallest_of_each_layer(task: LoadedTask) -> None:
    """Han et al. 2015, section 3.1."""
    backbone = small_backbone()
    found = plan(task, backbone=backbone, transfer_depth=4, source_prune=0.5)  # 3 of 5 groups
    for number in range(5):
        before = backbone.groups[number][0].weight.detach()  # type: ignore[index, union-attr, operator]
        after = found.model.groups[number][0].weight.detach()  # type: ignore[index, union-attr, operator]
        if number >= 3:
            assert after.all()
            continue
        limit = float(before.abs().flatten().median())
        torch.testing.assert_close(after, torch.where(before.abs() > limit, before, torch.zeros(())))
    assert found.rows[0].init == "source, 50% pruned"
    # However weights lie in memory.
    last = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    again = plan(task, backbone=last, transfer_depth=4, source_prune=0.5)
    assert all(map(torch.equal, again.model.parameters(), found.model.parameters()))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchor": "co_tuning"}, "must not be co_tuning where the source comes without its own classifier"),
        ({"drop_path": 0.1}, "drop_path must be 0 where the network has no residual blocks, got 0.1"),
        (
            {"stoch_norm": 0.5, "norm_policy": "train"},
            "stoch_norm must be 0 where the network has no batch norms",
        ),
    ],
)
def test_what_a_source_cannot_take_is_a_clear_error(
    task: LoadedTask, changes: dict[str, Any], message: str
) -> None:
    backbone = small_backbone()
    if "stoch_norm" in changes:
        backbone.groups = nn.ModuleList([nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)])
        backbone.group_notes = ("one", "two")
    with pytest.raises(ConfigurationError, match=message):
        build_plan(strategy(tune_mode="full", **changes), backbone, task, seed=0, device=CPU)
