"""Nodes that are not as they should be: other data, a wrong clock, extras that are missing, no such GPUs."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from worker_helpers import Process, strategy, tiny_study, until

from automl_transfer.domain.records import TrialState
from automl_transfer.workers.heartbeat import reap_lost
from automl_transfer.workers.on_ray import OnNode

Start = Callable[..., Process]

LONG = 150
OFF_BY = """
    import datetime, time
    OFF = {off}
    now, nanoseconds = time.time, time.time_ns
    time.time = lambda: now() + OFF
    time.time_ns = lambda: nanoseconds() + OFF * 10**9
    right = datetime.datetime
    class Wrong(right):
        @classmethod
        def now(cls, tz=None): return right.now(tz) + datetime.timedelta(seconds=OFF)
        @classmethod
        def utcnow(cls): return right.utcnow() + datetime.timedelta(seconds=OFF)
    datetime.datetime = Wrong
"""
WITHOUT = """
    import sys
    class Missing:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "{name}":
                raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
    sys.meta_path.insert(0, Missing())
"""


def customised(folder: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes that start from now on run this first."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(textwrap.dedent(code))
    paths = [str(folder), str(Path(__file__).parents[2])]
    monkeypatch.setenv("PYTHONPATH", ":".join(paths))


@pytest.mark.parametrize("off", [3600, -3600])
def test_a_node_whose_clock_is_an_hour_off(
    off: int, database_url: str, tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leases and times are by the database's clock: nobody takes the trial away, and its times are right."""
    with tiny_study(database_url, tmp_path, [strategy()], max_epochs=LONG) as study:
        begun = datetime.now(UTC)
        customised(tmp_path / "node", OFF_BY.format(off=off), monkeypatch)
        worker = start(database_url, "worker", "tiny", "--threads", "1", "--beat", "0.1", afresh=True)
        until(lambda: study.epoch_of() >= 3, worker)
        (held,) = study.trials.workers(study.handle)
        assert 0 <= held.beat_age < 60
        assert 0 <= held.held < 60
        assert not reap_lost(study.trials, study.handle, grace=60)
        assert worker.wait() == 0, worker.said()
        (record,) = study.records()
    assert (record.state, record.attempt) == (TrialState.COMPLETE, 0)
    assert record.started is not None
    assert record.finished is not None
    assert begun - timedelta(minutes=1) < record.started < record.finished < begun + timedelta(minutes=10)


def test_a_node_with_other_images_leaves_the_trial_to_others(tmp_path: Path, start: Start) -> None:
    """The same classes and the same numbers, and one image that differs."""
    url = f"sqlite:///{tmp_path / 's.db'}"
    images, random = tmp_path / "here" / "images", np.random.default_rng(0)
    for name in ("cat", "dog"):
        (images / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / name / f"{number:03d}.png")
    create = ("study", "create", "images", "--data-root", str(images.parent), "--study-name", "pets")
    made = start(url, *create, "--trials", "1", "--output", str(tmp_path / "out"))
    assert made.wait() == 0, made.said()
    other = shutil.copytree(images, tmp_path / "there" / "images")
    shutil.copy(other / "dog" / "000.png", other / "dog" / "001.png")
    worker = start(url, "worker", "pets", "--data-root", str(other.parent), "--threads", "1")
    assert worker.wait() == 2, worker.said()
    assert "the data of study 'pets' must be the same on every machine" in worker.said()
    assert "point --data-root at them" in worker.said()
    counts = start(url, "status", "pets", "--json")
    assert counts.wait() == 0
    assert '"running": 0' in counts.said()
    assert '"failed": 0' in counts.said()


def test_nodes_with_other_releases_are_told() -> None:
    """What runs on a node of a cluster compares its release with that of the command before it starts anything."""
    code, said = OnNode(["-m", "automl_transfer"], {}, "automl-transfer 0.0.1 on Python 3.11.1").look(0)
    assert code == 2
    assert b"all nodes must have one release, got automl-transfer " in said
    assert b"and automl-transfer 0.0.1 on Python 3.11.1 where the command runs" in said


@pytest.mark.parametrize(("launcher", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_an_extra_that_is_not_installed(
    launcher: str,
    package: str,
    tmp_path: Path,
    postgres_url: str,
    start: Start,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with tiny_study(postgres_url, tmp_path, [strategy()]) as study:
        customised(tmp_path / "node", WITHOUT.format(name=package), monkeypatch)
        launch = start(postgres_url, "launch", "tiny", "--launcher", launcher, afresh=True)
        assert launch.wait() == 2, launch.said()
        assert f"pip install 'automl-transfer[{launcher}]'" in launch.said()
        assert [record.state for record in study.records()] == [TrialState.WAITING]


def test_more_devices_than_there_are(tmp_path: Path, start: Start) -> None:
    url = f"sqlite:///{tmp_path / 's.db'}"
    with tiny_study(url, tmp_path, [strategy()]) as study:
        worker = start(url, "worker", "tiny", "--devices", "64", "--device", "cuda")
        assert worker.wait() == 2, worker.said()
        assert "--devices must be at most the GPUs of this machine, got 64" in worker.said()
        assert [record.state for record in study.records()] == [TrialState.WAITING]
