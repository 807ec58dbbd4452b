"""Plans: what is transferred, frozen, initialised and trained, and with which rate."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import numpy as np
import pytest
import torch
from small_plans import CPU, plan, small_backbone
from torch import nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import ConfigurationError, DataError, SourceError
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.terms.l2sp import L2SP


def trained(found: TransferPlan) -> set[str]:
    return {name for name, p in found.model.named_parameters() if p.requires_grad}


def weights(found: TransferPlan, group: int) -> torch.Tensor:
    return found.model.groups[group][0].weight.detach()  # type: ignore[index, return-value]


def norm(found: TransferPlan, group: int) -> nn.BatchNorm2d:
    return found.model.groups[group][1]  # type: ignore[index, return-value]


def test_transferred_groups_are_copied_and_the_rest_is_drawn(task: LoadedTask) -> None:
    backbone = small_backbone()
    found = plan(task, backbone=backbone, transfer_depth=4, tune_mode="full")  # 3 of 5 groups
    for group in range(5):
        same = torch.equal(weights(found, group), backbone.groups[group][0].weight)  # type: ignore[index]
        assert same == (group < 3)
        assert found.rows[group].transferred == (group < 3)
    assert float(norm(found, 4).weight.detach().min()) == 1.0
    assert not found.model.groups[4][0].bias.any()  # type: ignore[index]


def test_the_backbone_stays_as_it_is(task: LoadedTask) -> None:
    backbone = small_backbone()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    plan(task, backbone=backbone, transfer_depth=4, weight_scale=2.0, shrink=0.5, norm_policy="adapt")
    assert all(torch.equal(value, before[name]) for name, value in backbone.state_dict().items())
    assert all(p.requires_grad for p in backbone.parameters())


def test_truncation_ends_the_network_early(task: LoadedTask) -> None:
    found = plan(task, truncation=5, pool=2)
    assert len(found.model.groups) == 3
    assert found.model.head.linear.in_features == 12 * 4
    assert [row.name for row in found.rows] == ["g1", "g2", "g3", "head"]


def test_scratch_transfers_nothing_whatever_the_depth(task: LoadedTask) -> None:
    one = plan(task, backbone=small_backbone(False, seed=0), source="scratch", rest_init="xavier_normal")
    two = plan(task, backbone=small_backbone(False, seed=5), source="scratch", rest_init="xavier_normal")
    assert not any(row.transferred for row in one.rows)
    assert one.rows[0].init == "xavier_normal"
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, two.model.state_dict()[name]), name  # the seed alone decides


def test_mean_var_without_source_weights_is_he_and_says_so(task: LoadedTask) -> None:
    one = plan(task, backbone=small_backbone(False, seed=0), source="scratch", rest_init="mean_var")
    two = plan(task, backbone=small_backbone(False, seed=5), source="scratch", rest_init="mean_var")
    assert one.rows[0].init == "he_normal"
    assert torch.equal(weights(one, 0), weights(two, 0))


def test_the_seed_decides_every_random_choice(task: LoadedTask) -> None:
    changes: dict[str, Any] = {"transfer_depth": 4, "shrink": 0.5, "head_init": "he"}
    one, again, other = (plan(task, seed=seed, **changes).model.state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    for name in ("groups.0.0.weight", "groups.4.0.weight", "head.linear.weight"):
        assert not torch.equal(one[name], other[name])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tune_mode": "head"}, {"head"}),
        ({"tune_mode": "closed_form", "head_init": "ridge"}, set()),
        ({"tune_mode": "suffix", "freeze_depth": 4}, {"g4", "g5", "head"}),
        ({"tune_mode": "suffix", "freeze_depth": 8}, {"head"}),
        ({"tune_mode": "suffix", "freeze_depth": 8, "transfer_depth": 4}, {"g4", "g5", "head"}),
        ({"tune_mode": "full"}, {"g1", "g2", "g3", "g4", "g5", "head"}),
        ({"tune_mode": "body"}, {"g1", "g2", "g3", "g4", "g5"}),
    ],
)
def test_tune_mode_says_what_trains(task: LoadedTask, changes: dict[str, Any], expected: set[str]) -> None:
    found = plan(task, **changes)
    assert {row.name for row in found.rows if row.trained} == expected
    assert {row.name for row in found.rows if not row.frozen} == expected
    optimised = {id(p) for group in found.parameter_groups for p in group["params"]}
    assert optimised == {id(p) for p in found.model.parameters() if p.requires_grad}
    prefix = 0
    while prefix < 5 and f"g{prefix + 1}" not in expected:
        prefix += 1
    assert found.frozen_prefix == prefix


def test_norm_and_bias_modes_train_only_those_tensors_and_the_head(task: LoadedTask) -> None:
    head = {"head.linear.weight", "head.linear.bias"}
    norms = {f"groups.{g}.1.{name}" for g in range(5) for name in ("weight", "bias")}
    biases = {f"groups.{g}.{layer}.bias" for g in range(5) for layer in (0, 1)}
    assert trained(plan(task, tune_mode="norm", norm_policy="frozen")) == norms | head
    assert trained(plan(task, tune_mode="bias")) == biases | head


def test_frozen_groups_stay_in_evaluation_mode_whoever_calls_train(task: LoadedTask) -> None:
    model = plan(task, tune_mode="suffix", freeze_depth=4, norm_policy="train").model
    model.train()
    assert [norm_layer.training for norm_layer in (group[1] for group in model.groups)] == [False] * 3 + [
        True
    ] * 2
    before = {name: value.clone() for name, value in model.state_dict().items()}
    model(torch.randn(8, 1, 16, 16))
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert all(name.startswith(("groups.3.", "groups.4.")) for name in moved)


def test_frozen_norms_neither_move_nor_train_where_they_were_transferred(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", norm_policy="frozen", transfer_depth=4)
    found.model.train()
    assert [norm(found, g).training for g in range(5)] == [False] * 3 + [True] * 2
    assert [norm(found, g).weight.requires_grad for g in range(5)] == [False] * 3 + [True] * 2
    assert all(weights_.requires_grad for weights_ in (found.model.groups[g][0].weight for g in range(5)))  # type: ignore[index, union-attr]


def test_adapted_norms_take_the_targets_statistics_and_keep_them(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", norm_policy="adapt")
    first = norm(found, 0)
    rows = task.indices["train"]
    activation = found.model.groups[0][0](
        found.normaliser(CPU)(torch.from_numpy(np.array(task.images[rows])))
    )  # type: ignore[index]
    expected = activation.mean(dim=(0, 2, 3))
    torch.testing.assert_close(first.running_mean, expected, atol=1e-4, rtol=1e-3)
    found.model.train()
    assert not any(norm(found, g).training for g in range(5))
    assert first.weight.requires_grad
    assert first.momentum == 0.1


def test_rates_decay_downwards_from_the_top_group_and_multiply_at_the_head(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", learning_rate=0.01, layer_decay=0.5, head_lr_mult=10.0)
    rates = [row.learning_rate for row in found.rows]
    assert rates == pytest.approx([0.01 / 16, 0.01 / 8, 0.01 / 4, 0.01 / 2, 0.01, 0.1])
    for group in found.parameter_groups:
        name = group["name"].split(",")[0]
        assert group["lr"] == pytest.approx(next(r.learning_rate for r in found.rows if r.name == name))


def test_the_head_alone_takes_the_plain_rate(task: LoadedTask) -> None:
    found = plan(task, tune_mode="head", learning_rate=0.01, head_lr_mult=10.0)
    assert found.rows[-1].learning_rate == 0.01


def test_vectors_do_not_decay_and_groups_are_one_per_layer_and_decay(task: LoadedTask) -> None:
    found = plan(task, tune_mode="full", weight_decay=0.1)
    for group in found.parameter_groups:
        assert group["weight_decay"] == (0.1 if all(p.dim() > 1 for p in group["params"]) else 0.0)
        assert len({p.dim() > 1 for p in group["params"]}) == 1
    names = [group["name"] for group in found.parameter_groups]
    assert len(names) == len(set(names)) == 12


def test_an_anchor_holds_the_start_of_what_is_transferred_and_trains(task: LoadedTask) -> None:
    found = plan(task, tune_mode="suffix", freeze_depth=2, transfer_depth=7, anchor="l2sp", weight_decay=0.1)
    (term,) = found.terms
    assert isinstance(term, L2SP)
    names = set(term._start)
    held = {id(p) for name, p in found.model.named_parameters() if name in names}
    assert {name.split(".")[1] for name in names} == {"1", "2", "3"}  # g1 frozen, g5 not transferred
    for group in found.parameter_groups:
        if any(id(p) in held for p in group["params"]):
            assert group["weight_decay"] == 0.0
    assert any(g["weight_decay"] == 0.1 for g in found.parameter_groups if g["name"] == "head")
    assert plan(task, tune_mode="head", anchor="l2sp").terms == ()


def test_weight_scale_multiplies_transferred_convolutions_only(task: LoadedTask) -> None:
    plain = plan(task, transfer_depth=4)
    scaled = plan(task, transfer_depth=4, weight_scale=2.0)
    for group in range(5):
        factor = 2.0 if group < 3 else 1.0
        torch.testing.assert_close(weights(scaled, group), factor * weights(plain, group))
    assert torch.equal(norm(scaled, 0).weight, norm(plain, 0).weight)
    assert scaled.rows[0].init == "source x 2"


def test_shrink_and_perturb_has_the_stated_shrinkage_and_noise(task: LoadedTask) -> None:
    plain, moved = plan(task), plan(task, shrink=0.5, perturb=0.01)
    noise = torch.cat([(weights(moved, g) - 0.5 * weights(plain, g)).flatten() for g in range(5)])
    assert float(noise.std()) == pytest.approx(0.01, rel=0.05)
    assert float(noise.mean()) == pytest.approx(0.0, abs=1e-3)
    assert torch.equal(weights(plan(task, shrink=1.0, perturb=0.5), 0), weights(plain, 0))
    assert "shrunk" in moved.rows[0].init


def validation_scores(found: TransferPlan, task: LoadedTask) -> Any:
    rows = task.indices["validation"]
    logits = predict_logits(found.model, task.images, rows, found.normaliser(CPU), CPU)
    return scores(logits, task.labels[rows], len(task.task.classes))


def test_solved_heads_know_the_classes_before_any_training(task: LoadedTask) -> None:
    chance = validation_scores(plan(task, head_init="zero"), task)
    assert chance.nll == pytest.approx(np.log(10), rel=1e-5)
    ncm = validation_scores(plan(task, head_init="ncm", pool=4), task)
    ridge = validation_scores(plan(task, head_init="ridge", pool=4, ridge_lambda=0.1), task)
    assert ncm.accuracy > 0.6
    assert ridge.accuracy > 0.8
    assert ridge.nll < ncm.nll < chance.nll


def test_a_solved_head_on_random_groups_has_their_statistics_estimated(task: LoadedTask) -> None:
    scratch = {"source": "scratch", "head_init": "ridge", "tune_mode": "closed_form", "pool": 4}
    found = plan(task, backbone=small_backbone(False), ridge_lambda=0.1, **scratch)
    assert float(norm(found, 4).running_mean.abs().max()) > 0.0  # type: ignore[union-attr]
    assert validation_scores(found, task).accuracy > 0.7


@pytest.mark.parametrize(
    "changes",
    [
        {"tune_mode": "head"},
        {"tune_mode": "full", "phases": "lp_ft"},
        {"tune_mode": "full", "phases": "gradual", "norm_policy": "train"},
        {"tune_mode": "surgical", "block": "first"},
    ],
)
def test_random_groups_that_are_frozen_at_first_have_their_statistics_estimated(
    task: LoadedTask, changes: dict[str, Any]
) -> None:
    """Else their norms are identities, under a head that nothing solves."""
    source = small_backbone()
    found = plan(task, backbone=source, transfer_depth=4, head_init="he", **changes)  # 3 of 5 groups
    x = found.normaliser(CPU)(torch.from_numpy(np.array(task.images[task.indices["train"]])))
    with torch.no_grad():
        below = found.model.groups[3][0](found.model.run(x, 3)[0])  # type: ignore[index]
    torch.testing.assert_close(norm(found, 3).running_mean, below.mean((0, 2, 3)), atol=1e-4, rtol=1e-3)
    assert (norm(found, 4).running_var != 1.0).all()  # type: ignore[union-attr]
    for group in range(3):
        assert torch.equal(norm(found, group).running_mean, source.groups[group][1].running_mean)  # type: ignore[index, arg-type]
    assert trained(found) == trained(plan(task, transfer_depth=4, head_init="ridge", **changes))


def test_random_groups_that_train_from_the_first_step_learn_their_statistics_there(task: LoadedTask) -> None:
    found = plan(task, transfer_depth=4, head_init="he", tune_mode="full")
    assert not norm(found, 4).running_mean.any()  # type: ignore[union-attr]
    found.model.train()
    assert norm(found, 4).training


def test_a_solved_head_is_fitted_to_the_statistics_that_training_begins_with(task: LoadedTask) -> None:
    source = small_backbone()
    changes = {"tune_mode": "suffix", "freeze_depth": 4, "head_init": "ridge", "ridge_lambda": 0.1, "pool": 4}
    for policy, moves in (("train", [False] * 3 + [True] * 2), ("frozen", [False] * 5)):
        found = plan(task, backbone=source, norm_policy=policy, **changes)
        for group, expected in enumerate(moves):
            before = source.groups[group][1].running_mean  # type: ignore[index]
            assert torch.equal(norm(found, group).running_mean, before) != expected  # type: ignore[arg-type]
        found.model.train()  # batch statistics where the policy says so
        rows = task.indices["train"]
        x = found.normaliser(CPU)(torch.from_numpy(np.array(task.images[rows])))
        predicted = found.model(x).argmax(1).numpy()
        assert np.mean(predicted == task.labels[rows]) > 0.95


def test_a_head_that_is_solved_in_parts_is_the_head_of_all_images(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"tune_mode": "closed_form", "head_init": "ridge", "ridge_lambda": 0.1}
    whole = plan(task, **changes).model.head.linear
    monkeypatch.setattr("automl_transfer.transfer.heads.MOST_VALUES", 60 * whole.in_features)
    monkeypatch.setattr("automl_transfer.transfer.heads.MOST_IN_BATCH", 32)  # 60 rows, then 32 at a time
    parts = plan(task, **changes).model.head.linear
    # Calibrated on the first part: a factor apart.
    torch.testing.assert_close(parts.weight / parts.weight.norm(), whole.weight / whole.weight.norm())
    assert float(parts.weight.norm() / whole.weight.norm()) == pytest.approx(1.0, abs=0.3)


@pytest.mark.parametrize("head_init", ["he", "xavier"])
def test_drawn_heads_are_drawn(task: LoadedTask, head_init: str) -> None:
    head = plan(task, head_init=head_init).model.head.linear
    assert float(head.weight.detach().std()) > 0.1
    assert not head.bias.detach().any()


@pytest.mark.parametrize("kind", ["source", "dataset", "per_image"])
def test_normalisation_reaches_the_plan(task: LoadedTask, kind: str) -> None:
    found = plan(task, normalise=kind)
    x = found.normaliser(CPU)(torch.from_numpy(np.array(task.images[task.indices["train"]])))
    if kind == "source":
        assert found.mean == (0.5,)
        assert found.std == (0.25,)
    elif kind == "dataset":
        assert float(x.mean()) == pytest.approx(0.0, abs=0.02)
        assert float(x.std()) == pytest.approx(1.0, abs=0.02)
    else:
        assert found.mean is None
        torch.testing.assert_close(x.mean(dim=(1, 2, 3)), torch.zeros(len(x)), atol=1e-4, rtol=0)
        torch.testing.assert_close(x.std(dim=(1, 2, 3)), torch.ones(len(x)), atol=0.01, rtol=0)


def test_a_flat_image_survives_per_image_normalisation(task: LoadedTask) -> None:
    normalise = plan(task, normalise="per_image").normaliser(CPU)
    assert not normalise(torch.full((2, 16, 16, 1), 200, dtype=torch.uint8)).any()


def test_the_table_shows_every_group_with_its_rate(task: LoadedTask) -> None:
    found = plan(
        task, tune_mode="suffix", freeze_depth=4, transfer_depth=7, learning_rate=0.001, head_lr_mult=10.0
    )
    lines = found.describe().splitlines()
    assert " ".join(lines[0].split()) == "group note transferred frozen init parameters trained learning rate"
    assert lines[1].split() == ["g1", "stem", "yes", "yes", "source", "96", "0", "-"]
    assert lines[5].split() == ["g5", "block", "4", "no", "no", "he_normal", "3,528", "3,528", "0.001"]
    assert lines[6].startswith("head")
    assert lines[6].endswith("0.01")
    total = sum(p.numel() for p in found.model.parameters())
    assert lines[7].split()[:2] == ["total", f"{total:,}"]
    assert found.parameters == total
    assert found.trained_parameters == sum(p.numel() for p in found.model.parameters() if p.requires_grad)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tune_mode": "closed_form", "head_init": "ridge"}, "nothing, every image is seen once"),
        ({"tune_mode": "full"}, "nothing, g1 trains"),
        ({"tune_mode": "suffix", "freeze_depth": 0}, "nothing, g1 trains"),
        ({"tune_mode": "suffix", "transfer_depth": 0}, "nothing, g1 trains from scratch"),
        ({"tune_mode": "norm"}, "nothing, the norm layers of g1 train"),
        ({"tune_mode": "bias"}, "nothing, the biases of g1 train"),
        (
            {"tune_mode": "suffix", "freeze_depth": 4},
            "the output of g3 or of a group below it, as time and .*, as float16",
        ),
        (
            {"tune_mode": "head", "norm_policy": "adapt"},
            "the output of g5 .*; trials on other training images",
        ),
    ],
)
def test_the_last_line_says_what_is_kept_between_epochs_or_why_nothing_is(
    task: LoadedTask, changes: dict[str, Any], reason: str
) -> None:
    found = plan(task, **changes)
    assert re.match(f"kept between epochs: {reason}", found.describe().splitlines()[-1])
    assert ("nothing" in reason) == (found.frozen_prefix == 0 or found.strategy.tune_mode == "closed_form")


def test_other_channels_are_refused(task: LoadedTask) -> None:
    with pytest.raises(SourceError, match=r"task's 1 channels, got one for 3: load it with in_channels=1"):
        plan(task, backbone=small_backbone(in_channels=3))


def test_an_unknown_initialiser_is_refused_even_where_all_is_transferred(task: LoadedTask) -> None:
    with pytest.raises(ConfigurationError, match="rest_init must be one of"):
        plan(task, rest_init="magic")


def test_images_too_small_for_the_network_are_refused(task: LoadedTask) -> None:
    backbone = small_backbone()
    backbone.groups[0] = nn.Sequential(nn.Conv2d(1, 8, 33), nn.BatchNorm2d(8), nn.ReLU())
    with pytest.raises(SourceError, match="16 pixels"):
        plan(task, backbone=backbone)


def test_features_that_are_not_finite_cannot_solve_a_head(task: LoadedTask) -> None:
    backbone = small_backbone()
    with torch.no_grad():
        backbone.groups[2][0].weight.fill_(float("nan"))  # type: ignore[index, union-attr, operator]
    with pytest.raises(DataError, match=r"features must be finite to solve a ridge head"):
        plan(task, backbone=backbone, head_init="ridge")


def test_one_training_image_cannot_solve_a_head(task: LoadedTask) -> None:
    lone = dataclasses.replace(task, indices={**task.indices, "train": task.indices["train"][:1]})
    with pytest.raises(DataError, match="at least 2 training images, got 1"):
        plan(lone, head_init="ridge")


@pytest.mark.parametrize("pool", [1, 2, 4])
def test_the_packaged_network_makes_plans_of_every_depth(task: LoadedTask, pool: int) -> None:
    backbone = get_source("efficientnet-lite0").load(1)
    found = build_plan(
        Strategy(truncation=2 * pool, pool=pool, head_init="ridge"), backbone, task, seed=0, device=CPU
    )
    x = torch.from_numpy(np.array(task.images[:2]))
    assert found.model(found.normaliser(CPU)(x)).shape == (2, 10)
