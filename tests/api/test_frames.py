"""Labels from a data frame (finding D5): the same data as a table, for this process and for workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from automl_transfer.api import apply, explore, search, train, verify
from automl_transfer.api.frames import kept
from automl_transfer.data.table_file import is_frame
from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import ConfigurationError, DataError
from automl_transfer.store.store import Store
from automl_transfer.store.url import resolve_storage

SMALL = {"search.profile": False, "search.max_epochs": 1, "space.truncation": 2, "search.confirm": 0}


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    """24 images in two classes, one light and one dark, below photos/."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(24):
        pixels = rng.integers(0, 128, (16, 16), dtype=np.uint8) + np.uint8(127 * (number % 2))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return pd.DataFrame({"img": [f"{n}.png" for n in range(24)], "label": [n % 2 for n in range(24)]})


def test_a_frame_is_explored_as_a_table_is_d5(frame: pd.DataFrame) -> None:
    frame.to_csv("labels.csv", index=False)
    table = explore("labels.csv", images="photos").task
    for same in (frame, frame.astype({"label": "category"}), frame.astype({"label": float})):
        assert explore(same, images="photos").task.fingerprint == table.fingerprint
    renamed = frame.rename(columns={"img": "where", "label": "what"})
    columns = {"file": "where", "label": "what"}
    assert explore(renamed, images=Path("photos"), columns=columns).task.fingerprint == table.fingerprint
    absolute = frame.assign(img=[str(Path("photos", name).resolve()) for name in frame["img"]])
    assert explore(absolute).task.fingerprint == table.fingerprint
    assert explore(absolute).task.name == "photos.jsonl"
    within = frame.assign(img=[Path("photos", name) for name in frame["img"]])
    assert explore(within).task.fingerprint == table.fingerprint  # below the current directory
    missing = frame.astype({"label": object}).assign(label=[None, *frame["label"][1:]])
    account = explore(missing, images="photos").account
    assert [(each.reason, each.sample) for each in account.left_out] == [
        ("image without a label", ("0.png",))
    ]
    assert not Path("runs").exists()


def test_frames_that_cannot_be_used_leave_nothing_behind(frame: pd.DataFrame) -> None:
    for bad, message in (
        (frame.rename(columns={"label": "species"}), "no clear one of labels.*columns={...} in Python"),
        (frame[:0], "a data frame must have a row for each image"),
        (frame.assign(label=[["a", "b"]] * 24), "one value a row, got list"),
        (frame.assign(img="nosuch.png"), "images must be there, got none of 1"),
        (frame.assign(weight=-1.0), "a weight must be 0, or .* got '-1.0' in row 1"),
        (pd.concat([frame, frame], axis=1), "different names"),
    ):
        with pytest.raises(DataError, match=message):
            search(bad, images="photos")
    with pytest.raises(DataError, match="existing folder, got 'nosuch'"):
        search(frame, images="nosuch")
    with pytest.raises(ConfigurationError, match="flie: unknown field"):
        search(frame, images="photos", columns={"flie": "img"})
    with pytest.raises(ConfigurationError, match="states images and columns itself"):
        explore(TaskSpec(dataset="digits"), images="photos")
    assert not Path("runs").exists()


def test_the_same_frame_is_the_same_file(frame: pd.DataFrame) -> None:
    first = kept(frame, "photos", None)
    assert kept(frame.copy(), Path("photos").resolve(), None) == first
    assert kept(frame[::-1], "photos", None)["dataset"] != first["dataset"]
    assert Path(first["dataset"]).is_absolute()
    for other in ("photos", TaskSpec(dataset="digits"), pd.DataFrame):
        assert not is_frame(other)


class OfPolars:
    """What another library's frame looks like from here."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self.columns = list(frame.columns)

    def __len__(self) -> int:
        return len(self._frame)

    def __getitem__(self, column: str) -> pd.Series:
        return self._frame[column]

    def to_dict(self) -> dict[str, object]:
        raise AssertionError("the frame is told by it, and read by its columns")


def test_settings_of_a_frame_may_say_its_columns(frame: pd.DataFrame) -> None:
    for settings in ({"task": {"columns": {"label": "nowhere"}}}, {"task.columns.label": "nowhere"}):
        for what in (search, train):
            with pytest.raises(DataError, match="nowhere"):
                what(frame, images="photos", settings=settings)


def test_a_search_over_a_frame_is_a_study_that_workers_can_join(frame: pd.DataFrame) -> None:
    result = search(OfPolars(frame), images="photos", trials=1, settings=SMALL)
    assert result.output == Path("runs/photos-table-quick")
    assert result.recipe is not None
    with Store.open(resolve_storage(None, None, Path("runs/automl-transfer.db"))) as store:
        spec = store.study("photos-table-quick").spec.task
    assert load_task(spec).task.fingerprint == result.recipe.task.fingerprint  # as a worker does
    recipe = result.output / "best_strategy.json"
    assert str(Path.cwd()) not in recipe.read_text()
    assert verify(recipe, frame, images="photos").word == "identical"
    assert apply(recipe, frame, "again", images="photos").recipe.task == result.recipe.task
    again = search(frame, images="photos", trials=1, settings=SMALL)
    assert again.recipe == result.recipe
