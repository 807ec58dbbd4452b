"""The first page of a 1,000-trial study: `automl-transfer dashboard` beside the bare optuna-dashboard, in one run.

    python benchmarks/dashboard.py [--trials 1000] [--rounds 5]

Every round starts both servers afresh on the same SQLite file, in turn, and takes two times: the study's JSON as a
script gets it (nothing cached), and the study's page in a real Chromium, on another fresh server, from the click
until the best trial is shown. Median (least to most). Each trial has 8 params, 5 epochs, its attributes and two
artifacts; the study has its note and figures.
"""

from __future__ import annotations

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path[:0] = [str(TESTS), str(TESTS / "dashboard")]
SIDES = ("ours", "bare")


def make_study(folder: Path, trials: int) -> str:
    """A study of ours as a search leaves it, without the training."""
    from optuna.artifacts import ArtifactMeta
    from store import make_sampler, open_ours, space, value

    from automl_transfer.domain.records import EpochResult, StopKind, StopReason, TrialOutcome, TrialState
    from automl_transfer.domain.strategy import Strategy
    from automl_transfer.reporting.publish import publish
    from automl_transfer.store.sampling import SamplerHistory
    from automl_transfer.store.trials import Trials
    from automl_transfer.store.values import TrialDraft

    url = f"sqlite:///{folder / 'study.db'}"
    store, study = open_ours(url)
    steps, history, sampler, dimensions = (
        Trials(store),
        SamplerHistory(store, study),
        make_sampler("random"),
        space(),
    )
    for number in range(trials):
        sampled, draft = history.draft(sampler)
        params = {
            name: sampler.sample_independent(sampled, draft, name, distribution)
            for name, distribution in dimensions.items()
        }
        claim = steps.create(study, TrialDraft(Strategy(**params), params, dimensions), "worker")
        assert claim is not None
        score = 0.0
        for epoch in range(5):
            score = min(1.0, max(0.0, value(params, epoch)))
            result = EpochResult(
                epoch=epoch, train_loss=1.0, validation_loss=0.9, accuracy=score, balanced_accuracy=score,
                macro_f1=score, learning_rate=1e-3, seconds=0.1,
            )  # fmt: skip
            steps.record_epoch(claim, result, score)
        named = [
            ArtifactMeta(f"{number:08x}-{part}", f"{name}.png", "image/png", None)
            for part, name in enumerate(("plan", "curve"))
        ]
        stop = StopReason(kind=StopKind.COMPLETED)
        steps.finish(claim, TrialState.COMPLETE, score, stop, TrialOutcome(train_seconds=0.5), named)
    began = time.perf_counter()
    assert publish(store, study)
    print(f"note and figures of {trials:,} trials were published in {time.perf_counter() - began:.2f} s")
    store.close()
    return url


@contextmanager
def serving(side: str, url: str, folder: Path) -> Iterator[str]:
    """A fresh server; yields its address once it answers."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = {
        "ours": [sys.executable, "-m", "automl_transfer", "dashboard", "--storage", url, "--port", str(port)],
        "bare": [
            str(Path(sys.executable).with_name("optuna-dashboard")), url, "--port", str(port),
            "--artifact-dir", str(folder),
        ],
    }[side]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{base}/api/meta", timeout=10).close()
                break
            except OSError:
                time.sleep(0.1)
        yield base
    finally:
        process.terminate()
        process.wait()


def fetch(base: str) -> tuple[float, int]:
    began = time.perf_counter()
    with urllib.request.urlopen(f"{base}/api/studies/1", timeout=300) as answer:
        size = len(answer.read())
    return time.perf_counter() - began, size


def look(base: str) -> float:
    from browser import browse

    with browse(base) as browser:
        began = time.perf_counter()
        browser.page.goto(f"{base}/dashboard/studies/1")
        browser.page.get_by_text("Best Trial (number=").first.wait_for(timeout=300_000)
        return time.perf_counter() - began


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    times: dict[tuple[str, str], list[float]] = {}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="dashboard-") as name:
        folder = Path(name)
        url = make_study(folder, options.trials)
        for number in range(options.rounds):
            for side in SIDES if number % 2 == 0 else SIDES[::-1]:
                with serving(side, url, folder) as base:
                    seconds, sizes[side] = fetch(base)
                    times.setdefault(("JSON", side), []).append(seconds)
                with serving(side, url, folder) as base:
                    times.setdefault(("page in Chromium", side), []).append(look(base))
    print(
        f"{options.trials:,} trials, n = {options.rounds}, Python {platform.python_version()}, optuna-dashboard "
        f"{version('optuna-dashboard')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{sizes['ours'] / 1e6:.1f} MB of JSON"
    )
    print("| first page | ours, s | bare, s | ratio of medians |\n| --- | --- | --- | --- |")
    for what in ("JSON", "page in Chromium"):
        ours, bare = times[what, "ours"], times[what, "bare"]
        ratio = statistics.median(ours) / statistics.median(bare)
        print(f"| {what} | {shown(ours)} | {shown(bare)} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
