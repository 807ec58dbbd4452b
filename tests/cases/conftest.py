"""What cases share: a small finished search, and caches of their own."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from case_runner import images, typed

CHEAP = " ".join(
    f"--set {setting}"
    for setting in (
        "search.trials=1", "search.max_epochs=1", "search.profile=false", "search.confirm_runs=2",
        "space.truncation=1", "space.tune_mode=closed_form",
    )
)  # fmt: skip
"""Options of a search that takes a second."""
SEARCH = f"search p {CHEAP} --confirm off"


@dataclass(frozen=True)
class Finished:
    """A search that is over: copy it before anything is done to it."""

    place: Path

    @property
    def names(self) -> dict[str, object]:
        runs = self.place / "runs"
        return {
            "runs": runs,
            "model": runs / "p-quick" / "model",
            "recipe": runs / "p-quick" / "best_strategy.json",
            "cheap": CHEAP,
            "search": SEARCH,
        }

    def copy(self, place: Path) -> None:
        shutil.copytree(self.place, place, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def of_its_own(monkeypatch: pytest.MonkeyPatch, _home: Path) -> None:
    """A home and a cache for all cases, a wide screen, one thread."""
    monkeypatch.setenv("HOME", str(_home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(_home / ".cache"))
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.delenv("AUTOML_TRANSFER_STORAGE", raising=False)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, _home: Path) -> Finished:
    """`search p` on two classes of tiny images: its folder, with `p` and `runs`."""
    place = tmp_path_factory.mktemp("finished")
    images("p", cat=14, dog=14)(place)
    before, threads = Path.cwd(), torch.get_num_threads()
    os.chdir(place)
    torch.set_num_threads(1)
    try:
        done = typed(*SEARCH.split(), "--cache", str(_home / "cache"))
    finally:
        os.chdir(before)
        torch.set_num_threads(threads)
    assert done.code == 0, done.out + done.err
    return Finished(place)
