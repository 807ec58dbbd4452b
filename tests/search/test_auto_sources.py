"""`source = "auto"`: which networks it stands for, and how few images the weak ones are given."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from search_helpers import DIGITS, digits

from automl_transfer.api.search import create
from automl_transfer.data.task import LoadedTask
from automl_transfer.domain.evidence import ProfileRecord
from automl_transfer.domain.scores import SCORES
from automl_transfer.domain.spec import SearchSpec, StudySpec
from automl_transfer.errors import SourceError
from automl_transfer.models.registry import get_source
from automl_transfer.search import auto_sources
from automl_transfer.search.auto_sources import candidates, is_auto, with_sources
from automl_transfer.store.evidence import Evidence
from automl_transfer.store.signatures import Signatures
from automl_transfer.store.store import Store
from automl_transfer.store.url import StoreURL
from automl_transfer.training.profile import Profiler
from automl_transfer.training.source_race import in_turn, race


@pytest.fixture(scope="module")
def task() -> LoadedTask:
    return digits()


def study(source: Any, **search: Any) -> StudySpec:
    return StudySpec(name="s", task=DIGITS, search=SearchSpec(**search), space={"source": source})


class Known:
    """A profiler that has the accuracy of its source from a table, and remembers what it was given."""

    def __init__(self, nll: dict[str, float]) -> None:
        self.nll, self.given = nll, list[tuple[str, int]]()
        self.scales = (1.0,)

    def __call__(self, name: str, rows: np.ndarray) -> Any:
        self.given.append((name, len(rows)))
        made = Known(self.nll)
        made.name, made.rows = name, rows  # type: ignore[attr-defined]
        return made

    def look(self, scale: float) -> None:
        if self.nll[self.name] == np.inf:  # type: ignore[attr-defined]
            raise SourceError("too small")

    def compared(self, record: ProfileRecord) -> ProfileRecord:
        return record.model_copy(update={"frechet": 1.0})

    def record(self) -> ProfileRecord:
        name, rows = self.name, self.rows  # type: ignore[attr-defined]
        cut = {"cut": 1, "grid": 1, "features": 1, "loo_accuracy": 0.5, "loo_nll": self.nll[name],
               "ridge_lambda": 1.0, "truncation": 1}  # fmt: skip
        return ProfileRecord(
            source=name, normalise="source", images=len(rows), seconds=0.0, cuts=(cut,), best=cut
        )


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20])
def test_images_double_as_sources_halve_and_the_best_stay(task: LoadedTask, count: int) -> None:
    look = Known({f"s{number}": float(number) for number in range(count)})
    many = dataclasses.replace(task, indices={"train": np.arange(1500)}, labels=np.arange(1500) % 7)
    ended = race(sorted(look.nll, reverse=True), many, look)
    assert set(ended.kept) == {f"s{number}" for number in range(min(2, count))}
    assert len(ended.kept) + len(ended.dropped) == count
    assert [record.images for record in ended.dropped] == sorted(
        (record.images for record in ended.dropped), reverse=True
    )
    given = Counter(images for _, images in look.given)
    expected, left, images = dict[int, int](), count, max(100, 1000 // count)
    while left > 2:
        expected[images] = left
        left, images = max(2, math.ceil(left / 2)), 2 * images
    assert given == expected
    # The first round compares all on the same images, with scores; of few sources none is needed.
    assert {record.source for record in ended.first} == (set(look.nll) if count > 2 else set())
    assert all(record.frechet == 1.0 for record in ended.first)
    assert len({record.images for record in ended.first}) <= 1


def test_a_trained_network_wins_a_race_against_random_ones(task: LoadedTask) -> None:
    """On real networks, by the same images of all classes; nothing is trained."""
    random = get_source("scratch").load(1)
    networks = {"random0": random, "random1": random, "lite0": get_source("efficientnet-lite0").load(1)}
    given = set[tuple[int, ...]]()

    def look(name: str, rows: np.ndarray) -> Profiler:
        given.add(tuple(rows))
        return Profiler(networks[name], name, task, device=torch.device("cpu"), rows=rows)

    ended = race(list(networks), task, look)
    assert ended.kept[0] == "lite0"
    assert [len(rows) for rows in given] == [100]
    first = {record.source: record for record in ended.first}
    assert set(first) == set(networks)
    assert (first["lite0"].frechet is None, first["random0"].frechet is None) == (False, True)
    reached = {
        name: max(cut.scores["ridge"] for cut in record.cuts if cut.scores) for name, record in first.items()
    }
    assert reached["lite0"] > reached["random0"]


def test_images_of_a_race_are_of_all_classes(task: LoadedTask) -> None:
    few = dataclasses.replace(task, indices={"train": np.arange(300)}, labels=np.r_[[0] * 280, [1] * 20])
    rows = in_turn(few, 0)
    assert sorted(rows) == list(range(300))
    assert (few.labels[rows[:40]] == 1).sum() == 20


def test_a_source_that_the_images_do_not_fit_is_out_unless_none_is_left(task: LoadedTask) -> None:
    ended = race(["a", "b", "c", "d"], task, Known({"a": 1.0, "b": np.inf, "c": 2.0, "d": 3.0}))
    assert set(ended.kept) == {"a", "c"}
    assert ended.unusable == (("b", "too small"),)
    with pytest.raises(SourceError, match="too small"):
        race(["a", "b", "c"], task, Known(dict.fromkeys("abc", np.inf)))


def test_auto_is_what_is_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    assert candidates(study("auto"), accelerated=False)[:3] == [
        "efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2",
    ]  # fmt: skip
    assert is_auto(study(("scratch", "auto")))
    assert not is_auto(study("efficientnet-lite0"))
    assert with_sources(study(("auto", "scratch")), ["a", "b"]).space["source"] == ("a", "b", "scratch")
    assert with_sources(study("auto"), ["a"]).space["source"] == "a"


def test_without_a_network_downloads_are_left_out_after_the_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    here = candidates(study("auto"), accelerated=True)
    assert candidates(study("auto+downloads"), accelerated=True) == here
    (warning,) = caplog.messages
    assert "without downloads" in warning
    assert "convnext_tiny" in warning
    caplog.clear()
    assert candidates(study("auto+downloads", minutes=5), accelerated=False) == here
    assert not caplog.messages  # a short search fetches nothing on a CPU


def test_a_network_that_takes_too_long_for_the_study_is_out(caplog: pytest.LogCaptureFixture) -> None:
    assert auto_sources._within({"a": 2.0, "b": 90.0, "c": 4.0}, 15.0) == ["a", "c"]
    assert "b is left out" in caplog.text
    assert auto_sources._within({"b": 90.0}, 15.0) == ["b"]


def test_the_winners_of_the_race_become_the_studys_sources_for_good(
    task: LoadedTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = StoreURL.parse(str(tmp_path / "s.db"))
    where: Any = {"storage": storage, "output": tmp_path / "run", "cache_root": tmp_path, "device": "cpu"}
    first = create(study("auto", trials=1, profile=False), **where)
    named = first.spec.space["source"]
    assert isinstance(named, tuple)
    assert len(named) == len(first.sources) == 2
    with Store.open(storage) as store:
        (dropped,) = Evidence(store).profiles(first)
        (signature,) = Signatures(store).all()
    assert {dropped.source, *named} == {f"efficientnet-lite{number}" for number in range(3)}
    assert dropped.images == 100 < len(task.indices["train"])
    assert signature.task == first.task.fingerprint
    assert signature.measured == dict.fromkeys({dropped.source, *named}, 100)
    assert set(signature.scores) == set(SCORES)
    assert all(set(by_source) == {dropped.source, *named} for by_source in signature.scores.values())
    assert all(distance is not None and distance > 0 for distance in signature.frechet.values())
    monkeypatch.setattr(auto_sources, "candidates", lambda *_, **__: pytest.fail("it is settled"))
    again = create(study("auto", trials=2, profile=False), **where)
    assert (again.identity, again.spec.space["source"]) == (first.identity, named)
