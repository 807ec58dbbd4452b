"""Whole studies, made by a known rule: for pages, figures and simulations."""

from __future__ import annotations

import base64
import dataclasses
import math
from datetime import timedelta
from typing import Any

import numpy as np
from trials_by_hand import BEGIN, CRASH, epoch, make_task

from automl_transfer.domain.evidence import CutRecord, ExtraRun, ProfileRecord
from automl_transfer.domain.records import StopKind, StopReason, TrialOutcome, TrialRecord, TrialState
from automl_transfer.domain.spec import SearchSpec, StudySpec, TaskSpec
from automl_transfer.domain.strategy import Strategy
from automl_transfer.reporting.errors_of_winner import CalibrationBin, WinnerErrors, WrongImage
from automl_transfer.reporting.membership import Membership
from automl_transfer.reporting.study_report import Picture, StudyReport, make_report, with_run_folder

SPACE = {
    "truncation": "search",
    "pool": (1, 2, 4),
    "transfer_depth": "search",
    "freeze_depth": "search",
    "tune_mode": ("suffix", "full", "head"),
    "rest_init": ("he_normal", "xavier_normal"),
    "learning_rate": (1e-5, 1e-2),
    "weight_decay": "search",
}
MAX_EPOCHS = 9


def spec(name: str = "by hand", **search: Any) -> StudySpec:
    values: dict[str, Any] = {"max_epochs": MAX_EPOCHS, **search}
    return StudySpec(
        name=name, task=TaskSpec(dataset="digits"), search=SearchSpec(**values), space=dict(SPACE)
    )


def strategy_of(rng: np.random.Generator) -> Strategy:
    return Strategy(
        truncation=int(rng.integers(1, 9)),
        pool=int(rng.choice([1, 2, 4])),  # type: ignore[arg-type]
        transfer_depth=int(rng.integers(0, 9)),
        freeze_depth=int(rng.integers(0, 9)),
        tune_mode=str(rng.choice(["suffix", "full", "head"])),  # type: ignore[arg-type]
        rest_init=str(rng.choice(["he_normal", "xavier_normal"])),
        learning_rate=float(10 ** rng.uniform(-5, -2)),
        weight_decay=float(10 ** rng.uniform(-6, -2)),
    ).canonical()


def truth_of(strategy: Strategy) -> float:
    """Deeper transfer helps, and so does a learning rate near 3e-4."""
    away = abs(math.log10(strategy.learning_rate) + 3.5)
    return 0.97 - 0.012 * (8 - strategy.transfer_depth) - 0.05 * away


def make_records(trials: int, seed: int = 0, n: int = 200) -> list[TrialRecord]:
    rng = np.random.default_rng(seed)
    records, clock = [], 0.0
    for number in range(trials):
        strategy = strategy_of(rng)
        if number == 0:
            strategy = Strategy(truncation=3, pool=4, tune_mode="closed_form").canonical()
        top = 0.95 if number == 0 else truth_of(strategy)
        last = 0 if number == 0 else int(rng.choice([1, 1, 1, 3, 3, 9]))
        cost = 0.2 + 0.1 * strategy.truncation
        curve = []
        for at in range(min(1, last), last + 1):
            share = 1 - 0.35 * math.exp(-at / 3) if last else 1.0
            right = int(rng.binomial(n, min(0.999, top * share)))
            curve.append(epoch(at, right / n, 0.1 + 2 * (1 - right / n), seconds=cost))
        state, stop = TrialState.COMPLETE, StopReason(kind=StopKind.COMPLETED)
        if 0 < last < MAX_EPOCHS:
            state, stop = (
                TrialState.PRUNED,
                StopReason(kind=StopKind.PRUNED, detail=f"by asha after epoch {last}"),
            )
        if number % 29 == 17:
            state, stop = TrialState.FAIL, CRASH
        start = BEGIN + timedelta(seconds=clock)
        clock += cost * max(1, last) + 1
        best = max(curve, key=lambda e: e.accuracy)
        records.append(
            TrialRecord(
                trial_id=number + 1,
                number=number,
                root=number,
                state=state,
                value=best.accuracy if state is TrialState.COMPLETE else curve[-1].accuracy,
                strategy=strategy,
                stop=stop,
                outcome=TrialOutcome(
                    parameters=int(2e4 * 1.7**strategy.truncation),
                    trained_parameters=1000,
                    predict_ms_per_image=0.05 * strategy.truncation + 0.01 * float(rng.random()),
                    train_seconds=cost * max(1, last),
                    best_epoch=best.epoch,
                    robust_accuracy=round(0.5 * best.accuracy, 4) if len(records) % 3 == 0 else None,
                ),
                epochs=tuple(curve),
                started=start,
                finished=BEGIN + timedelta(seconds=clock),
                worker="w-1",
            )
        )
    return records


def packed(bits: np.ndarray) -> str:
    """What `pack_bits` writes, quicker."""
    return base64.b64encode(np.packbits(bits).tobytes()).decode()


def confirm_run(
    root: int,
    run: int,
    correct: np.ndarray,
    *,
    images: np.ndarray | None = None,
    pool: int | None = None,
    chose: np.ndarray | None = None,
) -> ExtraRun:
    """A run whose answers are given; `images` are their places in the pool, one block a run by default.

    `chose` says of each image of the pool whether the search validated on it.
    """
    n = len(correct)
    places = np.arange(run * n, (run + 1) * n) if images is None else images
    size = pool or int(places.max()) + 1
    judged, right = np.zeros(size, bool), np.zeros(size, bool)
    judged[places] = True
    right[places] = correct
    mean = float(np.mean(correct))
    return ExtraRun(
        kind="confirm", root=root, run=run, seed=run, epoch=3, images=n, accuracy=mean,
        balanced_accuracy=mean, macro_f1=mean, nll=1 - mean, seconds=2.5,
        judged=packed(judged), correct=packed(right), chose="" if chose is None else packed(chose),
    )  # fmt: skip


def confirmations(
    roots: list[int], accuracies: list[float], runs: int = 4, n: int = 200, seed: int = 1
) -> list[ExtraRun]:
    rng = np.random.default_rng(seed)
    return [
        confirm_run(root, run, rng.random(n) < accuracy, pool=runs * n)
        for run in range(runs)
        for root, accuracy in zip(roots, accuracies, strict=True)
    ]


def audits(roots: list[int], accuracies: list[float]) -> list[ExtraRun]:
    return [
        ExtraRun(kind="audit", root=root, run=0, seed=0, epoch=9, images=200, accuracy=a, balanced_accuracy=a,
                 macro_f1=a, nll=1 - a, seconds=9.0)
        for root, a in zip(roots, accuracies, strict=True)
    ]  # fmt: skip


def profile() -> ProfileRecord:
    cuts = [
        CutRecord(
            cut=cut, grid=grid, features=64 * grid**2, ridge_lambda=1.0,
            loo_accuracy=0.96 - 0.01 * abs(cut - 4) - 0.03 * (grid == 1), loo_nll=0.1, truncation=min(8, cut),
        )
        for cut in range(1, 10)
        for grid in (1, 2, 4)
    ]  # fmt: skip
    return ProfileRecord(
        source="efficientnet-lite0", normalise="source", images=600, seconds=1.7, cuts=tuple(cuts)
    )


def winner(root: int, classes: tuple[str, ...] = ("0", "1", "2")) -> WinnerErrors:
    picture = (
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
    return WinnerErrors(
        study="by hand", root_trial=root, split="validation", images=200, classes=classes,
        confusion=((0, 0, 66), (0, 1, 1), (1, 0, 3), (1, 1, 62), (1, 2, 1), (2, 2, 67)),
        calibration=(
            CalibrationBin(low=0.5, high=0.6, images=8, confidence=0.55, correct=5),
            CalibrationBin(low=0.9, high=1.0, images=192, confidence=0.98, correct=190),
        ),
        expected_calibration_error=0.012, wrong=5,
        worst=(WrongImage(file="a.png", truth="1", answer=classes[0], probability=0.93, of_truth=0.05, thumbnail=picture),),
        test_accuracy=0.94, test_interval=(0.9, 0.97), test_images=200,
        membership=Membership(
            auc=0.76, interval=(0.71, 0.81), found=0.02, members=400, others=200,
            curve=((0.0, 0.0), (0.2, 0.6), (1.0, 1.0)),
        ),
    )  # fmt: skip


def make_study(trials: int = 60, name: str = "by hand", seed: int = 0, *, extras: bool = True) -> StudyReport:
    records = make_records(trials, seed)
    task = make_task(classes=("0", "1", "2"))
    report = make_report(name, task, spec(name, trials=max(1, trials)), records)
    if not extras:
        return report
    roots = [row.root_trial for row in report.ranking.rows[:3]]
    pruned = [r.number for r in records if r.state is TrialState.PRUNED][:8]
    runs = confirmations(roots, [0.94, 0.95, 0.90][: len(roots)])
    runs += audits(pruned, [0.8 + 0.02 * i for i in range(len(pruned))])
    known = make_report(
        name, task, spec(name, trials=max(1, trials)), records, runs=runs, profiles=[profile()]
    )
    best = known.ranking.best
    logs = {17: ("10:15:02 warning trial=17 lost its worker",)}
    known = dataclasses.replace(
        known, reconstructions=Picture(3, "head trained, prepared by denoise", b"\x89PNG", 600, 300)
    )
    return with_run_folder(known, winner(best.root_trial) if best else None, logs)
