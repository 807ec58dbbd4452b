"""Training runs: they learn, they report, and they are the same for the same seed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import CPU, make_run, small_backbone, strategy
from torch import Tensor, nn

from automl_transfer.aborting import Aborted, abortable
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.records import EpochResult
from automl_transfer.errors import NotANumberError, TrialDataError
from automl_transfer.training.activation_cache import ActivationCache, MemoryCache
from automl_transfer.training.batches import epoch_order
from automl_transfer.training.calibration import fit_temperature
from automl_transfer.training.evaluate import predict_logits, scores
from automl_transfer.training.loss import Loss, balanced_weights
from automl_transfer.training.run import TrainingRun
from automl_transfer.transfer.build import build_plan
from automl_transfer.transfer.terms.l2sp import L2SP
from automl_transfer.transfer.views import Views


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "schedule": "cosine"},
        {"optimizer": "sgd", "learning_rate": 0.1, "schedule": "one_cycle"},
        {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.0, "schedule": "step"},
        {"optimizer": "adamw", "schedule": "constant", "clip": 1.0, "label_smoothing": 0.1},
        {"optimizer": "adamw", "anchor": "l2sp", "class_weights": True, "norm_policy": "adapt"},
    ],
)
def test_every_optimiser_and_schedule_learns(task: LoadedTask, changes: dict[str, Any]) -> None:
    results = list(make_run(task, max_epochs=8, **changes).epochs())
    assert [result.epoch for result in results] == list(range(1, 9))
    assert results[-1].train_loss is not None
    assert results[0].train_loss is not None
    assert results[-1].train_loss < results[0].train_loss
    assert results[-1].accuracy > 0.6  # chance is .1
    assert all(result.seconds > 0 for result in results)
    assert all(result.learning_rate > 0 for result in results)


def test_a_closed_form_plan_gives_one_result_and_trains_nothing(task: LoadedTask) -> None:
    run = make_run(task, tune_mode="closed_form", head_init="ridge", ridge_lambda=0.1)
    before = run.weights_sha256()
    (result,) = run.epochs()
    assert (result.epoch, result.train_loss, result.learning_rate) == (0, None, 0.0)
    assert result.accuracy > 0.8
    assert run.weights_sha256() == before
    assert run.finished
    assert list(run.epochs()) == []


def test_what_is_reported_is_what_the_model_does(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=2)
    *_, last = run.epochs()
    rows = task.indices["validation"]
    found = scores(
        predict_logits(run.model, task.images, rows, run.plan.normaliser(CPU)), task.labels[rows], 10
    )
    assert found.accuracy == last.accuracy
    assert found.balanced_accuracy == last.balanced_accuracy
    assert found.macro_f1 == last.macro_f1
    assert found.nll == pytest.approx(last.validation_loss, rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tune_mode": "suffix"},
        {"phases": "gradual"},
        {"tune_mode": "closed_form", "head_init": "ridge"},
    ],
)
def test_training_unjudged_gives_the_same_weights_and_scores(
    task: LoadedTask, changes: dict[str, Any]
) -> None:
    judged, unjudged = (make_run(task, max_epochs=3, **changes) for _ in range(2))
    *_, last = judged.epochs()
    unjudged.train_to(last.epoch)
    assert unjudged.weights_sha256() == judged.weights_sha256()
    assert unjudged.best is None
    logits, found = unjudged.judge()
    rows = task.indices["validation"]
    assert (found.accuracy, found.nll) == (last.accuracy, last.validation_loss)
    assert float((logits.argmax(axis=1) == task.labels[rows]).mean()) == last.accuracy


def test_judging_weights_that_are_no_numbers_fails(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=1)
    run.train_to(1)
    with torch.no_grad():
        run.model.head.linear.weight.fill_(float("nan"))
    with pytest.raises(NotANumberError, match="got nan after epoch 1"):
        run.judge()


@pytest.mark.parametrize(
    "changes", [{}, {"tune_mode": "suffix"}, {"tune_mode": "head", "head_init": "ridge"}]
)
def test_the_seed_decides_the_weights(task: LoadedTask, changes: dict[str, Any]) -> None:
    def trained(seed: int) -> str:
        run = make_run(task, max_epochs=2, seed=seed, backbone=small_backbone(dropout=0.2), **changes)
        torch.manual_seed(torch.initial_seed() % 1000 + 1)  # the global generator must not matter
        list(run.epochs())
        return run.weights_sha256()

    first = trained(0)
    assert trained(0) == first
    assert trained(1) != first


def test_global_random_numbers_and_switches_are_left_alone(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=1, backbone=small_backbone(dropout=0.5))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    list(run.epochs())
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("mode", ["head", "suffix", "norm", "bias", "body"])
def test_only_what_the_plan_trains_moves(task: LoadedTask, mode: str) -> None:
    run = make_run(task, max_epochs=1, tune_mode=mode, head_init="he")
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    trained = {name for name, p in run.model.named_parameters() if p.requires_grad}
    list(run.epochs())
    parameters = dict(run.model.named_parameters())
    moved = {name for name, value in run.model.state_dict().items() if not torch.equal(value, before[name])}
    assert {name for name in moved if name in parameters} == trained
    frozen = tuple(f"groups.{number}." for number in range(run.plan.frozen_prefix))
    assert not any(name.startswith(frozen) for name in moved if frozen)


@pytest.mark.parametrize("taps", [1, 3])
def test_a_frozen_prefix_is_run_once_and_gives_what_running_it_each_time_gives(
    task: LoadedTask, taps: int
) -> None:
    calls = []

    class Counting(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            calls.append(len(x))
            return x

    def run_once(cache: ActivationCache) -> TrainingRun:
        backbone = small_backbone()
        # Enough work in front of the cut that keeping its result pays.
        for layer in (nn.Conv2d(8, 256, 3, padding=1), nn.Conv2d(256, 8, 3, padding=1), Counting()):
            backbone.groups[0].append(layer)  # type: ignore[operator]
        run = make_run(
            task, max_epochs=2, tune_mode="suffix", freeze_depth=4, backbone=backbone, taps=taps, cache=cache
        )
        calls.clear()
        list(run.epochs())
        return run

    stored = run_once(MemoryCache())
    images = len(task.indices["train"]) + len(task.indices["validation"])
    assert sum(calls) == images + 4  # to learn costs, sizes, which norms can be folded, and that they are
    live = run_once(MemoryCache(0))
    assert sum(calls) == 2 * images + 3
    for name, value in stored.model.state_dict().items():
        torch.testing.assert_close(value, live.model.state_dict()[name], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("mode", [{"freeze_depth": 4}, {"freeze_depth": 8}], ids=["group 1", "all groups"])
def test_views_that_are_kept_give_the_weights_of_views_that_are_made_each_time(
    task: LoadedTask, mode: dict[str, Any]
) -> None:
    def trained(cache: ActivationCache) -> tuple[TrainingRun, list[EpochResult]]:
        backbone = small_backbone()
        for layer in (nn.Conv2d(8, 256, 3, padding=1), nn.Conv2d(256, 8, 3, padding=1)):
            backbone.groups[0].append(layer)  # type: ignore[operator]
        views = {"augmentation": "affine", "views": 3}
        run = make_run(
            task, max_epochs=7, tune_mode="suffix", batch=32, backbone=backbone, cache=cache, **mode, **views
        )
        return run, list(run.epochs())

    (stored, results), (live, others) = trained(MemoryCache()), trained(MemoryCache(0))
    assert (stored.conditions()["stored"], live.conditions()["stored"]) == (True, False)
    assert stored.weights_sha256() == live.weights_sha256()
    assert [r.validation_loss for r in results] == [r.validation_loss for r in others]


@pytest.mark.parametrize("mode", ["full", "closed_form"])
def test_views_change_what_is_trained_on_and_not_what_is_judged(task: LoadedTask, mode: str) -> None:
    asked: list[np.ndarray] = []

    class Watched(np.ndarray):
        def __getitem__(self, rows: Any) -> Any:
            asked.append(np.array(rows))
            return np.asarray(self)[rows]

    changes = {"tune_mode": mode, "head_init": "ridge", "ridge_lambda": 0.1, "norm_policy": "frozen"}
    watched = dataclasses.replace(task, images=task.images.view(Watched))
    plain, seen = (
        make_run(each, max_epochs=1, **changes, **views)
        for each, views in ((task, {}), (watched, {"augmentation": "affine", "views": 2}))
    )
    assert np.array_equal(np.unique(np.concatenate(asked)), task.indices["train"])  # the head is solved
    assert plain.weights_sha256() != seen.weights_sha256()
    list(seen.epochs())
    rows = task.indices["validation"]
    logits = predict_logits(seen.load_best() or seen.model, task.images, rows, seen.plan.normaliser(CPU))
    assert seen.best is not None
    assert scores(logits, task.labels[rows], 10).nll == pytest.approx(seen.best.validation_loss, rel=1e-5)
    assert not np.isin(task.indices["test"], np.concatenate(asked)).any()


def test_epochs_go_through_the_views_in_turn(task: LoadedTask, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(task, max_epochs=3, augmentation="flip_affine", views=2, cache=MemoryCache(0))
    asked: list[np.ndarray] = []
    read = Views.__getitem__

    def watched(views: Views, numbers: np.ndarray) -> np.ndarray:
        asked.append(numbers)
        return read(views, numbers)

    monkeypatch.setattr(Views, "__getitem__", watched)
    for result in run.epochs():
        numbers = np.sort(np.concatenate(asked))
        train = task.indices["train"] + len(task.images) * ((result.epoch - 1) % 2)
        assert np.array_equal(numbers, np.sort(np.concatenate([task.indices["validation"], train])))
        asked.clear()


def test_a_plan_says_that_views_are_kept(task: LoadedTask) -> None:
    plan = make_run(task, augmentation="affine", views=5, tune_mode="head").plan
    assert "the output of g3 for 5 views of each training image" in plan.describe()
    assert "5 affine views" in plan.strategy.describe()


def test_accumulated_batches_give_the_step_of_the_whole_batch(task: LoadedTask) -> None:
    changes = {"optimizer": "sgd", "class_weights": True, "label_smoothing": 0.1, "clip": 1.0}
    whole = make_run(task, max_epochs=1, backbone=small_backbone(norms=False), **changes)
    parts = make_run(task, max_epochs=1, backbone=small_backbone(norms=False), accumulate=4, **changes)
    (one,), (two,) = whole.epochs(), parts.epochs()
    assert (parts.batch, parts.accumulate) == (8, 4)
    assert one.train_loss == pytest.approx(two.train_loss, rel=1e-4)
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(value, parts.model.state_dict()[name], atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize("batch", [1, 66, 199])
def test_a_last_batch_of_one_does_not_stop_batch_norm(task: LoadedTask, batch: int) -> None:
    backbone = small_backbone(extra=nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(16)))
    rows = task.indices["train"][:199] if batch != 1 else task.indices["train"][:5]
    odd = dataclasses.replace(task, indices={**task.indices, "train": rows})
    (result,) = make_run(odd, max_epochs=1, backbone=backbone, batch=batch).epochs()
    assert result.train_loss is not None


def test_class_weights_are_balanced_and_leave_absent_classes_out() -> None:
    weights = balanced_weights(np.array([0, 0, 0, 2]), 3)
    assert weights.tolist() == pytest.approx([4 / 6, 0.0, 2.0])


@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_torchs_mean(weighted: bool) -> None:
    logits, labels = torch.randn(12, 3), torch.arange(12) % 3
    weights = torch.tensor([1.0, 2.0, 0.5]) if weighted else None
    loss = Loss(0.1, weights)
    expected = nn.functional.cross_entropy(logits, labels, weight=weights, label_smoothing=0.1)
    torch.testing.assert_close(loss(logits, labels, loss.weight(labels)), expected)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_anchor_keeps_the_weights_near_their_start(task: LoadedTask, optimizer: str) -> None:
    """B8: Adam divides a gradient by its size; a pull that went through it would not depend on the distance."""

    def distance(alpha: float) -> float:
        run = make_run(
            task, optimizer=optimizer, learning_rate=0.02, schedule="constant", anchor="l2sp",
            anchor_weight=alpha,
        )  # fmt: skip
        start = {name: p.detach().clone() for name, p in run.model.named_parameters() if "groups" in name}
        list(run.epochs())
        now = dict(run.model.named_parameters())
        return sum(float((now[n] - w0).detach().square().sum()) for n, w0 in start.items())

    assert distance(10.0) < 0.2 * distance(0.0)


def test_the_pull_of_an_anchor_is_a_part_of_the_distance(task: LoadedTask) -> None:
    run = make_run(task, anchor="l2sp", anchor_weight=0.5)
    (term,) = run.plan.terms
    assert isinstance(term, L2SP)
    weight = next(iter(run.model.parameters()))
    before, weight.grad = weight.detach().clone(), torch.zeros_like(weight)
    weight.data += 2.0
    term.pull(lambda parameter: 0.1)
    torch.testing.assert_close(weight.detach(), before + 2.0 - 0.05 * 2.0)


def test_the_best_epoch_is_kept_and_can_be_put_back(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=6, learning_rate=0.05, schedule="constant", optimizer="sgd")
    results, hashes = [], {}
    for result in run.epochs():
        results.append(result)
        hashes[result.epoch] = run.weights_sha256()
    best = max(results, key=lambda r: (r.accuracy, -r.calibrated_loss))
    assert run.best == best
    run.load_best()
    assert run.weights_sha256() == hashes[best.epoch]


@pytest.mark.parametrize(
    "changes",
    [
        {"ema": 0.9},
        {"wise_alpha": 0.5, "head_init": "ridge"},
        {
            "ema": 0.9,
            "phases": "freezing",
        },  # what is kept of a frozen part is of the weights, not of averages
        {"wise_alpha": 0.5, "head_init": "ridge", "phases": "freezing"},
        {"ema": 0.9, "phases": "freezing", "crop": 0.5},
    ],
)
def test_weights_that_are_averaged_are_judged_and_shipped_and_do_not_train(
    task: LoadedTask, changes: dict[str, Any]
) -> None:
    plain = make_run(task, **{**changes, "ema": 0.0, "wise_alpha": 1.0})
    run, results, hashes = make_run(task, **changes), [], []
    for result, other in zip(run.epochs(), plain.epochs(), strict=True):
        assert run.weights_sha256() == plain.weights_sha256(), "training goes on from the weights themselves"
        assert result.validation_loss != other.validation_loss
        results.append(result)
        hashes.append(run.weights_sha256())
    judged = run.judge()[1]
    assert judged.nll == results[-1].validation_loss
    run.load_shown()
    assert run.weights_sha256() != hashes[-1]
    rows = task.indices["validation"]
    shipped = predict_logits(run.model, task.images, rows, run.plan.normaliser(CPU))
    assert scores(shipped, task.labels[rows], 10).nll == pytest.approx(results[-1].validation_loss, abs=1e-5)
    run.load_best()
    best = predict_logits(run.model, task.images, rows, run.plan.normaliser(CPU))
    assert run.best is not None
    assert scores(best, task.labels[rows], 10).nll == pytest.approx(run.best.validation_loss, abs=1e-5)


def test_the_average_of_a_part_that_froze_reaches_its_weights(task: LoadedTask) -> None:
    """What trains on above it is fitted to those, and ships with the average."""
    run = make_run(task, max_epochs=9, phases="freezing", ema=0.9)
    name, behind = "groups.0.0.weight", []
    (average,) = run.plan.terms
    for _ in run.epochs():
        state = run.model.state_dict()
        behind.append(float((average.shown(state)[name] - state[name]).abs().max()))
    assert run.plan.frozen_prefix == 2
    assert behind[2] > 0  # the last epoch in which it trains
    assert behind[-1] < 0.05 * behind[2]


def test_the_best_epoch_follows_the_tasks_metric(task: LoadedTask) -> None:
    other = dataclasses.replace(task, task=task.task.model_copy(update={"metric": "macro_f1"}))
    run = make_run(other, max_epochs=5, learning_rate=0.05)
    results = list(run.epochs())
    assert run.best == max(results, key=lambda r: (r.macro_f1, -r.calibrated_loss))


def test_epochs_carry_their_loss_after_calibration(task: LoadedTask) -> None:
    run = make_run(task, max_epochs=2, learning_rate=0.05, label_smoothing=0.1)
    for result in run.epochs():
        logits, found = run.judge()
        fitted = fit_temperature(logits, task.labels[task.indices["validation"]])
        assert result.calibrated_loss == pytest.approx(fitted.nll_after)
        assert result.validation_loss == found.nll


def test_a_run_that_explodes_fails_with_its_reason(task: LoadedTask) -> None:
    run = make_run(
        task,
        backbone=small_backbone(norms=False),
        optimizer="sgd",
        learning_rate=10.0,
        warmup=0.0,
        head_init="he",
    )
    with pytest.raises(NotANumberError, match=r"loss must be finite, got (nan|inf)"):
        list(run.epochs())


def test_a_loss_that_is_no_number_says_where(task: LoadedTask) -> None:
    run = make_run(task, schedule="constant", warmup=0.0)
    epochs = run.epochs()
    next(epochs)
    with torch.no_grad():
        run.model.head.linear.weight.fill_(float("nan"))
    with pytest.raises(NotANumberError, match=r"got nan in epoch 2, step 1, at learning rate 0.003"):
        next(epochs)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_epoch_is_what_a_plain_loop_does(task: LoadedTask, optimizer: str) -> None:
    # Without norm layers: under one, a bias has no gradient but rounding, which Adam would blow up.
    changes = {"schedule": "constant", "warmup": 0.0, "layer_decay": 0.5, "weight_decay": 0.1}
    run, other = (
        make_run(task, max_epochs=1, optimizer=optimizer, backbone=small_backbone(norms=False), **changes)
        for _ in range(2)
    )
    plain = other.plan
    model = plain.model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    kind = {"adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}[optimizer]
    extra = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    plain_optimizer = kind(plain.parameter_groups, foreach=False, **extra)
    normalise, order = plain.normaliser(CPU), epoch_order(task.indices["train"], 0, 1)
    model.train()
    for start in range(0, len(order), 32):
        rows = order[start : start + 32]
        x = normalise(torch.from_numpy(task.images[rows])).contiguous()
        plain_optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), torch.from_numpy(task.labels[rows])).backward()
        plain_optimizer.step()
    list(run.epochs())
    for name, value in model.state_dict().items():
        torch.testing.assert_close(run.model.state_dict()[name], value, atol=3e-4, rtol=3e-3, msg=name)


def test_images_that_cannot_be_read_say_so(task: LoadedTask) -> None:
    short = dataclasses.replace(task, images=task.images[: int(task.indices["train"].max())])
    run = make_run(task)
    run.task = short
    with pytest.raises(TrialDataError, match="images must be readable while training"):
        list(run.epochs())


@pytest.mark.parametrize("changes", [{}, {"ema": 0.9, "stoch_norm": 0.5, "anchor": "delta"}])
def test_an_aborted_epoch_leaves_the_run_where_it_began(task: LoadedTask, changes: dict[str, Any]) -> None:
    asked = []

    def tenth_time() -> bool:
        asked.append(1)
        return len(asked) == 10

    run = make_run(task, max_epochs=3, **changes)
    with abortable(tenth_time):
        epochs = run.epochs()
        next(epochs)
        after = run.weights_sha256()
        with pytest.raises(Aborted):
            list(epochs)
    assert run.epoch == 1
    assert run.weights_sha256() == after
    undisturbed = make_run(task, max_epochs=3, **changes)
    list(undisturbed.epochs())
    list(run.epochs())
    assert run.weights_sha256() == undisturbed.weights_sha256()
    run.load_shown()
    undisturbed.load_shown()
    assert run.weights_sha256() == undisturbed.weights_sha256()


def test_a_run_that_is_aborted_while_it_is_judged_stands_before_that_epoch(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D21: judging could not be given up, however many images it was."""
    run, judging = make_run(task, max_epochs=3), []
    next(run.epochs())
    after, judge = run.weights_sha256(), run._judge

    def judge_and_say(epoch: int) -> object:
        judging.append(epoch)
        return judge(epoch)

    monkeypatch.setattr(run, "_judge", judge_and_say)
    with abortable(lambda: bool(judging)), pytest.raises(Aborted):
        list(run.epochs())
    assert judging == [2]
    assert (run.epoch, run.weights_sha256()) == (1, after)
    monkeypatch.undo()
    undisturbed = make_run(task, max_epochs=3)
    list(undisturbed.epochs())
    list(run.epochs())
    assert run.weights_sha256() == undisturbed.weights_sha256()


class Interrupted(nn.Module):
    """A layer in which somebody presses Ctrl-C, once."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.on, self.left = training, 0

    def forward(self, x: Tensor) -> Tensor:
        self.left -= self.training == self.on
        if self.left == 0 and self.training == self.on:
            raise KeyboardInterrupt
        return x


@pytest.mark.parametrize(("training", "call"), [(True, 10), (False, 2)], ids=["training", "judging"])
def test_a_run_that_is_interrupted_goes_on_from_its_last_epoch(
    task: LoadedTask, training: bool, call: int
) -> None:
    """It went on from half of an epoch, whose steps were taken once more."""
    run = make_run(task, max_epochs=3, backbone=small_backbone(extra=Interrupted(training)), ema=0.9)
    (layer,) = (module for module in run.model.modules() if isinstance(module, Interrupted))
    layer.left = call  # in the second epoch: it has 7 steps, and one batch of validation images
    epochs = run.epochs()
    next(epochs)
    after, best = run.weights_sha256(), run.best
    with pytest.raises(KeyboardInterrupt):
        next(epochs)
    assert (run.epoch, run.weights_sha256(), run.best) == (1, after, best)
    undisturbed = make_run(task, max_epochs=3, ema=0.9)
    list(undisturbed.epochs())
    assert [result.epoch for result in run.epochs()] == [2, 3]
    assert run.weights_sha256() == undisturbed.weights_sha256()
    for each in (run, undisturbed):
        each.load_best()
    assert run.weights_sha256() == undisturbed.weights_sha256()


def test_results_never_hold_what_json_cannot(task: LoadedTask) -> None:
    for result in make_run(task, max_epochs=1).epochs():
        assert all(math.isfinite(v) for v in result.model_dump().values() if isinstance(v, float))


DRAWN = {"crop": 0.5, "mirror": True, "distort": "trivial", "erasing": 0.5}


@pytest.mark.parametrize("changes", [DRAWN, {"tune_mode": "suffix", "distort": "rand"}])
def test_drawn_images_are_the_same_when_a_run_is_interrupted(
    task: LoadedTask, tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole, plain = make_run(task, max_epochs=3, **changes), make_run(task, max_epochs=3)
    list(whole.epochs())
    list(plain.epochs())
    assert whole.weights_sha256() != plain.weights_sha256()
    first = make_run(task, max_epochs=3, **changes)
    next(first.epochs())
    first.save(tmp_path / "checkpoint")
    second = make_run(task, max_epochs=3, **changes)
    assert second.restore(tmp_path / "checkpoint").identical
    assert [result.epoch for result in second.epochs()] == [2, 3]
    assert second.weights_sha256() == whole.weights_sha256()


class Counted:
    """Counts the images and the steps of a run that go through its model in training."""

    def __init__(self, run: TrainingRun) -> None:
        self.images, self.parts, self.steps = 0, [], 0
        run.model.groups[0].register_forward_hook(self._seen)
        optimizer = run._stepper.optimizer if run._stepper else None
        assert optimizer is not None
        optimizer.register_step_post_hook(self._stepped)

    def _seen(self, module: nn.Module, arguments: tuple[Tensor, ...], _: object) -> None:
        if module.training:
            self.images += len(arguments[0])
            self.parts.append(len(arguments[0]))

    def _stepped(self, *_: object) -> None:
        self.steps += 1


def test_passes_and_steps_are_what_was_asked_for(task: LoadedTask, tmp_path: Path) -> None:
    train = len(task.indices["train"])
    for horizon, images, steps in (
        ({"max_epochs": 2, "passes": 3}, 6 * train, 6 * -(-train // 32)),
        ({"max_epochs": 3, "steps": 7}, 21 * 32, 21),
        ({"max_epochs": 2, "steps": 10}, 640, 20),
    ):
        plan = build_plan(strategy(), small_backbone(), task, seed=0, device=CPU)
        run = TrainingRun(plan, task, seed=0, device=CPU, **horizon)
        counted = Counted(run)
        results = list(run.epochs())
        assert [result.epoch for result in results] == list(range(1, horizon["max_epochs"] + 1))
        assert (counted.images, counted.steps) == (images, steps)
        assert results[-1].learning_rate < 3e-3 * 0.2  # the schedule ends with the horizon
        run.save(tmp_path / str(steps))
    plan = build_plan(strategy(), small_backbone(), task, seed=0, device=CPU)
    with pytest.raises(TrialDataError, match="must belong to the trial"):
        TrainingRun(plan, task, seed=0, device=CPU, max_epochs=2).restore(tmp_path / "20")


@pytest.mark.parametrize(("batch", "least"), [(64, 32), (24, 24)])
def test_where_norms_train_no_step_is_split_below_32_images(task: LoadedTask, batch: int, least: int) -> None:
    """FINDINGS B6: batch norm saw 16 images on a CPU, 8 of large ones."""
    run = make_run(task, max_epochs=1, batch=4, accumulate=batch // 4)
    counted = Counted(run)
    list(run.epochs())
    whole = [part for part in counted.parts if part >= least]
    assert min(whole) == least
    assert len(counted.parts) - len(whole) <= 1  # what is left at the end of a pass
    frozen = make_run(task, max_epochs=1, batch=4, accumulate=batch // 4, norm_policy="frozen")
    counted = Counted(frozen)
    list(frozen.epochs())
    assert max(counted.parts) <= 5
