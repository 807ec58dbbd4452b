"""What goes wrong with a cache folder, or cannot be kept: the run ends as it would without, and says so."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock
from small_runs import make_run, small_backbone
from torch import nn

from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import NotANumberError, SourceError
from automl_transfer.models.network import Backbone
from automl_transfer.training import activation_cache
from automl_transfer.training.activation_cache import ActivationCache, DiskCache, MemoryCache, Values
from automl_transfer.training.run import TrainingRun

NOBODY = 65534
PLENTY = 10**9


def busy_backbone(norm: type[nn.Module] | None = nn.BatchNorm2d) -> Backbone:
    """Enough work in front of the head that keeping what comes out of it pays."""
    backbone = small_backbone(norms=False)
    middle: list[nn.Module] = [nn.Conv2d(8, 256, 3, padding=1)]
    if norm is not None:
        middle.append(norm(8, 256) if norm is nn.GroupNorm else norm(256))
    for layer in (*middle, nn.Conv2d(256, 8, 3, padding=1)):
        backbone.groups[0].append(layer)  # type: ignore[operator]
    return backbone.eval()


def head_only(task: LoadedTask, cache: ActivationCache, backbone: Backbone | None = None) -> TrainingRun:
    return make_run(task, max_epochs=3, tune_mode="head", backbone=backbone or busy_backbone(), cache=cache)


def trained(task: LoadedTask, cache: ActivationCache, backbone: Backbone | None = None) -> TrainingRun:
    run = head_only(task, cache, backbone)
    list(run.epochs())
    return run


def entries(folder: Path) -> set[str]:
    return {path.parent.name for path in folder.glob("activations/*/metadata.json")}


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "cannot be used" in record.getMessage()]


@pytest.fixture(scope="module")
def uncached(task: LoadedTask) -> str:
    return trained(task, MemoryCache(0)).weights_sha256()


def test_a_budget_that_is_too_small_is_said_once(
    task: LoadedTask, uncached: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path, 0)
    for _ in range(2):
        run = trained(task, cache)
        assert not run.conditions()["stored"]
        assert run.weights_sha256() == uncached
    (said,) = complaints(caplog)
    assert "GB at least would save time, AUTOML_TRANSFER_CACHE_GB allows 0 GB" in said
    assert "what is frozen is computed every time anew" in said
    assert not list(tmp_path.iterdir())


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_an_entry_that_the_system_refuses_is_done_without(
    task: LoadedTask, uncached: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with file_size_limit(65536):
        run = trained(task, DiskCache(tmp_path, PLENTY))
    assert run.weights_sha256() == uncached
    assert len(complaints(caplog)) == 1
    assert "File too large" in complaints(caplog)[0]
    assert not [path for path in tmp_path.glob("activations/*") if path.suffix != ".lock"]


FULL = """
import logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from automl_transfer.training.activation_cache import DiskCache
logging.basicConfig(format="%(message)s")
def fill(values):
    values[:] = 1
folder = Path(sys.argv[2])
cache = DiskCache(folder, 10**9)
print(cache.get({"key": 1}, (4096, 1024), "float32", fill))
cache.tell_too_small(16 << 20)
late = DiskCache(folder, 10**9)
late.holds = lambda size: True  # there was room when it was asked
print(late.get({"key": 1}, (4096, 1024), "float32", fill))
print([path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"])
"""


def test_a_full_disk_is_left_as_it_is(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=8m none "$0" && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mounted, str(tmp_path)]
    if not shutil.which("unshare") or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this system does not let tests mount a file system")
    root = Path(activation_cache.__file__).parents[2]
    done = subprocess.run(
        [*command, sys.executable, "-c", FULL, str(root), str(tmp_path)], capture_output=True, text=True
    )
    assert done.stdout.splitlines() == ["None", "None", "[]"], done.stderr
    too_small, full = done.stderr.splitlines()
    assert "0.0168 GB at least would save time, the disk has 0.00839 GB free, of which 1.07 GB" in too_small
    assert "No space left on device" in full


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """The folder cannot be written, not even by root's tests."""
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755)


def test_a_folder_that_can_only_be_read_serves_what_it_has(
    task: LoadedTask, uncached: str, caplog: pytest.LogCaptureFixture
) -> None:
    with tempfile.TemporaryDirectory() as text:  # pytest's own folders are closed to others
        folder = Path(text)
        cached = trained(task, DiskCache(folder, PLENTY)).weights_sha256()
        before = entries(folder)
        with without_rights(folder):
            run = trained(task, DiskCache(folder, PLENTY))
            assert run.conditions()["stored"]
            assert run.weights_sha256() == cached
            assert complaints(caplog) == []
            other = busy_backbone(None)
            run = trained(task, DiskCache(folder, PLENTY), other)
            assert not run.conditions()["stored"]
            assert run.weights_sha256() == trained(task, MemoryCache(0), other).weights_sha256()
        assert entries(folder) == before
    (said,) = complaints(caplog)
    assert "Permission denied" in said


def test_versions_that_differ_share_a_folder_and_no_entry(
    task: LoadedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled = []

    def fill(values: Values) -> None:
        filled.append(activation_cache.SCHEMA)
        values[:] = activation_cache.SCHEMA

    def ours() -> float:
        found = DiskCache(tmp_path, PLENTY).get({"key": 1}, (10, 10), "float32", fill)
        assert found is not None
        return float(found.mean())

    now = activation_cache.SCHEMA
    for schema in (now, now + 1, now, now + 1):
        monkeypatch.setattr(activation_cache, "SCHEMA", schema)
        assert ours() == schema
    assert filled == [now, now + 1]
    monkeypatch.setattr(activation_cache, "SCHEMA", now)

    one = trained(task, DiskCache(tmp_path, PLENTY)).weights_sha256()
    first = entries(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "__version__", "9.9")
        assert trained(task, DiskCache(tmp_path, PLENTY)).weights_sha256() == one
    assert len(entries(tmp_path) - first) == 1
    assert first < entries(tmp_path)


def test_a_cache_that_is_deleted_during_a_run_changes_nothing(task: LoadedTask, tmp_path: Path) -> None:
    cache = DiskCache(tmp_path, PLENTY)
    expected = trained(task, cache).weights_sha256()
    run = head_only(task, cache)
    for result in run.epochs():
        if result.epoch == 1:
            shutil.rmtree(tmp_path / "activations")
    assert run.weights_sha256() == expected
    assert trained(task, cache).weights_sha256() == expected
    assert len(entries(tmp_path)) == 1


def test_a_folder_that_is_deleted_while_an_entry_is_made_is_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = DiskCache(tmp_path, PLENTY)

    def gone(values: Values) -> None:
        values[:] = 1
        shutil.rmtree(tmp_path / "activations")

    assert cache.get({"key": 1}, (10, 10), "float32", gone) is None
    assert len(complaints(caplog)) == 1
    found = cache.get({"key": 1}, (10, 10), "float32", lambda values: np.copyto(values, 2))
    assert found is not None
    assert float(found.mean()) == 2.0


def test_what_killed_builders_left_behind_goes_and_what_is_being_built_stays(tmp_path: Path) -> None:
    root = tmp_path / "activations"
    name = activation_cache.digest({"key": 1}, (10, 10), "float32")
    for left in (f"{name}-x.tmp", "abc-y.tmp", "def-z.tmp"):
        (root / left / "entry").mkdir(parents=True)
        (root / left / "entry" / "values.npy").write_bytes(bytes(1000))
    with FileLock(str(root / "def.lock")):
        found = DiskCache(tmp_path, 2000).get(
            {"key": 1}, (10, 10), "float32", lambda values: np.copyto(values, 1)
        )
    assert found is not None
    assert {path.name for path in root.iterdir() if path.is_dir()} == {name, "def-z.tmp"}


@pytest.mark.parametrize("stored", [True, False])
def test_frozen_groups_that_give_nan_fail_the_trial_with_that_reason(task: LoadedTask, stored: bool) -> None:
    backbone = busy_backbone()
    with torch.no_grad():
        backbone.groups[0][0].bias[0] = float("nan")  # type: ignore[index, union-attr, operator]
    with pytest.raises(NotANumberError, match="activations of the frozen groups must be finite, got NaN or"):
        trained(task, MemoryCache() if stored else MemoryCache(0), backbone)


@pytest.mark.parametrize("norm", [None, nn.GroupNorm, nn.InstanceNorm2d, nn.BatchNorm2d])
def test_norms_of_each_image_alone_are_frozen_and_stored(
    task: LoadedTask, norm: type[nn.Module] | None
) -> None:
    stored = trained(task, MemoryCache(), busy_backbone(norm))
    live = trained(task, MemoryCache(0), busy_backbone(norm))
    assert stored.plan.frozen_prefix == 3
    assert (stored.conditions()["stored"], live.conditions()["stored"]) == (True, False)
    for name, value in stored.model.state_dict().items():
        torch.testing.assert_close(value, live.model.state_dict()[name], atol=1e-4, rtol=1e-4)


def test_norms_of_the_batch_are_refused_with_their_place() -> None:
    groups = [nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))]
    with pytest.raises(
        SourceError, match=r"running statistics, got none in 1 of group 1 of odd: .* Build it"
    ):
        Backbone(
            "odd", groups, ("stem",), in_channels=1, mean=(0.5,), std=(0.5,), resolution=16, pretrained=True
        )
