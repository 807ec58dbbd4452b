"""The activation cache: built once whoever asks, whole or not there, within its budget, never needed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import make_run

from automl_transfer.data.task import LoadedTask
from automl_transfer.errors import ConfigurationError
from automl_transfer.training.activation_cache import (
    BUDGET_VARIABLE,
    ActivationCache,
    DiskCache,
    MemoryCache,
    Values,
    default_budget,
)
from automl_transfer.training.cache_plan import choose_cut

SHAPE = (100, 50)
SIZE = 100 * 50 * 4


class Counted:
    """Fills an array with a number, and counts how often it had to."""

    def __init__(self, number: float = 1.0) -> None:
        self.number, self.calls = number, 0

    def __call__(self, values: Values) -> None:
        self.calls += 1
        values[:] = self.number


@pytest.fixture(params=["memory", "disk"])
def cache(request: pytest.FixtureRequest, tmp_path: Path) -> ActivationCache:
    return MemoryCache(4 * SIZE) if request.param == "memory" else DiskCache(tmp_path, 4 * SIZE)


def get(cache: ActivationCache, fill: Counted, key: str = "a", dtype: str = "float32") -> Values | None:
    return cache.get({"key": key}, SHAPE, dtype, fill)


def test_an_array_is_made_once_and_is_read_only(cache: ActivationCache) -> None:
    fill = Counted(3.5)
    first, again = get(cache, fill), get(cache, fill)
    assert first is not None
    assert again is not None
    assert np.array_equal(first, np.full(SHAPE, 3.5, np.float32))
    assert np.array_equal(first, again)
    assert fill.calls == 1
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 0
    half = get(cache, Counted(0.1), dtype="float16")
    assert half is not None
    assert half.dtype == np.float16


def test_what_was_not_used_for_the_longest_time_goes_first(cache: ActivationCache) -> None:
    fill = Counted()
    for key in "abc":
        assert get(cache, fill, key) is not None
    if isinstance(cache, DiskCache):
        for entry, age in zip(
            sorted(cache._root.glob("*/metadata.json"), key=lambda p: p.stat().st_mtime),
            (30, 20, 10),
            strict=True,
        ):
            os.utime(entry, (entry.stat().st_atime, entry.stat().st_mtime - age))
    get(cache, fill, "a")
    for key in "de":
        get(cache, fill, key)
    assert fill.calls == 5
    get(cache, fill, "a")
    assert fill.calls == 5
    get(cache, fill, "b")
    assert fill.calls == 6


def test_what_is_too_large_is_not_kept(cache: ActivationCache) -> None:
    fill = Counted()
    assert not cache.holds(4 * SIZE + 1)
    assert cache.get({"key": "a"}, (401, 50), "float32", fill) is None
    assert fill.calls == 0


def test_an_error_while_it_is_made_leaves_nothing_behind(cache: ActivationCache) -> None:
    def fails(values: Values) -> None:
        values[:50] = 7
        raise RuntimeError("the machine is on fire")

    with pytest.raises(RuntimeError, match="on fire"):
        cache.get({"key": "a"}, SHAPE, "float32", fails)
    if isinstance(cache, DiskCache):
        assert [path for path in cache._root.iterdir() if path.suffix != ".lock"] == []
    found = get(cache, Counted(2.0))
    assert found is not None
    assert float(found.min()) == 2.0


@pytest.mark.parametrize("damage", ["flip", "truncate", "no metadata", "other version", "not an array"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: str) -> None:
    cache, fill = DiskCache(tmp_path, 4 * SIZE), Counted()
    get(cache, fill)
    (entry,) = (path for path in cache._root.iterdir() if path.is_dir())
    values, metadata = entry / "values.npy", entry / "metadata.json"
    data = bytearray(values.read_bytes())
    if damage == "flip":
        data[-100] ^= 1
        values.write_bytes(data)
    elif damage == "truncate":
        values.write_bytes(data[: len(data) // 2])
    elif damage == "no metadata":
        metadata.unlink()
    elif damage == "other version":
        metadata.write_text(
            metadata.read_text(encoding="utf-8").replace('"schema": 1', '"schema": 0'), encoding="utf-8"
        )
    else:
        values.write_bytes(b"nothing of the kind")
    found = get(cache, fill)
    assert fill.calls == 2
    assert found is not None
    assert float(found.sum()) == SHAPE[0] * SHAPE[1]


def test_an_entry_that_is_deleted_while_it_is_used_stays_readable(tmp_path: Path) -> None:
    import shutil

    cache, fill = DiskCache(tmp_path, 4 * SIZE), Counted(4.0)
    found = get(cache, fill)
    shutil.rmtree(tmp_path / "activations")
    assert found is not None
    assert float(found.mean()) == 4.0
    assert get(cache, fill) is not None
    assert fill.calls == 2


def test_a_folder_that_cannot_be_written_serves_nothing_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    cache, fill = DiskCache(tmp_path / "file", 4 * SIZE), Counted()
    assert get(cache, fill) is None
    assert get(cache, fill) is None
    assert fill.calls == 0
    assert len([record for record in caplog.records if "cannot be used" in record.message]) == 1


PROCESS = """
import sys
from pathlib import Path
from automl_transfer.training.activation_cache import DiskCache
folder = Path(sys.argv[1])
def fill(values):
    with (folder / "calls").open("a") as log:
        log.write("x")
    values[:] = 5
found = DiskCache(folder, 10**9).get({"key": 1}, (2000, 500), "float32", fill)
print(float(found.sum()))
"""


def test_processes_that_ask_at_once_build_it_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROCESS, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert [process.communicate()[0].strip() for process in processes] == ["5000000.0"] * 4
    assert (tmp_path / "calls").read_text(encoding="utf-8") == "x"


def test_the_budget_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUDGET_VARIABLE, raising=False)
    assert default_budget() == 20_000_000_000
    monkeypatch.setenv(BUDGET_VARIABLE, "0.5")
    assert default_budget() == 500_000_000
    for wrong in ("much", "-1", "nan", "inf"):
        monkeypatch.setenv(BUDGET_VARIABLE, wrong)
        with pytest.raises(ConfigurationError, match=f"gigabytes >= 0, got '{wrong}'"):
            default_budget()


def test_the_cut_that_saves_most_and_fits_is_stored(task: LoadedTask) -> None:
    model = make_run(task, freeze_depth=8, tune_mode="suffix").model.eval()
    image = torch.zeros(1, 1, 16, 16)
    wide = torch.nn.Conv2d(8, 512, 3, padding=1)
    model.groups[0].append(wide)  # type: ignore[operator]
    model.groups[1].insert(0, torch.nn.Conv2d(512, 8, 3, padding=1))  # type: ignore[operator]

    def chosen(most: float, passes: int = 20, prefix: int = 3) -> tuple[int, str]:
        return choose_cut(model, image, prefix, 1000, passes, lambda size: size <= most)

    assert chosen(float("inf")) == (3, "float32")  # pooled features: small, and everything is saved
    assert chosen(float("inf"), prefix=2) == (2, "float32")
    assert chosen(float("inf"), passes=1)[0] == 0
    least = 1000 * 16 * 4 * 4  # 4 x 4 cells of 16 channels, a byte each
    assert chosen(4 * least) == (3, "float32")
    assert chosen(4 * least - 1) == (3, "float16")
    assert chosen(2 * least) == (3, "float16")
    assert chosen(2 * least - 1)[0] == 0


def test_half_precision_is_for_want_of_room_and_not_for_speed(
    task: LoadedTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_run(task, freeze_depth=8, tune_mode="suffix").model.eval()
    image = torch.zeros(1, 1, 16, 16)
    found = set()
    for bandwidth in np.logspace(4, 9, 60):
        monkeypatch.setattr("automl_transfer.training.cache_plan.BANDWIDTH", bandwidth)
        full = choose_cut(model, image, 3, 1000, 20, lambda size: True, ("float32",))
        assert choose_cut(model, image, 3, 1000, 20, lambda size: True) == full
        half = choose_cut(model, image, 3, 1000, 20, lambda size: True, ("float16",))
        found.add((full[0] > 0, half[0] > 0))
    assert (False, True) in found  # somewhere only half the bytes would pay
