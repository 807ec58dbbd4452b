"""The profile: every cut judged by leave-one-out, and a strategy that keeps the promise."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from small_runs import CPU, small_backbone

from automl_transfer.data.in_memory import task_in_memory
from automl_transfer.data.splits import in_shares
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.strategy import Strategy
from automl_transfer.errors import DataError
from automl_transfer.models.network import Backbone
from automl_transfer.models.registry import get_source
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.feature_bank import FeatureBanks
from automl_transfer.training.profile import Profiler, Sample, strategy_of
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import KnownFeatures, build_plan
from automl_transfer.transfer.heads import HeadInput, Reader
from automl_transfer.transfer.ridge import LAMBDAS
from automl_transfer.transfer.select import select_groups


@pytest.mark.parametrize("name", ["efficientnet-lite0", "small"])
def test_the_best_cut_becomes_a_strategy_with_the_profiles_accuracy(task: LoadedTask, name: str) -> None:
    backbone = get_source(name).load(1) if name != "small" else small_backbone()
    profile = Profiler(backbone, name, task, device=CPU).whole()
    best, strategy = profile.best, strategy_of(profile)
    assert best.loo_nll <= min(c.loo_nll for c in profile.cuts if c.truncation is not None)
    assert select_groups(strategy, len(backbone.groups), pretrained=True).kept == best.cut
    assert (strategy.tune_mode, strategy.head_init, strategy.taps) == ("closed_form", "ridge", best.taps)
    plan = build_plan(strategy, backbone, task, seed=0, device=CPU)
    assert plan.model.head.linear.in_features == best.features
    (result,) = TrainingRun(plan, task, max_epochs=3, seed=0, device=CPU).epochs()
    error = 3 * np.sqrt(0.25 / len(task.indices["validation"]))
    assert result.accuracy == pytest.approx(best.loo_accuracy, abs=error)
    rows = task.indices["train"]
    logits = predict_logits(plan.model, task.images, rows, plan.normaliser(CPU))
    assert scores(logits, task.labels[rows], 10).accuracy >= best.loo_accuracy


def test_cuts_are_told_with_their_sizes_and_the_eighths_that_reach_them(task: LoadedTask) -> None:
    profile = Profiler(
        get_source("efficientnet-lite0").load(1), "efficientnet-lite0", task, device=CPU
    ).whole()
    assert {cut.resolution_scale for cut in profile.cuts} == {1.0, 2.0}
    by_cut = {cut.cut: cut.truncation for cut in profile.cuts}
    assert by_cut == {1: 1, 2: 2, 3: 3, 4: None, 5: 4, 6: 5, 7: 6, 8: 7, 9: 8}
    assert {(cut.cut, cut.grid) for cut in profile.cuts if cut.features == 320} == {(8, 1), (5, 2)}
    assert [cut.loo_nll for cut in profile.joint] == sorted(cut.loo_nll for cut in profile.joint)
    assert {cut.taps for cut in profile.joint} <= {2, 3, 4, 6}
    assert len({(cut.cut, cut.grid, cut.taps) for cut in profile.joint}) == 5
    assert all(cut.ridge_lambda in LAMBDAS for cut in profile.cuts)
    assert all(0.0 <= cut.loo_accuracy <= 1.0 and cut.loo_nll > 0.0 for cut in profile.cuts)
    assert profile.images == len(task.indices["train"])
    unreachable = next(cut for cut in profile.cuts if cut.truncation is None)
    with pytest.raises(ValueError, match="eighths of the groups reach, got cut 4"):
        strategy_of(profile, unreachable)


def test_what_was_profiled_is_as_it_was(task: LoadedTask) -> None:
    """Trials copy it: they must not depend on who has looked at it before."""
    backbone = get_source("efficientnet-lite0").load(3)
    before = {name: (tensor.stride(), tensor.clone()) for name, tensor in backbone.state_dict().items()}
    coloured = dataclasses.replace(
        task,
        images=np.repeat(np.asarray(task.images), 3, axis=3),
        task=task.task.model_copy(update={"channels": 3}),
    )
    Profiler(backbone, "efficientnet-lite0", coloured, device=CPU).look(1.0)
    assert all(group.training is False for group in backbone.groups)
    for name, tensor in backbone.state_dict().items():
        assert tensor.stride() == before[name][0], name
        assert torch.equal(tensor, before[name][1]), name


def test_a_head_is_solved_from_the_profiles_pass_with_the_same_bits(task: LoadedTask) -> None:
    backbone, banks = get_source("efficientnet-lite0").load(1), FeatureBanks()
    profile = Profiler(backbone, "efficientnet-lite0", task, device=CPU, banks=banks).whole()
    known = Asked(banks)
    for chosen in (profile.best, profile.joint[0], profile.cuts[-1]):
        same_head(strategy_of(profile, chosen), backbone, task, known)
    assert known.answers == [True, True, True]
    strategy = strategy_of(profile)
    same_head(strategy.model_copy(update={"weight_scale": 2.0}), backbone, task, known)
    assert len(known.answers) == 3  # a changed source is not asked for
    indices = {**task.indices, "train": task.indices["train"][:-1]}
    same_head(strategy, backbone, dataclasses.replace(task, indices=indices), known)
    viewed = strategy.model_copy(update={"augmentation": "affine", "views": 2})
    same_head(viewed, backbone, task, known)
    assert known.answers[3:] == [False, False]


@dataclasses.dataclass
class Asked:
    """Hands questions on, and notes whether somebody knew."""

    banks: KnownFeatures
    answers: list[bool] = dataclasses.field(default_factory=list)

    def features(self, asked: HeadInput) -> Reader | None:
        found = self.banks.features(asked)
        self.answers.append(found is not None)
        return found


def same_head(strategy: Strategy, backbone: Backbone, task: LoadedTask, known: KnownFeatures) -> None:
    """With and without somebody who may know the features."""
    one, other = (
        build_plan(strategy, backbone, task, seed=0, device=CPU, known=each) for each in (known, None)
    )
    assert torch.equal(one.model.head.linear.weight, other.model.head.linear.weight)
    assert torch.equal(one.model.head.linear.bias, other.model.head.linear.bias)


def test_only_the_training_split_is_looked_at(task: LoadedTask) -> None:
    images = np.array(task.images)
    others = np.concatenate([task.indices["validation"], task.indices["test"]])
    images[others] = 0
    blinded = dataclasses.replace(
        task, images=images, labels=np.where(np.isin(np.arange(len(images)), others), 0, task.labels)
    )
    one = Profiler(small_backbone(), "small", task, device=CPU).whole()
    two = Profiler(small_backbone(), "small", blinded, device=CPU).whole()
    assert one.cuts == two.cuts


def test_more_images_than_needed_are_thinned_by_the_seed(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("automl_transfer.training.profile.MOST_IMAGES", 150)
    monkeypatch.setattr("automl_transfer.training.profile.FINAL", Sample(100, 2, 100))
    one, again, other = (
        Profiler(small_backbone(), "small", task, device=CPU, seed=seed).whole() for seed in (0, 0, 1)
    )
    assert one.images == 100
    assert one.cuts == again.cuts
    assert one.cuts != other.cuts


def test_cuts_with_too_many_features_are_left_out(task: LoadedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("automl_transfer.training.feature_bank.MOST_FEATURES", 50)
    profile = Profiler(small_backbone(), "small", task, device=CPU).whole()
    assert {(cut.cut, cut.grid) for cut in profile.cuts} == {(1, 1), (1, 2), (2, 1), (2, 2), (3, 1)}


def test_a_network_without_finite_activations_has_no_profile(task: LoadedTask) -> None:
    backbone = small_backbone()
    with torch.no_grad():
        backbone.groups[0][0].weight.fill_(float("inf"))  # type: ignore[index, union-attr, operator]
    with pytest.raises(DataError, match="activations of small must be finite"):
        Profiler(backbone, "small", task, device=CPU).whole()


@pytest.mark.parametrize("broken", [2, 0])
def test_cuts_that_are_not_finite_are_left_out_and_named(task: LoadedTask, broken: int) -> None:
    backbone = small_backbone()
    with torch.no_grad():
        backbone.groups[broken][0].bias[0] = float("nan")  # type: ignore[index, union-attr, operator]
    if broken == 0:
        with pytest.raises(
            DataError, match=r"activations of small must be finite, got NaN or .* take another"
        ):
            Profiler(backbone, "small", task, device=CPU).whole()
        return
    profile = Profiler(backbone, "small", task, device=CPU).whole()
    whole = Profiler(small_backbone(), "small", task, device=CPU).whole()
    assert (profile.left_out, whole.left_out) == ((3,), ())
    assert profile.warning == "left out for NaN or infinite activations: after group 3"
    assert whole.warning == ""
    assert profile.cuts == tuple(cut for cut in whole.cuts if cut.cut < 3)
    assert profile.best.cut < 3


def test_a_transformer_has_a_profile(task: LoadedTask) -> None:
    pytest.importorskip("timm")
    backbone = get_source("scratch/timm/deit_tiny_patch16_224").load(1)
    profile = Profiler(backbone, "scratch/timm/deit_tiny_patch16_224", task, device=CPU).whole()
    assert {cut.grid for cut in profile.cuts} >= {1}


def patients(each: int = 8) -> LoadedTask:
    """40 patients to train on and 40 others, each of one class and a pattern of its own; classes differ in grey."""
    random = np.random.default_rng(0)
    own = np.repeat(40.0 * random.normal(size=(80, 16, 16)), each, axis=0)
    own -= own.mean(axis=(1, 2), keepdims=True)
    labels = np.repeat(np.arange(80) % 2, each)
    images = 128.0 + own + 12.0 * random.normal(size=own.shape)
    images += (16.0 * labels - 8.0 + 6.0 * random.normal(size=len(labels)))[:, None, None]
    pixels = np.clip(images, 0, 255).round().astype(np.uint8)[..., None]
    task = task_in_memory(pixels, labels, ("a", "b"), held_out=0.0, seed=0).loaded
    rows = np.arange(len(labels))
    half = len(rows) // 2
    return dataclasses.replace(
        task,
        groups=tuple(f"patient {number}" for number in np.repeat(np.arange(80), each)),
        indices={"train": rows[:half], "validation": rows[half:], "test": rows[:0]},
    )


def test_b1_what_tells_patients_apart_is_not_taken_for_what_tells_classes_apart() -> None:
    """Leaving out images, a cut that knows patients had 1.000, and .559 on new ones."""
    task = patients()
    found = {}
    for name, each in (("groups", task), ("images", dataclasses.replace(task, groups=None))):
        profile = Profiler(small_backbone(), "small", each, device=CPU).whole()
        plan = build_plan(strategy_of(profile), small_backbone(), each, seed=0, device=CPU)
        rows = each.indices["validation"]
        logits = predict_logits(plan.model, each.images, rows, plan.normaliser(CPU))
        found[name] = profile.best.loo_accuracy, scores(logits, each.labels[rows], 2)
    told, new = found["groups"]
    assert told == pytest.approx(new.accuracy, abs=0.06)
    assert new.accuracy > found["images"][1].accuracy + 0.2
    assert new.nll < 0.5 * found["images"][1].nll  # calibrated on patients that were left out
    assert found["images"][0] > 0.99  # so the patients can be told apart


def test_b2_a_profile_and_its_head_suit_the_studys_metric() -> None:
    task = patients(2)
    rows = task.indices["train"]
    rare = rows[(task.labels[rows] == 0) | (np.arange(len(rows)) < 16)]
    found = {}
    for metric in ("accuracy", "balanced_accuracy"):
        each = dataclasses.replace(
            task,
            task=task.task.model_copy(update={"metric": metric}),
            indices={**task.indices, "train": rare},
        )
        strategy = strategy_of(Profiler(small_backbone(), "small", each, device=CPU).whole())
        plan = build_plan(strategy, small_backbone(), each, seed=0, device=CPU)
        logits = predict_logits(plan.model, each.images, task.indices["validation"], plan.normaliser(CPU))
        found[metric] = scores(logits, task.labels[task.indices["validation"]], 2).balanced_accuracy
    assert found["balanced_accuracy"] > found["accuracy"] + 0.1


def test_b7_the_images_of_a_profile_grow_with_the_classes_and_keep_their_shares() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(60), np.r_[[4], [30] * 58, [600]])
    pixels = random.integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    task = task_in_memory(pixels, labels, tuple(f"{n:02d}" for n in range(60)), held_out=0.0, seed=0).loaded
    chosen = Profiler(small_backbone(), "small", task, device=CPU)._rows
    counts = np.bincount(task.labels[chosen])
    assert len(chosen) == 60 * 20
    assert counts[0] == 4
    assert set(counts[1:-1]) == {20}  # of 1,000 images drawn at random there were 5 to 20
    assert counts[-1] == 60 * 20 - 58 * 20 - 4
    assert np.array_equal(chosen, np.sort(chosen))
    order = in_shares(labels, random)
    for part in (100, 500, 1500):
        share = part * np.bincount(labels) / len(labels)
        assert (np.abs(np.bincount(labels[order[:part]], minlength=60) - share) < 1.5 + 0.1 * share).all()
