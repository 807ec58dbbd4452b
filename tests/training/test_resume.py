"""A run that was interrupted and continued in a new process ends with the same weights, bit for bit."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import forge
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import Limited, make_run, small_backbone

from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import TrialDataError
from automl_transfer.training.run import TrainingRun

SCRIPT = Path(__file__).with_name("resume_elsewhere.py")


def elsewhere(
    cache: Path, checkpoint: Path, seed: int, changes: dict[str, Any], threads: int
) -> dict[str, Any]:
    arguments = [str(cache), str(checkpoint), str(seed), json.dumps(changes), str(threads)]
    done = subprocess.run(
        [forge.command(), str(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SCRIPT.parent), *sys.path])},
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("changes", "seed", "stop"),
    [
        ({"optimizer": "adamw", "schedule": "cosine"}, 0, 1),
        ({"optimizer": "sgd", "schedule": "one_cycle", "tune_mode": "suffix", "head_init": "ridge"}, 1, 3),
    ],
)
def test_an_interrupted_run_ends_with_the_same_bits(
    task: LoadedTask, image_cache: Path, tmp_path: Path, changes: dict[str, Any], seed: int, stop: int
) -> None:
    straight = make_run(task, seed=seed, backbone=small_backbone(dropout=0.1), **changes)
    losses = [result.train_loss for result in straight.epochs()]
    expected = straight.weights_sha256()
    straight.load_best()

    interrupted = make_run(task, seed=seed, backbone=small_backbone(dropout=0.1), **changes)
    for result in interrupted.epochs():
        if result.epoch == stop:
            break
    interrupted.save(tmp_path / "a checkpoint")
    found = elsewhere(image_cache, tmp_path / "a checkpoint", seed, changes, torch.get_num_threads())
    assert found["from"] == stop
    assert found["identical"]
    assert found["losses"] == losses[stop:]
    assert found["sha256"] == expected
    assert found["best_sha256"] == straight.weights_sha256()


TERMS: dict[str, dict[str, Any]] = {
    "l2sp, averaged": {"anchor": "l2sp", "ema": 0.9},
    "delta, averaged, half way": {"anchor": "delta", "ema": 0.99, "wise_alpha": 0.5, "head_init": "ridge"},
    "bss, stochastic norms": {"anchor": "bss", "stoch_norm": 0.5, "dropout": 0.2},
    "co-tuning, drop path, phases": {
        "anchor": "co_tuning", "drop_path": 0.2, "phases": "lp_ft", "ema": 0.9, "mix": "mixup",
    },
    "attacked, noisy, generalised, averaged": {
        "adversarial": 0.03, "adversarial_steps": 2, "input_noise": 0.05, "gce": 0.7, "ema": 0.9,
        "anchor": "co_tuning", "phases": "lp_ft", "stoch_norm": 0.5, "mix": "mixup",
    },
}  # fmt: skip


@pytest.mark.parametrize("changes", TERMS.values(), ids=TERMS)
def test_what_terms_keep_survives_an_interruption_at_every_epoch(
    task: LoadedTask, tmp_path: Path, changes: dict[str, Any]
) -> None:
    def made() -> TrainingRun:
        backbone = small_backbone(residual=True, source_classes=6)
        return make_run(task, backbone=backbone, max_epochs=3, **changes)

    whole = made()
    expected = [(result, whole.weights_sha256()) for result in whole.epochs()]
    whole.load_best()
    plain = make_run(task, backbone=small_backbone(residual=True), max_epochs=3)
    list(plain.epochs())
    assert plain.weights_sha256() != expected[-1][1]
    for stop in (1, 2):
        first = made()
        for result in first.epochs():
            if result.epoch == stop:
                break
        first.save(tmp_path / str(stop))
        second = made()
        assert second.restore(tmp_path / str(stop)).identical
        again = [(result, second.weights_sha256()) for result in second.epochs()]
        for (result, digest), (other, wanted) in zip(again, expected[stop:], strict=True):
            assert digest == wanted
            assert result.model_dump(exclude={"seconds"}) == other.model_dump(exclude={"seconds"})
        second.load_best()
        assert second.weights_sha256() == whole.weights_sha256()


def test_other_conditions_are_told(task: LoadedTask, image_cache: Path, tmp_path: Path) -> None:
    run = make_run(task, backbone=small_backbone(dropout=0.1))
    next(run.epochs())
    run.save(tmp_path / "state")
    threads = torch.get_num_threads()
    found = elsewhere(image_cache, tmp_path / "state", 0, {}, threads + 1)
    assert not found["identical"]
    assert found["differences"] == [f"threads was {threads}, is {threads + 1}"]


def test_once_not_identical_never_identical_again(task: LoadedTask, tmp_path: Path) -> None:
    run = make_run(task, norm_policy="frozen")
    next(run.epochs())
    run.save(tmp_path / "one")
    changed = make_run(task, batch=16, accumulate=2, norm_policy="frozen")
    resumed = changed.restore(tmp_path / "one")
    assert resumed.differences == ("batch was 32, is 16", "accumulate was 1, is 2")
    changed.save(tmp_path / "two")
    again = make_run(task, batch=16, accumulate=2, norm_policy="frozen")
    assert not again.restore(tmp_path / "two").identical


def test_the_realised_batch_is_taken_over(task: LoadedTask, tmp_path: Path) -> None:
    run = make_run(task, backbone=small_backbone(extra=Limited(10)), norm_policy="frozen")
    next(run.epochs())
    run.save(tmp_path / "state")
    other = make_run(task, backbone=small_backbone(extra=Limited(10)), norm_policy="frozen")
    assert other.restore(tmp_path / "state").identical
    assert (other.batch, other.accumulate) == (8, 4)
    list(run.epochs())
    list(other.epochs())
    assert other.weights_sha256() == run.weights_sha256()


def test_a_finished_run_and_a_fresh_one_can_be_saved_too(task: LoadedTask, tmp_path: Path) -> None:
    fresh = make_run(task)
    fresh.save(tmp_path / "fresh")
    again = make_run(task)
    assert again.restore(tmp_path / "fresh").epoch == 0
    list(fresh.epochs())
    list(again.epochs())
    assert again.weights_sha256() == fresh.weights_sha256()
    fresh.save(tmp_path / "done")
    done = make_run(task)
    done.restore(tmp_path / "done")
    assert done.finished
    assert done.best == fresh.best
    closed = make_run(task, tune_mode="closed_form", head_init="ridge")
    (result,) = closed.epochs()
    closed.save(tmp_path / "closed")
    other = make_run(task, tune_mode="closed_form", head_init="ridge")
    assert other.restore(tmp_path / "closed").epoch == 0
    assert other.best == result


def saved(task: LoadedTask, folder: Path) -> Path:
    run = make_run(task)
    next(run.epochs())
    run.save(folder)
    return folder


def test_saving_replaces_the_older_checkpoint_and_leaves_nothing_else(
    task: LoadedTask, tmp_path: Path
) -> None:
    run = make_run(task)
    for _ in run.epochs():
        run.save(tmp_path / "state")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert sorted(path.name for path in (tmp_path / "state").iterdir()) == ["state.json", "state.safetensors"]
    other = make_run(task)
    assert other.restore(tmp_path / "state").epoch == 4


def test_a_save_that_was_killed_between_its_two_renames_left_a_checkpoint(
    task: LoadedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = saved(task, tmp_path / "state")
    run = make_run(task)
    for result in run.epochs():
        if result.epoch == 2:
            break
    rename, done = Path.replace, list[Path]()

    def killed(self: Path, target: Path) -> Path:
        done.append(target)
        if len(done) == 2:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)  # nobody tidies up
    with pytest.raises(KeyboardInterrupt):
        run.save(folder)
    monkeypatch.undo()
    assert not folder.exists()
    again = make_run(task)
    assert again.restore(folder).epoch == 2
    assert again.weights_sha256() == run.weights_sha256()


@pytest.mark.parametrize("part", ["model.head.linear.bias", "terms.0.steps", "optimizer.3.exp_avg"])
def test_a_checkpoint_that_does_not_fit_leaves_the_run_as_it_was(
    task: LoadedTask, tmp_path: Path, part: str
) -> None:
    """Of another version of a network, say: what fits must not begin a trial that starts over."""
    folder = tmp_path / "state"
    run = make_run(task, ema=0.9)
    next(run.epochs())
    run.save(folder)
    tensors = load_file(folder / "state.safetensors")
    assert part in tensors
    tensors[part] = torch.zeros(3, 5)
    if part.startswith("terms"):
        del tensors[part]
    save_file(tensors, folder / "state.safetensors")
    document = json.loads((folder / "state.json").read_text())
    document["tensors_sha256"] = hashlib.sha256((folder / "state.safetensors").read_bytes()).hexdigest()
    (folder / "state.json").write_text(json.dumps(document))
    straight, refused = make_run(task, ema=0.9), make_run(task, ema=0.9)
    with pytest.raises(TrialDataError, match=r"(?s)must fit the trial's model.*start the trial over"):
        refused.restore(folder)
    assert (refused.epoch, refused.best, refused.weights_sha256()) == (0, None, straight.weights_sha256())
    for run in (straight, refused):
        list(run.epochs())
    assert refused.weights_sha256() == straight.weights_sha256()


@pytest.mark.parametrize("damage", ["truncated", "changed", "no tensors", "no state", "no json", "foreign"])
def test_a_damaged_checkpoint_is_a_clear_error(task: LoadedTask, tmp_path: Path, damage: str) -> None:
    folder = saved(task, tmp_path / "state")
    tensors, state = folder / "state.safetensors", folder / "state.json"
    content = bytearray(tensors.read_bytes())
    if damage == "truncated":
        tensors.write_bytes(content[: len(content) // 2])
    elif damage == "changed":
        content[-5] ^= 1
        tensors.write_bytes(content)
    elif damage == "no tensors":
        tensors.unlink()
    elif damage == "no state":
        state.unlink()
    elif damage == "no json":
        state.write_text(state.read_text()[:100])
    else:
        state.write_text('{"schema": "something/else"}')
    run = make_run(task)
    before = run.weights_sha256()
    with pytest.raises(TrialDataError, match=r"must be whole, got a damaged one in .*start the trial over"):
        run.restore(folder)
    assert run.weights_sha256() == before
    assert run.epoch == 0


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epoch", None), ("epoch", "1"), ("epoch", -2), ("epoch", 5), ("best", []), ("optimizer", None),
        ("optimizer", {"0": {"step": "x"}}), ("conditions", {}), ("conditions", {"batch": 0, "accumulate": 1}),
        ("differences", None), ("identity", "mine"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_says_what_cannot_be_is_a_clear_error(
    task: LoadedTask, tmp_path: Path, key: str, value: Any
) -> None:
    folder = saved(task, tmp_path / "state")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, key: value}))
    run = make_run(task)
    with pytest.raises(TrialDataError, match="start the trial over"):
        run.restore(folder)
    assert run.epoch == 0


@pytest.mark.parametrize("changes", [{"learning_rate": 0.5}, {"seed": 1}, {"max_epochs": 9}])
def test_a_checkpoint_of_another_trial_is_refused(
    task: LoadedTask, tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = saved(task, tmp_path / "state")
    with pytest.raises(TrialDataError, match="a checkpoint must belong to the trial"):
        make_run(task, **changes).restore(folder)


def test_a_checkpoint_of_another_shape_is_refused(task: LoadedTask, tmp_path: Path) -> None:
    import hashlib

    folder = saved(task, tmp_path / "state")
    file, state = folder / "state.safetensors", folder / "state.json"
    tensors = load_file(file)
    tensors["model.head.linear.weight"] = torch.zeros(10, 3)
    save_file(tensors, file)
    document = json.loads(state.read_text())
    document["tensors_sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    state.write_text(json.dumps(document))
    with pytest.raises(TrialDataError, match="a checkpoint must fit the trial's model"):
        make_run(task).restore(folder)
